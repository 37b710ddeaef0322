"""What the service shows of a sweep: its submission, and what Optuna's storage knows of its trials."""

import logging
import math
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from espalier.core.errors import BadInput
from espalier.core.own import SEARCH_PATH
from espalier.services.cluster import variables_of_jobs
from espalier.services.confine import Tenants, entrance
from espalier.services.store import ACTIVE, State, Submission, timestamp
from espalier.sweeps.address import mlflow_page, no_secret
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.recording.names import SWEEP_TAG
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.results import trial_result as results
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.store import SweepStore

SETTLED_S, LASTING_S = 5.0, 60.0  # trials of a sweep that is over are read again once a minute
JOURNAL_MOST = 2**28  # bytes of an owner's journal that are read: of a thousand sweeps; they take 30 s, once
BEST_MOST, BEST_S = 2**22, 60.0  # bytes of a best file that an owner's user makes, and how long it may take
FRESH_S = 1.0  # many clients that poll one sweep cost as much as one

log = logging.getLogger(__name__)


class TrialCounts(BaseModel):
    """How many trials are where."""

    wanted: int
    ended: int
    running: int = 0
    interrupted: int = Field(0, description="begun, and not over when the sweep stopped: a resume goes on with them")
    complete: int = 0
    stopped: int = 0
    diverged: int = 0
    failed: int = 0


class Best(BaseModel):
    """The best complete trial so far."""

    trial: int
    params: dict[str, Any]
    metric: str
    value: float


class MLflowPlace(BaseModel):
    """Where MLflow has a sweep: the page of its run, an experiment, and a filter for that one's search box."""

    url: str = Field(examples=["https://mlflow.example.org"])
    page: str | None = Field(
        None,
        description="the page of the sweep's own run, which lists those of its trials; null until it is recorded",
        examples=["https://mlflow.example.org/#/experiments/3/runs/0123456789abcdef?workflowType=machine_learning"],
    )
    experiment: str = Field(examples=["names"])
    filter: str = Field(examples=["tags.`espalier.sweep` = 'names-20261121-1a2b3c4d'"])


class Sweep(BaseModel):
    """A sweep, as it is now."""

    id: str = Field(examples=["names-20261121-a1b2"])
    name: str = Field(examples=["names"])
    owner: str = Field(examples=["ada"])
    state: State
    reason: str = Field("", description="why it stopped or failed")
    position: int | None = Field(None, description="how many sweeps wait before it, while it is queued")
    attempt: int = Field(0, description="how often it was started again")
    created: str = Field(description="RFC 3339")
    changed: str = Field(description="RFC 3339")
    seconds: float = Field(description="how long it has run")
    hours: float = Field(description="how long it may run")
    gpus: float = Field(description="GPUs that it is counted with while it runs")
    progress: float = Field(description="the share of its trials that have ended")
    trials: TrialCounts
    searched: list[str] = Field(description="the hyperparameters that its trials may differ in")
    mode: str = Field("min", description="min or max: which values of the objective are better")
    best: Best | None = None
    links: dict[str, str]
    mlflow: MLflowPlace


class Trial(BaseModel):
    """One trial of a sweep."""

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    spread: float | None = None
    verdict: str = ""
    evidence: str = ""
    duration_s: float | None = None
    step: int | None = Field(None, description="the last step that it reported")
    latest: float | None = Field(None, description="the objective at that step")
    ended: str | None = None
    mlflow_run: str = Field("", description="the id of its run, once MLflow has it")


