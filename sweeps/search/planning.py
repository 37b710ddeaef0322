"""Plan cohorts: of new trials, asked for when needed, and of the unfinished trials of an interrupted sweep.

A search that learns asks late: a cohort begins with the trials of one trunk, and gets another when a lane is idle.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from espalier.sweeps.cohorts import structural_key
from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial
from espalier.sweeps.search.trial_record import OpenTrial, TrialRecord
from espalier.sweeps.spec.spec import SweepSpec


class Plans(Protocol):
    """How the trials of a search become cohorts."""

    @property
    def all_asked(self) -> bool:
        """Whether everything that is to be trained has been asked for."""
        ...

    @property
    def round_is_open(self) -> bool:
        """Whether only a part of a round was asked for, because an earlier process ended meanwhile."""
        ...

    @property
    def in_rounds(self) -> bool:
        """Whether trials are asked for in rounds, each when the one before has ended."""
        ...

    @property
    def wanted(self) -> int:
        """How many trials there are to be, as far as that is known."""
        ...

    def ask(self) -> list[CohortPlan]:
        """Ask for what is to be trained next; return it as cohorts."""
        ...

    def more(self, plan: CohortPlan, trunks: int) -> tuple[list[PlannedTrial], list[CohortPlan]]:
        """Ask for more for a cohort that trains, in so many lanes; return what it takes on, and other cohorts."""
        ...

    def resume(self, trials: Sequence[TrialRecord], checkpoints: Mapping[str, str]) -> list[CohortPlan]:
        """Return the cohorts of an interrupted sweep. checkpoints: by cohort, the folder of its last one."""
        ...

    def again(self, plan: CohortPlan) -> Sequence[PlannedTrial]:
        """Return what of a cohort is to be trained again, whose worker has died."""
        ...

    def replan(self, plan: CohortPlan, unbegun: Collection[int]) -> list[CohortPlan]:
        """Return cohorts of what was given to a cohort, but never reached its worker. unbegun: trials of the sweep."""
        ...

    def confirm(self, trials: Sequence[TrialRecord]) -> list[CohortPlan]:
        """Return cohorts that train these trials once more, each under another seed."""
        ...

    def close(self) -> None:
        """Ask for no more: the time of the budget is up."""
        ...


class Planner(Plans):
    """Groups trials into cohorts. Each trial's cohort is stored in Optuna, so that a resumed sweep finds it."""

    def __init__(self, asker: Asker, cohorts: int, cohort_trials: int):
        """cohorts: how many train at once. cohort_trials: the most trials of a cohort."""
        self.asker, self.spec = asker, asker.spec
        self.cohorts, self.cohort_trials = cohorts, cohort_trials
        self.round = asker.record.begun_spec.round_trials  # an extension changes no round

    @property
    def wanted(self) -> int:
        """How many trials there are to be."""
        return self.spec.trials_wanted

    def may_ask(self) -> int:
        """Return how many more trials may be asked for now."""
        return self.wanted - self.asker.asked

    @property
    def in_rounds(self) -> bool:
        """Whether trials are asked for in rounds, each when the one before has ended."""
        return bool(self.round)

    @property
    def all_asked(self) -> bool:
        """Whether all trials of the spec have been asked for."""
        return self.asker.asked >= self.wanted

    @property
    def round_is_open(self) -> bool:
        """Whether only a part of a round was asked for, because an earlier process ended meanwhile."""
        return bool(self.round and self.asker.asked % self.round)

    def ask(self) -> list[CohortPlan]:
        """Ask for the next trials, of a trunk, of a cohort, or the rest of a round; return them as cohorts."""
        count = self.cohort_trials
        if self.spec.asks_late:
            count = self.spec.branches
        elif self.round:
            count = self.round - self.asker.asked % self.round
        return self._grouped(self._asked(count))

    def more(self, plan: CohortPlan, trunks: int) -> tuple[list[PlannedTrial], list[CohortPlan]]:
        """Ask for up to so many trunks for a cohort that trains; return what it takes on, and other cohorts.

        It takes trials of its own structure. With the first of another one the asking ends, and a new cohort begins.
        """
        own = structural_key(self.spec, plan.trials[0].point)
        added: list[PlannedTrial] = []
        while trunks and not self.all_asked and len(plan.trials) + len(added) < self.cohort_trials:
            if not (trials := self._asked(self.spec.branches)):
                break
            if structural_key(self.spec, trials[0].point) != own:
                return added, self._grouped(trials)
            self._join(plan.id, trials)
            added += trials
            trunks -= 1
        return added, []

    def _asked(self, count: int) -> list[PlannedTrial]:
        """Ask for so many trials, or as many as there are to be."""
        return [self._planned(self.asker.ask()) for _ in range(min(count, self.may_ask()))]

    def _join(self, cohort: str, trials: Sequence[PlannedTrial]) -> None:
        """Write of trials which cohort they are in."""
        for trial in trials:
            self.asker.trials[trial.number].set_cohort(cohort)

    def resume(self, trials: Sequence[TrialRecord], checkpoints: Mapping[str, str]) -> list[CohortPlan]:
        """Rebuild the cohorts of an interrupted sweep; one with a checkpoint includes its ended trials.

        checkpoints: by interrupted cohort, the folder of its last checkpoint.
        """
        without_cohort: list[PlannedTrial] = []
        interrupted: dict[str, list[TrialRecord]] = {}
        for trial in (trial for trial in trials if trial.running):
            planned = self._planned(self.asker.adopt(trial))
            if trial.cohort is None:
                without_cohort.append(planned)
            else:
                interrupted.setdefault(trial.cohort, [])
        for trial in trials:
            if trial.cohort in interrupted:
                interrupted[trial.cohort].append(trial)
        plans = [self._resumed(cohort, of_it, checkpoints.get(cohort)) for cohort, of_it in interrupted.items()]
        return plans + self._grouped(without_cohort)

    def confirm(self, trials: Sequence[TrialRecord]) -> list[CohortPlan]:
        """Return cohorts that train these trials once more, each under another seed."""
        return self._grouped([self._planned(self.asker.confirm(trial)) for trial in trials])

    def close(self) -> None:
        """A number of trials is never closed: time does not limit it."""

    def again(self, plan: CohortPlan) -> Sequence[PlannedTrial]:
        """Return the trials of a cohort."""
        return plan.trials

    def replan(self, plan: CohortPlan, unbegun: Collection[int]) -> list[CohortPlan]:
        """Return cohorts of those trials of a cohort that have not begun.

        A cohort that began none of its trials is no such case: another one would not begin them either.
        """
        unreached = [trial for trial in plan.trials if trial.number in unbegun]
        return self._grouped(unreached) if 0 < len(unreached) < len(plan.trials) else []

    def _planned(self, trial: OpenTrial | TrialRecord) -> PlannedTrial:
        return PlannedTrial(trial.number, self.asker.point_of(trial.number), self.asker.confirms(trial.number))

    def _grouped(self, trials: Sequence[PlannedTrial]) -> list[CohortPlan]:
        """Group trials into cohorts, and store each trial's cohort."""
        plans = cohorts_of(self.spec, trials, self.cohorts, self.cohort_trials)
        for plan in plans:
            self._join(plan.id, plan.trials)
        return plans

    def _resumed(self, cohort: str, trials: Sequence[TrialRecord], checkpoint: str | None) -> CohortPlan:
        planned = tuple(self._planned(trial) for trial in trials if checkpoint or trial.running)
        failed = tuple(trial.number for trial in trials if trial.status == "failed")
        return CohortPlan(cohort, planned, checkpoint, failed)


def cohorts_of(spec: SweepSpec, trials: Sequence[PlannedTrial], cohorts: int, cohort_trials: int) -> list[CohortPlan]:
    """Group trials that were asked for together: enough for one cohort, or a round, shared among all cohorts.

    Confirmations, which are asked for together as well, are shared among all cohorts too.

    cohorts: how many train at once. cohort_trials: the most trials of a cohort.
    """
    groups: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault(structural_key(spec, trial.point), []).append(trial)
    width = cohort_trials
    confirming = any(trial.confirms is not None for trial in trials)
    if spec.round_trials or confirming:
        branches = 1 if confirming else spec.branches
        width = min(width, -(-len(trials) // (cohorts * branches)) * branches)
    parts = (group[k : k + width] for group in groups.values() for k in range(0, len(group), width))
    return [CohortPlan(f"cohort-{part[0].number}", tuple(part)) for part in parts]
