"""The trials of sweeps in Optuna's storage, read at most once a second."""

import logging
import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.services.clusters.environment import variables_of_jobs
from espalier.services.database.tables import ACTIVE, State, Submission
from espalier.services.isolation.best_file import best_file_as_owner, enqueue_as_owner
from espalier.services.isolation.journal import Journal
from espalier.services.isolation.tenants import Tenants
from espalier.services.reading.answers import ReferenceRow, reference_view, trial_view
from espalier.sweeps.address import mlflow_page
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.results import trial_result as results
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.adding import add
from espalier.sweeps.search.extending import budget_of, extended_to, extension_of
from espalier.sweeps.search.extension import More
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.spec.values import Fields

SETTLED_S, LASTING_S = 5.0, 60.0  # seconds for which the trials of an ended sweep are cached
FRESH_S = 1.0  # seconds for which trials are cached: many polling clients cost as much as one
CurvePoint = tuple[int, int, float | None]
"""trial, step, value"""

log = logging.getLogger(__name__)


class Sweeps:
    """Reads the trials of sweeps, each at most once a second.

    tenants: the owners' homes, if jobs run as separate users; files there are not trusted.
    """

    def __init__(self, home: Home, mlflow_url: str = "", tenants: Tenants | None = None):
        self.home, self.tenants = home, tenants
        self._browse_url = mlflow_url
        self.store = SweepStore.open(home.storage)
        self._known: dict[str, tuple[float, list[TrialResult]]] = {}
        self._pages: dict[str, str] = {}
        self._experiments: dict[str, str] = {}
        self._references: dict[str, list[ReferenceRow]] = {}
        self._journals: dict[str, Journal] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def tenant_home(self, owner: str, sweep: str) -> Home | None:
        """Return the home of a sweep's owner; None if the sweep is in the service's own."""
        if self.tenants is None or not owner or self.home.sweep(sweep).exists():
            return None
        return Home(self.tenants.home_of(owner))

    def mlflow_url(self, owner: str = "", sweep: str = "") -> str:
        """Return MLflow's address for browsers, for a sweep of an owner."""
        home = self.tenant_home(owner, sweep) or self.home
        return self._browse_url or resolve_tracking_uri(None, home.path, None)

    def trials(self, sweep: str, over_since: float | None = None, owner: str = "") -> list[TrialResult]:
        """Return the trials of a sweep; none before its driver has begun.

        over_since: when it ended, in seconds since 1970: trials read well after that no longer change.
        """
        with self._locks[owner if self.tenants else ""]:
            when, trials = self._known.get(sweep, (-math.inf, []))
            settled = over_since is not None and when > over_since + SETTLED_S
            if time.time() - when < (LASTING_S if settled else FRESH_S):
                return trials
            trials = self._read(sweep, owner)
            if len(self._known) > 10_000:
                self._known.clear()
                self._pages.clear()
                self._experiments.clear()
                self._references.clear()
            self._known[sweep] = (time.time(), trials)
            return trials

    def _read(self, sweep: str, owner: str) -> list[TrialResult]:
        """Read the trials of a sweep; empty for one that has not begun, or that was written by another version."""
        home = self.tenant_home(owner, sweep)
        try:
            record = self._store(home).load(sweep)
            trials = record.results()
            url = self.mlflow_url(owner, sweep)
            if (parent := record.parent) and url.startswith(("http://", "https://")):
                self._pages[sweep] = mlflow_page(url, *parent.ids)
            self._experiments[sweep] = record.experiment
            self._references[sweep] = [reference_view(reference) for reference in record.references]
            if home is not None:
                for trial in trials:
                    trial_view(trial).model_dump_json()  # raises for values that no answer can contain
        except (KeyError, BadInput):
            return []
        except Exception as error:
            if home is None:
                raise
            log.warning("the journal of %s cannot be read: %s", home.path.name, type(error).__name__)
            return []
        return trials

    def record(self, sweep: str, owner: str) -> SweepRecord:
        """Return the record of a sweep, for reading. Raises BadInput, and KeyError for a sweep that has not begun."""
        return self._store(self.tenant_home(owner, sweep)).load(sweep)

    def _store(self, home: Home | None) -> SweepStore:
        """Return the sweeps of a tenant's home or of the service's own; a database is shared by all."""
        if home is None or "://" in home.storage:
            return self.store
        if home.path.name not in self._journals:
            if not home.path.is_dir():
                raise KeyError(str(home.path))
            self._journals[home.path.name] = Journal(Path(home.storage), home.path.stat().st_uid)
        return self._journals[home.path.name].store()

    def page(self, sweep: str) -> str | None:
        """Return MLflow's page on a sweep whose trials were read, if MLflow is a server and has it."""
        return self._pages.get(sweep)

    def experiment(self, sweep: str, name: str) -> str:
        """Return the experiment of a sweep whose trials were read; before that, the name of its spec."""
        return self._experiments.get(sweep, name)

    def references(self, sweep: str) -> list[ReferenceRow]:
        """Return what the references came to of a sweep whose trials were read."""
        return self._references.get(sweep, [])

    def ended(self, sweep: str, owner: str = "") -> list[TrialResult]:
        """Return the ended trials in the order of their ends: the list only grows."""
        over = [t for t in self.trials(sweep, owner=owner) if t.state != "running" and t.ended is not None]
        return sorted(over, key=lambda t: (t.ended, t.number))

    def begun(self, sweep: str, owner: str) -> bool:
        """Whether the driver of a sweep has begun, so that there is something to read."""
        try:
            return self._store(self.tenant_home(owner, sweep)).exists(sweep)
        except KeyError:
            return False

    def best(self, sweep: str, owner: str, trial: int | None) -> str:
        """Return the best file of a sweep. Raises BadInput.

        It reads files written by a job. So if jobs run as separate users, the owner's user makes it.
        """
        if (home := self.tenant_home(owner, sweep)) is None:
            return HomeOrigin(self.home).read(sweep).best_file(trial)
        return best_file_as_owner(home.path, sweep, trial, variables_of_jobs(os.environ))

    def enqueue(
        self,
        sweep: str,
        owner: str,
        points: Sequence[Fields],
        other: str | None,
        top: int,
        extended: Mapping[str, float] | None = None,
    ) -> int:
        """Add points to a sweep, and the best ones of another; return how many.

        extended: how much it is to train in all, by its unit, which is stored once its job has begun.
        Raises BadInput, and KeyError for a sweep that has not begun.
        If jobs run as separate users, the owner's user adds them to the journal, which their job has written.
        """
        home = self.tenant_home(owner, sweep)
        if home is None or "://" in home.storage:
            return add(self.store, extended_to(self.store.load(sweep), extended or {}), points, other or "", top)
        if not self._store(home).exists(sweep):
            raise KeyError(sweep)
        return enqueue_as_owner(home.path, sweep, points, other, top, extended or {}, variables_of_jobs(os.environ))


