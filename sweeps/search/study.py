"""A sweep in Optuna's storage: its spec, its facts, its drivers' notes. Only this file reads a study's attributes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from espalier.core.measures.verdicts import Thresholds
from espalier.sweeps.identity import Facts
from espalier.sweeps.references import REFERENCES, Reference
from espalier.sweeps.results.comparison import judged_together
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.reference_result import SKIPPED, ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search import attributes
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.confirming import confirmations_wanted
from espalier.sweeps.search.extension import Extension
from espalier.sweeps.search.taken import Taken
from espalier.sweeps.search.trial_record import TrialRecord, sampled_params
from espalier.sweeps.spec.notify import public_fields
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.values import Fields

NOT_FACTS = (
    attributes.SPEC,
    attributes.PROGRAMS,
    attributes.PARENT,
    attributes.REFERENCES,
    attributes.SEARCH_OVER,
    attributes.EXTENSIONS,
    attributes.TAKEN,
    attributes.TIME,
)
NOT_FACTS_OF = (attributes.ENQUEUED, attributes.WORK, attributes.PROVENANCE, attributes.REFERENCE, attributes.LATE_RUN)


@dataclass(frozen=True)
class Work:
    """The work of a cohort: steps of its lanes, and steps saved by trials that shared a lane."""

    lane_steps: int
    steps_shared: int


@dataclass(frozen=True)
class Unfinished:
    """The unfinished trials of a resumed sweep.

    first: the number of the next trial. partly: trials that continue from a checkpoint. anew: trials that start over.
    """

    first: int
    partly: Collection[int]
    anew: Collection[int]


class SweepRecord:
    """One sweep in a storage."""

    def __init__(self, study: optuna.Study, storage: BaseStorage, extensions: Sequence[Extension] | None = None):
        """extensions: all of them, where the last is not stored yet; None: those that are stored."""
        self.study, self.storage = study, storage
        stored: Sequence[Mapping[str, Any]] = study.user_attrs.get(attributes.EXTENSIONS, [])
        self.extensions = [Extension.from_json(entry) for entry in stored] if extensions is None else extensions
        """how it was given more to train, in order"""
        self._written_parent: ParentRun | None = None
        self.id = study.study_name

    # --- facts from its start --------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> SweepSpec:
        """Its spec. Raises BadInput for a spec of another version that this one rejects."""
        return make_spec(self.stored_spec, f"{self.id}: another version wrote its spec", stored=True)

    @property
    def stored_spec(self) -> Fields:
        """The fields of its spec: as stored at its start, with the budget of its last extension."""
        fields = self.study.user_attrs[attributes.SPEC]
        return self.extensions[-1].applied_to(fields) if self.extensions else fields

    @property
    def public_spec(self) -> Fields:
        """The fields of its spec as others may see them: of a webhook's address the host alone."""
        return public_fields(self.stored_spec) if self.stored_spec.get("notify") else self.stored_spec

    @cached_property
    def begun_spec(self) -> SweepSpec:
        """Its spec as it was before any extension. Raises BadInput as `spec` does."""
        if not self.extensions:
            return self.spec
        source = f"{self.id}: another version wrote its spec"
        return make_spec(self.study.user_attrs[attributes.SPEC], source, stored=True)

    @cached_property
    def taken(self) -> Taken | None:
        """What it has taken from another sweep; None for nothing."""
        entry = self.study.user_attrs.get(attributes.TAKEN)
        return Taken.from_json(entry) if entry else None

    def spec_like(self, spec: SweepSpec) -> SweepSpec:
        """Its spec, or the one that it began with where that has the budget of another spec: for a comparison."""
        budgets = (self.begun_spec.trials, self.begun_spec.budget)
        return self.begun_spec if (spec.trials, spec.budget) == budgets else self.spec

    def extended(self, extension: Extension) -> "SweepRecord":
        """Return it with more to train. Nothing is stored before `store_extensions`."""
        return SweepRecord(self.study, self.storage, [*self.extensions, extension])

    def store_extensions(self) -> None:
        """Store how it was given more to train."""
        self.study.set_user_attr(attributes.EXTENSIONS, [extension.to_json() for extension in self.extensions])

    @property
    def facts(self) -> Facts:
        """The facts from its start (versions, fingerprints of code and data, git state), and later changes."""
        return {
            name: value
            for name, value in self.study.user_attrs.items()
            if name not in NOT_FACTS and not name.startswith(NOT_FACTS_OF)
        }

    @property
    def tracking_origin(self) -> str | None:
        """Its tracking origin."""
        return self.study.user_attrs.get(attributes.TRACKING)

    @property
    def birth(self) -> str:
        """What tells it from other sweeps of its id, see Owner; "" if an earlier version began it."""
        return str(self.study.user_attrs.get(attributes.BIRTH, ""))

    def add_change(self, period: Mapping[str, object]) -> None:
        """Store that it continues with changed code, data or versions; see sweeps.identity.period."""
        earlier = self.study.user_attrs.get(attributes.CHANGES, [])
        self.study.set_user_attr(attributes.CHANGES, [*earlier, dict(period)])

    # --- notes of its drivers ---------------------------------------------------------------------------------------

    @property
    def parent(self) -> ParentRun | None:
        """Its own MLflow run, if there is one."""
        entry = self.study.user_attrs.get(attributes.PARENT)
        if not entry:
            return None
        experiment_id, run_id, *name = entry  # earlier versions stored no name
        return ParentRun(experiment_id, run_id, name[0] if name else self.stored_spec["name"])

    def set_parent(self, parent: ParentRun) -> None:
        """Store its own MLflow run."""
        if parent == self._written_parent:
            return
        self._written_parent, entry = parent, [*parent.ids, parent.experiment]
        if self.study.user_attrs.get(attributes.PARENT) != entry:
            self.study.set_user_attr(attributes.PARENT, entry)

    @property
    def experiment(self) -> str:
        """The name of its experiment: the spec's, unless that experiment was deleted."""
        return self.parent.experiment if self.parent else self.spec.name

    @property
    def provenance(self) -> dict[str, Provenance]:
        """The provenance of each cohort that has begun."""
        return {cohort: Provenance(**entry) for cohort, entry in self._starting_with(attributes.PROVENANCE).items()}

    def set_provenance(self, cohort: str, provenance: Provenance) -> None:
        """Store how a cohort trains."""
        self.study.set_user_attr(f"{attributes.PROVENANCE}{cohort}", provenance.to_json())

    @property
    def work(self) -> dict[str, Work]:
        """The work of each cohort with an ended trial."""
        return {cohort: Work(*entry) for cohort, entry in self._starting_with(attributes.WORK).items()}

    def set_work(self, cohort: str, work: Work) -> None:
        """Store the work of a cohort."""
        self.study.set_user_attr(f"{attributes.WORK}{cohort}", [work.lane_steps, work.steps_shared])

    @property
    def programs(self) -> list[str]:
        """Each "program (why)" of its cohorts, in order of use."""
        return list(self.study.user_attrs.get(attributes.PROGRAMS, []))

    def set_programs(self, programs: Collection[str]) -> None:
        """Store the programs of its cohorts."""
        self.study.set_user_attr(attributes.PROGRAMS, list(programs))

    def set_late_runs(self, runs: Mapping[int, str]) -> None:
        """Store the MLflow runs of ended trials with the study: an ended trial accepts no attributes.

        This happens to trials that end while MLflow is unreachable. Known runs are not written again. MLflow may have
        runs of later trials than a journal that was brought back from a copy: these trials come again.
        """
        trials, late = self.trials(), self._starting_with(attributes.LATE_RUN)
        for number, run in runs.items():
            if (
                number < len(trials)
                and not trials[number].running
                and (late.get(str(number)) or trials[number].run) != run
            ):
                self.study.set_user_attr(f"{attributes.LATE_RUN}{number}", run)

    @cached_property
    def _study_id(self) -> int:
        return self.storage.get_study_id_from_name(self.id)

    def enqueued(self) -> dict[str, Any]:
        """Return the points that were added to it, by when. Read anew each time: another process adds them."""
        entries = self.storage.get_study_user_attrs(self._study_id)  # a study would copy all of them
        prefix = attributes.ENQUEUED
        return {name.removeprefix(prefix): entries[name] for name in list(entries) if name.startswith(prefix)}

    def enqueue(self, key: str, point: Point, origin: str) -> None:
        """Add a point for a trial to come. origin: the sweep and trial that it is from, "" for none."""
        self.study.set_user_attr(f"{attributes.ENQUEUED}{key}", {"point": point, "of": origin})

    @property
    def references(self) -> list[ReferenceResult]:
        """What its references came to, of those that have ended."""
        return [result for result in self._reference_results() if result.state != SKIPPED]

    def references_left(self) -> list[Reference]:
        """Return the references that it still has to train. A sweep of an earlier version has none."""
        over = {result.name for result in self._reference_results()}
        names = self.study.user_attrs.get(attributes.REFERENCES, [])
        return [each for each in REFERENCES if each.name in names and each.name not in over]

    def _reference_results(self) -> list[ReferenceResult]:
        entries = self._starting_with(attributes.REFERENCE)
        return [ReferenceResult.from_json(entries[each.name]) for each in REFERENCES if each.name in entries]

    def add_reference(self, result: ReferenceResult) -> None:
        """Store what a reference came to."""
        self.study.set_user_attr(f"{attributes.REFERENCE}{result.name}", result.to_json())

    def _starting_with(self, prefix: str) -> dict[str, Any]:
        """Return the attributes with a prefix, by the rest of their names."""
        entries = self.study.user_attrs.items()
        return {name.removeprefix(prefix): entry for name, entry in entries if name.startswith(prefix)}

    # --- its trials --------------------------------------------------------------------------------------------------

    def trials(self) -> list[TrialRecord]:
        """Return all its trials, by number."""
        return [TrialRecord(trial) for trial in self.study.get_trials(deepcopy=False)]

    @property
    def search_over(self) -> bool:
        """Whether an open-ended search has ended: the stored number is that of the extensions then, and one more."""
        return int(self.study.user_attrs.get(attributes.SEARCH_OVER, 0)) > len(self.extensions)

    def set_search_over(self) -> None:
        """Store that an open-ended search has ended."""
        if not self.search_over:
            self.study.set_user_attr(attributes.SEARCH_OVER, len(self.extensions) + 1)

    @property
    def time(self) -> tuple[float, float | None]:
        """What is used of a budget in time, in seconds, and how long a training took, None before it is known."""
        used_s, training_s = self.study.user_attrs.get(attributes.TIME, (0.0, None))
        return used_s, training_s

    def set_time(self, state: Collection[float | None]) -> None:
        """Store what is used of a budget in time; see `sweeps.search.time_budget`."""
        self.study.set_user_attr(attributes.TIME, list(state))

    def searched(self) -> int:
        """Return how many trials its search is to have, as far as that is known."""
        if not self.spec.open_ended:
            return self.spec.trials_wanted
        asked = sum(trial.confirms is None for trial in self.trials())
        return asked if self.search_over else self.spec.trials_until_over(asked)

    def wanted(self) -> int:
        """Return how many trials it is to have, with confirmations."""
        return self.searched() + confirmations_wanted(self.spec, self.trials(), self.searched())

    def interrupted_cohorts(self) -> list[str]:
        """Return the cohorts with unfinished trials, in the order of their first such trial."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return list(dict.fromkeys(cohort for trial in running if (cohort := TrialRecord(trial).cohort)))

    def unfinished(self, checkpoints: Mapping[str, str]) -> Unfinished:
        """Return the unfinished trials. checkpoints: by cohort, the folder of its last checkpoint."""
        trials = self.trials()
        running = [trial for trial in trials if trial.running]
        partly = [trial.number for trial in running if trial.cohort in checkpoints]
        anew = [trial.number for trial in running if trial.cohort not in checkpoints]
        return Unfinished(len(trials), partly, anew)

    def results(self) -> list[TrialResult]:
        """Return every trial as a row of the sweep's table, judged in comparison with the others."""
        late_runs = self._starting_with(attributes.LATE_RUN)
        rows = [self._result(trial, late_runs.get(str(trial.number))) for trial in self.trials()]
        return judged_together(rows, Thresholds(**self.spec.health.model_dump()), self.spec.objective.mode)

    def _result(self, trial: TrialRecord, late_run: str | None) -> TrialResult:
        sampled, confirms = sampled_params(trial.params), trial.confirms
        undecided = [name for name in self.spec.space.missing(sampled) if not name.startswith("decay_point")]
        params = sampled if undecided else self.spec.space.resolve(sampled)
        return TrialResult(
            number=trial.number,
            state=trial.state,
            value=trial.value,
            params=params | ({"seed": confirms.seed} if confirms else {}),
            spread=trial.spread,
            verdict=trial.verdict,
            evidence=trial.evidence,
            duration_s=trial.duration_s,
            reports=dict(trial.reports),
            scores={step: score.value for step, score in trial.scores.items() if score.value is not None},
            ended=trial.ended,
            mlflow_run=late_run or trial.run,
            to_beat=trial.to_beat,
            missing=trial.missing,
            memory=trial.memory,
            confirms=confirms and confirms.trial,
        )
