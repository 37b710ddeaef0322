"""Plan cohorts: of new trials, asked for when needed, and of the unfinished trials of an interrupted sweep."""

from collections.abc import Mapping, Sequence

from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial
from espalier.sweeps.search.grouping import cohorts_of
from espalier.sweeps.search.trial_record import OpenTrial, TrialRecord


class Planner:
    """Groups trials into cohorts. Each trial's cohort is stored in Optuna, so that a resumed sweep finds it."""

    def __init__(self, asker: Asker, cohorts: int, cohort_trials: int):
        """cohorts: how many train at once. cohort_trials: the most trials of a cohort."""
        self.asker, self.spec = asker, asker.spec
        self.cohorts, self.cohort_trials = cohorts, cohort_trials
        self.wanted, self.round = self.spec.trials_wanted, self.spec.round_trials

    @property
    def all_asked(self) -> bool:
        """Whether all trials of the spec have been asked for."""
        return self.asker.asked >= self.wanted

    @property
    def round_is_open(self) -> bool:
        """Whether only a part of a round was asked for, because an earlier process ended meanwhile."""
        return bool(self.round and self.asker.asked % self.round)

    def ask(self) -> list[CohortPlan]:
        """Ask for the next trials, of a cohort or the rest of a round; return them as cohorts."""
        asked = self.asker.asked
        count = self.round - asked % self.round if self.round else self.cohort_trials
        return self._grouped([self._planned(self.asker.ask()) for _ in range(min(count, self.wanted - asked))])

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

    def _planned(self, trial: OpenTrial) -> PlannedTrial:
        return PlannedTrial(trial.number, self.asker.point_of(trial.number))

    def _grouped(self, trials: Sequence[PlannedTrial]) -> list[CohortPlan]:
        """Group trials into cohorts, and store each trial's cohort."""
        plans = cohorts_of(self.spec, trials, self.cohorts, self.cohort_trials)
        for plan in plans:
            for number in plan.numbers:
                self.asker.trials[number].set_cohort(plan.id)
        return plans

    def _resumed(self, cohort: str, trials: Sequence[TrialRecord], checkpoint: str | None) -> CohortPlan:
        planned = tuple(
            PlannedTrial(trial.number, self.asker.point_of(trial.number))
            for trial in trials
            if checkpoint or trial.running
        )
        failed = tuple(trial.number for trial in trials if trial.status == "failed")
        return CohortPlan(cohort, planned, checkpoint, failed)