@dataclass(frozen=True)
class Extended:
    """A sweep with more to train. budget: in all, by its unit. trials: in all, as quotas count them."""

    budget: Mapping[str, float]
    trials: int


def extended(submission: Submission, record: SweepRecord, more: More) -> Extended:
    """Return what a sweep comes to with so much more to train; nothing is stored. Raises BadInput."""
    unit, amount = more.amount
    if submission.extended and unit in submission.extended:  # by a job that has not come to it
        more = replace(more, **{unit: amount + max(0.0, submission.extended[unit] - budget_of(record.spec, unit))})
    extension = extension_of(record, more)
    spec = make_spec(extension.applied_to(record.stored_spec), f"{record.id}: extended", stored=True)
    return Extended({extension.unit: extension.after}, spec.trials_wanted)


def objective_of(submission: Submission) -> str:
    """Return the metric that a sweep seeks."""
    return str((submission.spec.get("objective") or {}).get("metric", "valid_loss"))


def curves_of(submission: Submission, sweeps: Sweeps, metric: str) -> list[CurvePoint]:
    """Return (trial, step, value) of every report of a metric, None for NaN and infinity. Raises BadInput.

    All metrics except the objective are in files written by a job, so they are not read if jobs run as separate users.
    """
    objective = objective_of(submission)
    if metric == objective:
        trials = trials_of(submission, sweeps)
        return finite([(t.number, step, value) for t in trials for step, value in sorted(t.reports.items())])
    if sweeps.tenant_home(submission.owner, submission.sweep) is not None:
        raise BadInput(f"metric: {metric}: this service has the curves of {objective}; MLflow has the others")
    return finite(HomeOrigin(sweeps.home).read(submission.sweep).points(metric))


def trials_of(submission: Submission, sweeps: Sweeps, over_since: float | None = None) -> list[TrialResult]:
    """Return the trials of a sweep; if it does not run, unfinished ones are shown as interrupted."""
    trials = sweeps.trials(submission.sweep, over_since, submission.owner)
    return trials if State(submission.state) in ACTIVE else results.at_rest(trials)