class Journal:
    """The journal of a job that is not trusted: read only as the file, never the link or pipe, that its owner wrote."""

    def __init__(self, path: Path, uid: int):
        self.path, self.uid = path, uid
        self._file: int | None = None
        self._is: tuple[int, int] | None = None
        self._store: SweepStore | None = None

    def store(self) -> SweepStore:
        """Return the sweeps in it, opened again where it is another file than before. Raises KeyError."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise KeyError(str(self.path)) from error
        facts = os.fstat(file)
        if facts.st_size > JOURNAL_MOST:
            log.warning("%s: %d bytes; journals of more than %d are not read", self.path, facts.st_size, JOURNAL_MOST)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != self.uid or facts.st_size > JOURNAL_MOST:
            os.close(file)
            raise KeyError(f"{self.path} is no journal")
        if self._store and self._is == (facts.st_dev, facts.st_ino):
            os.close(file)
        else:
            if self._file is not None:
                os.close(self._file)
            self._file, self._is = file, (facts.st_dev, facts.st_ino)
            self._store = SweepStore.open_for_reading(f"/proc/self/fd/{file}")  # by handle: the name may change hands
        return self._store


class Sweeps:
    """Reads the trials of sweeps, each at most once a second.

    tenants: the owners' homes, where jobs have users of their own; what lies there is not trusted.
    """

    def __init__(self, home: Home, mlflow_url: str = "", tenants: Tenants | None = None):
        self.home, self.tenants = home, tenants
        self._told_url = mlflow_url
        self.store = SweepStore.open(home.storage)
        self._known: dict[str, tuple[float, list[TrialResult]]] = {}
        self._pages: dict[str, str] = {}
        self._experiments: dict[str, str] = {}
        self._journals: dict[str, Journal] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def tenant_home(self, owner: str, sweep: str) -> Home | None:
        """Return the home of a sweep's owner; None if the sweep lies in the service's own."""
        if self.tenants is None or not owner or self.home.sweep(sweep).exists():
            return None
        return Home(self.tenants.home_of(owner))

    def mlflow_url(self, owner: str = "", sweep: str = "") -> str:
        """Return where people browse MLflow, for a sweep of an owner."""
        home = self.tenant_home(owner, sweep) or self.home
        return self._told_url or resolve_tracking_uri(None, home.path, None)

    def trials(self, sweep: str, over_since: float | None = None, owner: str = "") -> list[TrialResult]:
        """Return the trials of a sweep; none before its driver has begun.

        over_since: when it ended, in seconds since 1970: what was read well after that changes no more.
        """
        with self._locks[owner if self.tenants else ""]:
            when, found = self._known.get(sweep, (-math.inf, []))
            settled = over_since is not None and when > over_since + SETTLED_S
            if time.time() - when < (LASTING_S if settled else FRESH_S):
                return found
            found = self._read(sweep, owner)
            if len(self._known) > 10_000:
                self._known.clear()
                self._pages.clear()
                self._experiments.clear()
            self._known[sweep] = (time.time(), found)
            return found

    def _read(self, sweep: str, owner: str) -> list[TrialResult]:
        """Read the trials of a sweep; none of one that has not begun, or that another version wrote."""
        home = self.tenant_home(owner, sweep)
        try:
            record_ = self._store(home).load(sweep)
            found = record_.results()
            url = self.mlflow_url(owner, sweep)
            if (parent := record_.parent) and url.startswith(("http://", "https://")):
                self._pages[sweep] = mlflow_page(url, *parent.ids)
            self._experiments[sweep] = record_.experiment
            if home is not None:
                for trial in found:
                    trial_view(trial).model_dump_json()  # raises for what no answer could carry
        except (KeyError, BadInput):
            return []
        except Exception as error:
            if home is None:
                raise
            log.warning("the journal of %s cannot be read: %s", home.path.name, type(error).__name__)
            return []
        return found

    def _store(self, home: Home | None) -> SweepStore:
        """Return the sweeps of a tenant's home, or the service's own; a database is one for all."""
        if home is None or "://" in home.storage:
            return self.store
        if home.path.name not in self._journals:
            if not home.path.is_dir():
                raise KeyError(str(home.path))
            self._journals[home.path.name] = Journal(Path(home.storage), home.path.stat().st_uid)
        return self._journals[home.path.name].store()

    def page(self, sweep: str) -> str | None:
        """Return where people see a sweep whose trials were read, if MLflow is a server and has it."""
        return self._pages.get(sweep)

    def experiment(self, sweep: str, name: str) -> str:
        """Return the experiment in which MLflow has a sweep whose trials were read; the name of its spec before."""
        return self._experiments.get(sweep, name)

    def ended(self, sweep: str, owner: str = "") -> list[TrialResult]:
        """Return the trials that have ended, in the order in which they did: a list that only grows."""
        over = [t for t in self.trials(sweep, owner=owner) if t.state != "running" and t.ended is not None]
        return sorted(over, key=lambda t: (t.ended, t.number))

    def best(self, sweep: str, owner: str, trial: int | None) -> str:
        """Return the best file of a sweep. Raises BadInput.

        It is made of files and records that a job has written, so where jobs have users of their own, theirs makes it.
        """
        if (home := self.tenant_home(owner, sweep)) is None:
            return HomeOrigin(self.home).read(sweep).best_file(trial)
        chosen = [] if trial is None else ["--trial", str(trial)]
        command = [
            sys.executable,
            "-s",
            "-m",
            "espalier.sweeps.cli",
            "best",
            sweep,
            "--home",
            str(home.path),
            *chosen,
        ]
        env = variables_of_jobs(os.environ) | {"PYTHONPATH": str(SEARCH_PATH), "COLUMNS": "200"}
        code, text, last = output_of(entrance(home.path, command), env)
        if code:
            raise BadInput(last.removeprefix("sweep: ") or f"{sweep}: its best file could not be made")
        return text


def objective_of(submission: Submission) -> str:
    """Return the metric that a sweep seeks."""
    return str((submission.spec.get("objective") or {}).get("metric", "valid_loss"))


def curves_of(submission: Submission, sweeps: Sweeps, metric: str) -> list[Any]:
    """Return (trial, step, value) of every report of a metric, null for what is no number. Raises BadInput.

    All but the objective are read from files that a job has written, so not where jobs have users of their own.
    """
    objective = objective_of(submission)
    if metric == objective:
        trials = trials_of(submission, sweeps)
        return finite([(t.number, step, value) for t in trials for step, value in sorted(t.reports.items())])
    if sweeps.tenant_home(submission.owner, submission.sweep) is not None:
        raise BadInput(f"metric: {metric}: this service has the curves of {objective}; MLflow has the others")
    return finite(HomeOrigin(sweeps.home).read(submission.sweep).points(metric))


def trials_of(submission: Submission, sweeps: Sweeps, over_since: float | None = None) -> list[TrialResult]:
    """Return the trials of a sweep; where it does not run, those that were interrupted say so."""
    trials = sweeps.trials(submission.sweep, over_since, submission.owner)
    return trials if State(submission.state) in ACTIVE else results.at_rest(trials)


def output_of(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command that is not trusted; return its exit code, its output, and the last line of its errors.

    Raises BadInput for one that takes longer than BEST_S, or writes more than BEST_MOST bytes.
    """
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command, cwd=SEARCH_PATH, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process:
            late = threading.Timer(BEST_S, process.kill)
            late.start()
            try:
                assert process.stdout
                text = process.stdout.read(BEST_MOST + 1)
                if len(text) <= BEST_MOST:
                    process.wait()
            finally:
                process.kill()
                late.cancel()
        if len(text) > BEST_MOST:
            raise BadInput(f"the best file has more than {BEST_MOST:,} bytes")
        if process.returncode == -signal.SIGKILL:
            raise BadInput(f"the best file took more than {BEST_S:g} s")
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return process.returncode, text.decode(errors="replace"), lines[-1] if lines else ""


