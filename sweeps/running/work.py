"""Count how much cohorts have trained, over all drivers of a sweep."""

from collections.abc import Mapping, Sequence

from espalier.sweeps.search.study import Work

LOST = " before"  # suffix of a cohort's name: for the work before its checkpoints were lost


class WorkCount:
    """The steps of each cohort so far, with those of earlier drivers."""

    def __init__(self, earlier: Mapping[str, Work] | None = None):
        """earlier: the work of each cohort stored by earlier drivers."""
        self.by_cohort: dict[str, Work] = dict(earlier or {})
        self._before = {cohort: work.lane_steps for cohort, work in self.by_cohort.items()}
        self._noted = set(self.by_cohort)  # cohorts with the values of an earlier driver
        self._counted: set[str] = set()  # cohorts that had a turn here

    def begin_anew(self, cohort: str) -> tuple[str, Work] | None:
        """Separate an earlier driver's work on a cohort that now starts over without a checkpoint.

        Return the name under which it is stored, and the work; None if there is none.
        """
        if cohort not in self._noted:
            return None
        name = f"{cohort}{LOST}"
        earlier = [self.by_cohort[name]] if name in self.by_cohort else []
        self.by_cohort[name] = _sum([*earlier, self.by_cohort.pop(cohort)])
        self._before[name] = self.by_cohort[name].lane_steps
        del self._before[cohort]
        self._noted.remove(cohort)
        return name, self.by_cohort[name]

    def count(self, cohort: str, work: Work) -> None:
        """Update the work of a cohort so far, over all drivers.

        The work at its first turn here comes from its checkpoint, and may be older than an earlier driver's value. A
        worker that died continues with less than it had reported.
        """
        self.by_cohort[cohort] = work
        if cohort not in self._counted:
            self._counted.add(cohort)
            self._before.pop(cohort, None)
        self._before[cohort] = min(work.lane_steps, self._before.get(cohort, work.lane_steps))

    def total(self) -> Work:
        """Return the steps of all cohorts, by every driver of the sweep."""
        return _sum(list(self.by_cohort.values()))

    def trained_here(self) -> int:
        """Return the lane-steps that this driver has seen trained."""
        return self.total().lane_steps - sum(list(self._before.values()))


def _sum(works: Sequence[Work]) -> Work:
    return Work(sum(work.lane_steps for work in works), sum(work.steps_shared for work in works))
