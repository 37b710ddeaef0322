"""The runs of one sweep in MLflow, one for each trial: found by their identity tags, or created.

The sweep's own run is the parent of its trials' runs; its trial is None.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from espalier.sweeps.recording.experiments import (
    ExperimentRef,
    Owner,
    active_experiment,
    deleted_note,
    find_experiments,
    open_experiment,
    require_id,
    where,
)
from espalier.sweeps.recording.feedback import Feedback
from espalier.sweeps.recording.names import (
    EXTENDED_TAG,
    KIND_TAG,
    PARENT_TAG,
    STEP_TAG,
    TAG_CHARACTERS,
    TRIAL_TAG,
)
from espalier.sweeps.recording.retry import create_once, is_refusal, retry
from espalier.sweeps.results.parent_run import ParentRun

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import MlflowClient, Run


@dataclass(frozen=True)
class Target:
    """Where a sweep is recorded: a server or a store, the sweep's id, the name of its experiment.

    shared: whether the processes of trials log into the trials' runs too, which workers have made for them.
    birth: of the sweep, "" if it has none; see Owner in recording/experiments.py.
    """

    uri: str
    sweep: str
    experiment: str
    shared: bool = False
    birth: str = ""

    @property
    def owner(self) -> Owner:
        """The sweep as the owner of its runs."""
        return Owner(self.sweep, self.birth)


@dataclass
class RunState:
    """The known state of one run: as found, and what has been recorded since."""

    run_id: str
    artifacts: str  # the address of its artifacts
    parent: str | None = None  # its parent run
    status: str | None = None  # its status when it was found
    step: float = -1  # the last step recorded
    has_params: bool = False
    has_metrics: bool = False
    extended: str = ""  # of a sweep's own run: how it had been extended when its end was recorded
    is_new: bool = False
    name: str = ""


def _state_of(run: "Run") -> RunState:
    return RunState(
        run.info.run_id,
        run.info.artifact_uri or "",
        run.data.tags.get(PARENT_TAG, ""),
        run.info.status,
        _step_of(run),
        bool(run.data.params),
        bool(run.data.metrics),
        run.data.tags.get(EXTENDED_TAG, ""),
        name=run.info.run_name or "",
    )


def _step_of(run: "Run") -> float:
    return float(run.data.tags.get(STEP_TAG, -1))


def _trial_of(run: "Run") -> int | None:
    text = run.data.tags.get(TRIAL_TAG)
    return None if text is None else int(text)


class SweepRuns:
    """The runs of a sweep by trial: those found in MLflow at the start, and those created since."""

    def __init__(self, client: "MlflowClient", target: Target, feedback: Feedback):
        """Find the runs, one for each trial, and the experiment with most of them."""
        self.client, self.target, self.feedback = client, target, feedback
        self.by_trial: dict[int | None, RunState] = {}
        names = self._possible_experiments()
        runs = self._find([*names])
        self.experiment = self._choose_experiment(runs, names)
        for trial, same in _by_trial(runs).items():
            self._adopt(trial, same)

    # --- finding ------------------------------------------------------------------------------------------------

    def _find(self, experiments: Sequence[str]) -> list["Run"]:
        """Return the sweep's runs in some experiments."""
        owner = self.target.owner
        runs = list(owner.runs(self.client, experiments)) if experiments else []
        if experiments and not self.feedback.known_runs <= {run.info.run_id for run in runs}:
            runs = list(owner.runs(self.client, experiments))  # it was deleted, or the answer was empty
        return runs

    def _possible_experiments(self) -> dict[str, str]:
        """Return the experiments that may have runs of the sweep, id -> name: those of its name, and its former one."""
        names = {e.id: e.name for e in find_experiments(self.client, self.target.experiment)[0]}
        before = self.feedback.experiment_id
        if before and before not in names and (experiment := active_experiment(self.client, before)):  # it was renamed
            names[before] = experiment.name
        return names

    def _choose_experiment(self, runs: Collection["Run"], names: Mapping[str, str]) -> ExperimentRef:
        """Return the experiment with most of the sweep's runs; on a tie, the former one."""
        name, before = self.target.experiment, self.feedback.experiment_id
        counts = Counter(run.info.experiment_id for run in runs)
        if not counts:
            experiment = open_experiment(self.client, name, self.target.uri)
            self.feedback.note(deleted_note(name, experiment))
            return experiment
        most = max(counts, key=lambda experiment: (counts[experiment], experiment == before))
        experiment = ExperimentRef(most, names[most])
        if experiment.name != name:
            self.feedback.note(f"recorded in experiment {experiment.name}, not in {name}: the sweep's runs are there")
        return experiment

    def _adopt(self, trial: int | None, runs: list["Run"]) -> None:
        """Use one of a trial's runs and delete the others.

        Duplicates come from a delayed request that was taken for lost, or from an experiment that was deleted,
        replaced and then restored.
        """
        runs.sort(key=lambda r: (self._is_elsewhere(r), -_step_of(r), -len(r.data.params), r.info.start_time))
        if self._is_elsewhere(runs[0]):  # until this process creates one
            return
        self.by_trial[trial] = state = _state_of(runs[0])
        self._link(trial, state)  # a trial that continues after a crash has no new start
        for duplicate in runs[1:]:
            self._delete(trial, duplicate.info.run_id)

    def _is_elsewhere(self, run: "Run") -> bool:
        return run.info.experiment_id != self.experiment.id

    def _delete(self, trial: int | None, run: str) -> None:
        try:
            retry(partial(self.client.delete_run, run))
        except Exception as error:
            if not is_refusal(error):
                raise
            who = "the sweep" if trial is None else f"trial {trial}"
            self.feedback.note(f"{who} has a second run {run} in MLflow, which may not be deleted: {error}")

    def _link(self, trial: int | None, state: RunState) -> None:
        if trial is None:
            self.feedback.link_parent(ParentRun(self.experiment.id, state.run_id, self.experiment.name))
        else:
            self.feedback.link(trial, state.run_id)

    # --- creating and ending --------------------------------------------------------------------------------------

    def find_or_create(self, trial: int | None, name: str, tags: Mapping[str, object], time_ms: int) -> RunState:
        """Return a trial's run; create it with a name and tags if there is none."""
        if trial not in self.by_trial:
            owner, its_kind = self.target.owner, {KIND_TAG: "sweep"} if trial is None else {TRIAL_TAG: str(trial)}
            texts = owner.tags | its_kind | {tag: str(value)[:TAG_CHARACTERS] for tag, value in tags.items()}
            find = partial(owner.first_run, self.client, [self.experiment.id], where(its_kind))
            existing = None
            if self.target.shared:  # a worker and the recorder both need it; the worker always comes first
                existing = retry(find)
            run = existing or create_once(
                lambda: require_id(self.client.create_run(self.experiment.id, time_ms, texts, name)),
                find,
            )
            new = RunState(run.info.run_id, run.info.artifact_uri or "", is_new=True, name=name)
            self.by_trial[trial] = _state_of(existing) if existing else new
            self._link(trial, self.by_trial[trial])
        return self.by_trial[trial]

    def parent(self, time_ms: int) -> RunState:
        """Return the sweep's own run; create it if there is none."""
        return self.find_or_create(None, self.target.sweep, {}, time_ms)

    def set_running(self, run: RunState) -> None:
        """Set a found run to RUNNING, as for a resumed sweep; a new run is RUNNING already."""
        if not run.is_new:
            retry(partial(self.client.update_run, run.run_id, status="RUNNING"))

    def end_running(self) -> None:
        """End the found runs that are RUNNING: no process continues them."""
        for run in self.by_trial.values():
            if run.status == "RUNNING":
                retry(partial(self.client.set_terminated, run.run_id, "KILLED"))

    def pause(self, time_ms: int) -> None:
        """End all RUNNING runs as KILLED."""
        for run in list(self.target.owner.runs(self.client, [self.experiment.id], "attributes.status = 'RUNNING'")):
            retry(partial(self.client.set_terminated, run.info.run_id, "KILLED", time_ms))

    def forget_steps(self, trials: Collection[int | None]) -> None:
        """Forget which steps of some trials have been recorded, so that they are sent again."""
        for trial in trials:
            if trial in self.by_trial:
                self.by_trial[trial].step = -1


def _by_trial(runs: Collection["Run"]) -> dict[int | None, list["Run"]]:
    by_trial: dict[int | None, list[Run]] = {}
    for run in runs:
        by_trial.setdefault(_trial_of(run), []).append(run)
    return by_trial
