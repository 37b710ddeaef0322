"""A sweep in Optuna's storage: its spec, its facts, what its drivers note. Nobody else reads a study's attributes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from espalier.core.measures.verdicts import Thresholds
from espalier.sweeps.identity import Facts
from espalier.sweeps.results.comparison import judged_together
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search import attributes
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.trial_record import TrialRecord, sampled_params
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.values import Fields

NOT_FACTS = (attributes.SPEC, attributes.PROGRAMS, attributes.PARENT)
NOT_FACTS_OF = (attributes.WORK, attributes.PROVENANCE, attributes.LATE_RUN)


@dataclass(frozen=True)
class Work:
    """What a cohort has trained: steps of its lanes, and steps of trials that shared a lane with another's."""

    lane_steps: int
    steps_shared: int


@dataclass(frozen=True)
class Unfinished:
    """The trials of a sweep that have no end yet, when it goes on.

    first: the number of the next trial. partly: trials that go on from a checkpoint. anew: trials that begin again.
    """

    first: int
    partly: Collection[int]
    anew: Collection[int]


class SweepRecord:
    """One sweep in a storage."""

    def __init__(self, study: optuna.Study, storage: BaseStorage):
        self.study, self.storage = study, storage
        self._written_parent: ParentRun | None = None
        self.id = study.study_name

    # --- what it was begun with --------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> SweepSpec:
        """Its spec. Raises BadInput for one of another version that this one refuses."""
        return make_spec(self.stored_spec, f"{self.id}: another version wrote its spec", stored=True)

    @property
    def stored_spec(self) -> Fields:
        """The fields of its spec, as they were written when it began."""
        return self.study.user_attrs[attributes.SPEC]

    @property
    def facts(self) -> Facts:
        """What it was begun with - versions, fingerprints of code and data, git state - and the changes since."""
        return {
            name: value
            for name, value in self.study.user_attrs.items()
            if name not in NOT_FACTS and not name.startswith(NOT_FACTS_OF)
        }

    @property
    def tracking_origin(self) -> str | None:
        """Where it was recorded when it began."""
        return self.study.user_attrs.get(attributes.TRACKING)

    def add_change(self, period: Mapping[str, object]) -> None:
        """Note that it goes on with other code, data or versions; `period` as of repeat.identity.period."""
        earlier = self.study.user_attrs.get(attributes.CHANGES, [])
        self.study.set_user_attr(attributes.CHANGES, [*earlier, dict(period)])

    # --- what its drivers note ---------------------------------------------------------------------------------------

    @property
    def parent(self) -> ParentRun | None:
        """Its own run, once MLflow has it."""
        entry = self.study.user_attrs.get(attributes.PARENT)
        if not entry:
            return None
        experiment_id, run_id, *name = entry  # earlier versions wrote no name
        return ParentRun(experiment_id, run_id, name[0] if name else self.stored_spec["name"])

    def set_parent(self, parent: ParentRun) -> None:
        """Note where MLflow has the sweep itself."""
        if parent == self._written_parent:
            return
        self._written_parent, entry = parent, [*parent.ids, parent.experiment]
        if self.study.user_attrs.get(attributes.PARENT) != entry:
            self.study.set_user_attr(attributes.PARENT, entry)

    @property
    def experiment(self) -> str:
        """The name of the experiment that it is recorded in: its spec's, unless that experiment was deleted."""
        return self.parent.experiment if self.parent else self.spec.name

    @property
    def provenance(self) -> dict[str, Provenance]:
        """How each cohort trains that has begun."""
        return {cohort: Provenance(**entry) for cohort, entry in self._starting_with(attributes.PROVENANCE).items()}

    def set_provenance(self, cohort: str, provenance: Provenance) -> None:
        """Note how a cohort trains."""
        self.study.set_user_attr(f"{attributes.PROVENANCE}{cohort}", provenance.to_json())

    @property
    def work(self) -> dict[str, Work]:
        """What each cohort has trained of which a trial has ended."""
        return {cohort: Work(*entry) for cohort, entry in self._starting_with(attributes.WORK).items()}

    def set_work(self, cohort: str, work: Work) -> None:
        """Note what a cohort has trained."""
        self.study.set_user_attr(f"{attributes.WORK}{cohort}", [work.lane_steps, work.steps_shared])

    @property
    def programs(self) -> list[str]:
        """Each "program (why)" that a cohort has trained by, the first first."""
        return list(self.study.user_attrs.get(attributes.PROGRAMS, []))

    def set_programs(self, programs: Collection[str]) -> None:
        """Note by which programs cohorts have trained."""
        self.study.set_user_attr(attributes.PROGRAMS, list(programs))

    def set_late_runs(self, runs: Mapping[int, str]) -> None:
        """Note the MLflow runs of trials that have ended: the trials themselves take no attribute any more.

        So it is with trials that end while MLflow is away. What is known already is not written again.
        """
        trials, late = self.trials(), self._starting_with(attributes.LATE_RUN)
        for number, run in runs.items():
            if not trials[number].running and (late.get(str(number)) or trials[number].run) != run:
                self.study.set_user_attr(f"{attributes.LATE_RUN}{number}", run)

    def _starting_with(self, prefix: str) -> dict[str, Any]:
        """Return the attributes whose names begin so, by the rest of their names."""
        entries = self.study.user_attrs.items()
        return {name.removeprefix(prefix): entry for name, entry in entries if name.startswith(prefix)}

    # --- its trials --------------------------------------------------------------------------------------------------

    def trials(self) -> list[TrialRecord]:
        """Return all its trials, by number."""
        return [TrialRecord(trial) for trial in self.study.get_trials(deepcopy=False)]

    def interrupted_cohorts(self) -> list[str]:
        """Return the cohorts with trials that have not ended, by their first such trial."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return list(dict.fromkeys(cohort for trial in running if (cohort := TrialRecord(trial).cohort)))

    def unfinished(self, checkpoints: Mapping[str, str]) -> Unfinished:
        """Return the trials that have no end. checkpoints: the folder of the last one of each cohort that has one."""
        trials = self.trials()
        running = [trial for trial in trials if trial.running]
        partly = [trial.number for trial in running if trial.cohort in checkpoints]
        anew = [trial.number for trial in running if trial.cohort not in checkpoints]
        return Unfinished(len(trials), partly, anew)

    def results(self) -> list[TrialResult]:
        """Return every trial as a row of the sweep's table, judged beside the others."""
        names = [name for name, _ in self.spec.space.domains()]
        late_runs = self._starting_with(attributes.LATE_RUN)
        rows = [self._result(trial, names, late_runs.get(str(trial.number))) for trial in self.trials()]
        return judged_together(rows, Thresholds(**self.spec.health.model_dump()), self.spec.objective.mode)

    def _result(self, trial: TrialRecord, names: Collection[str], late_run: str | None) -> TrialResult:
        sampled = sampled_params(trial.params)
        return TrialResult(
            number=trial.number,
            state=trial.state,
            value=trial.value,
            params=self.spec.space.resolve(sampled) if all(name in sampled for name in names) else sampled,
            spread=trial.spread,
            verdict=trial.verdict,
            evidence=trial.evidence,
            duration_s=trial.duration_s,
            reports=dict(trial.reports),
            ended=trial.ended,
            mlflow_run=late_run or trial.run,
            to_beat=trial.to_beat,
            missing=trial.missing,
        )
