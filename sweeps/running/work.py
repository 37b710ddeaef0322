"""How much cohorts have trained, counted over all drivers of a sweep."""

from collections.abc import Mapping, Sequence

from espalier.sweeps.search.study import Work

LOST = " before"  # after a cohort's name: what it had trained when its checkpoints were lost


class WorkCount:
    """The steps of each cohort so far, and which of them earlier drivers have trained."""

    def __init__(self, earlier: Mapping[str, Work] | None = None):
        """earlier: what earlier drivers noted of each cohort."""
        self.by_cohort: dict[str, Work] = dict(earlier or {})
        self._before = {cohort: work.lane_steps for cohort, work in self.by_cohort.items()}
        self._noted = set(self.by_cohort)  # cohorts that stand as an earlier driver noted them
        self._counted: set[str] = set()  # cohorts that had a turn here

    def begin_anew(self, cohort: str) -> tuple[str, Work] | None:
        """Keep apart what an earlier driver trained of a cohort that now begins without a checkpoint.

        Return the name under which that is kept, and how much it is; None where there is nothing to keep.
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
        """Take what a cohort has trained so far, of all drivers.

        What it brings at its first turn here is no news, whatever an earlier driver noted, which may be newer than the
        checkpoint. A worker that died goes on with less than it had reported.
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
