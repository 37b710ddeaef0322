"""Runs of MLflow into which the processes of trials log by themselves.

A worker makes the run of a trial before the process starts, and names it in the environment. So the recorder, which
hears of a trial only then, finds the run by its identity tags. Neither writes what the other does: the process its
metrics and params, the recorder tags, scores at rungs, and at the end those params that the process has not logged.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from espalier.core.foreign.folder import Assignment
from espalier.core.foreign.results import NotYet
from espalier.core.training.events import TrialId
from espalier.sweeps.address import sqlite_url
from espalier.sweeps.recording import beside
from espalier.sweeps.recording.experiments import ExperimentRef, Owner, open_experiment, require_id
from espalier.sweeps.recording.feedback import Feedback
from espalier.sweeps.recording.names import checks_of
from espalier.sweeps.recording.retry import is_refusal
from espalier.sweeps.recording.run_reader import RunReader
from espalier.sweeps.recording.runs import RunState, SweepRuns, Target
from espalier.sweeps.recording.server import file_id, open_client
from espalier.sweeps.recording.startup import FOLDER
from espalier.sweeps.recording.store import prepare_store
from espalier.sweeps.recording.tracking_uri import STORE_FILE, VARIABLE

RUN = "MLFLOW_RUN_ID"  # which MLflow's start_run takes
EXPERIMENT, EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"  # it refuses a run of another
RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7"}  # MLflow's default: our own processes have none, see server.py
FIRST_WAIT_S, WAIT_MOST_S = 0.5, 15.0  # between attempts to reach MLflow


class TrialRuns:
    """The runs of one sweep's trials, for one worker."""

    def __init__(self, target: Target, experiment_id: str | None = None):
        """experiment_id: the experiment with the sweep's earlier runs, even if it was renamed."""
        self.target, self.experiment_id = target, experiment_id
        self._store = 0  # the file that `_runs` is of
        self._runs: SweepRuns | None = None
        self._wait_s, self._not_before = FIRST_WAIT_S, 0.0

    @classmethod
    def alone(cls, folder: Path) -> "TrialRuns":
        """Return runs in a store of their own, for training that belongs to no sweep."""
        return cls(Target(sqlite_url(folder.absolute() / STORE_FILE), "alone", "alone", shared=True))

    @property
    def environment(self) -> Mapping[str, str]:
        """What all processes need to reach MLflow."""
        modules = os.pathsep.join(filter(None, [FOLDER, os.environ.get("PYTHONPATH")]))
        return {VARIABLE: self.target.uri, **RETRIES, "PYTHONPATH": modules}

    def attach(self, assignment: Assignment) -> RunReader:
        """Find or make the run for a process; return the reader of its results.

        Raises NotYet if MLflow does not answer, or did not a moment ago, and MLflow's error if it refuses.
        """
        if time.monotonic() < self._not_before:
            raise NotYet
        try:
            run, experiment = self._run_of(assignment.trial)
            environment = {RUN: run.run_id, EXPERIMENT: experiment.id, EXPERIMENT_NAME: experiment.name}
            environment[beside.CONTEXT] = beside.context(run.run_id)
            reader = RunReader(open_client(self.target.uri), run.run_id, assignment.metric, environment)
            if not run.is_new:
                reader.skip_earlier()
        except Exception as error:
            self._runs = None
            if is_refusal(error):
                raise
            self._not_before = time.monotonic() + self._wait_s
            self._wait_s = min(WAIT_MOST_S, 2 * self._wait_s)
            raise NotYet from error
        self._wait_s = FIRST_WAIT_S
        return reader

    def _run_of(self, trial: str) -> tuple[RunState, ExperimentRef]:
        """Return the run of a trial, and its experiment."""
        now = int(time.time() * 1000)
        try:
            number = TrialId.parse(trial).number
        except ValueError:  # a training that compares two ways to train a trial
            return self._compared(trial, now)
        if self._runs is None or self._store != file_id(self.target.uri):
            prepare_store(self.target.uri)
            self._store = file_id(self.target.uri)
            self._runs = SweepRuns(open_client(self.target.uri), self.target, Feedback(self.experiment_id))
        self._runs.by_trial.pop(number, None)  # it may have been deleted since
        return self._runs.find_or_create(number, f"trial {number}", {}, now), self._runs.experiment

    def _compared(self, name: str, now: int) -> tuple[RunState, ExperimentRef]:
        prepare_store(self.target.uri)
        client = open_client(self.target.uri)
        experiment = open_experiment(client, checks_of(self.target.experiment), self.target.uri)
        run = require_id(client.create_run(experiment.id, now, run_name=f"{self.target.sweep}: {name}"))
        return RunState(run.info.run_id, run.info.artifact_uri or "", is_new=True), experiment


def runs_for(spec_uri: str | None, settings_uri: str, owner: Owner, experiment: str, former: str | None) -> TrialRuns:
    """Return the runs of a sweep for a worker.

    settings_uri: from the driver; "" where it has a secret: then it is the spec's, or that of the worker's environment.
    former: the id of the experiment with the sweep's earlier runs. Raises KeyError where no address is known.
    """
    uri = settings_uri or spec_uri or os.environ[VARIABLE]
    return TrialRuns(Target(uri, owner.sweep, experiment, True, owner.birth or ""), former)