def sweep_view(submission: Submission, spec: Mapping[str, Any], sweeps: Sweeps, position: int | None) -> Sweep:
    """Return a sweep as it is now."""
    state = State(submission.state)
    begun = submission.attempt or state != State.QUEUED
    settled = submission.changed if state.over else None
    trials = trials_of(submission, sweeps, settled) if begun else []
    objective = {"metric": "valid_loss", "mode": "min"} | dict(spec.get("objective") or {})
    best = results.best_trial(trials, objective["mode"])
    counted = results.counts(trials)
    ended = sum(count for kind, count in counted.items() if kind not in results.UNFINISHED)
    here = f"/v1/sweeps/{submission.sweep}"
    return Sweep(
        id=submission.sweep,
        name=submission.name,
        owner=submission.owner,
        state=state,
        reason=submission.reason,
        position=position,
        attempt=submission.attempt,
        created=timestamp(submission.created) or "",
        changed=timestamp(submission.changed) or "",
        seconds=round(submission.seconds(time.time()), 3),
        hours=submission.hours,
        gpus=submission.gpus,
        progress=round(ended / submission.trials, 4) if submission.trials else 0.0,
        trials=TrialCounts(wanted=submission.trials, ended=ended, **counted),
        searched=[name for name, domain in (spec.get("space") or {}).items() if isinstance(domain, Mapping | list)],
        mode=objective["mode"],
        mlflow=MLflowPlace(
            url=no_secret(sweeps.mlflow_url(submission.owner, submission.sweep)),
            page=sweeps.page(submission.sweep),
            experiment=sweeps.experiment(submission.sweep, submission.name),
            filter=f"tags.`{SWEEP_TAG}` = '{submission.sweep}'",
        ),
        best=best and _best(best, objective["metric"]),
        links={"self": here} | {name: f"{here}/{name}" for name in ("trials", "best", "logs", "events")},
    )


def _best(trial: TrialResult, metric: str) -> Best:
    return Best(trial=trial.number, params=finite(dict(trial.params)), metric=metric, value=trial.value or 0.0)


def trial_view(trial: TrialResult) -> Trial:
    """Return one trial."""
    fields = finite(asdict(trial))
    reports = fields.pop("reports")
    step = max(reports, default=None)
    latest = None if step is None else reports[step]
    return Trial(**fields | {"ended": timestamp(trial.ended), "step": step, "latest": latest})
