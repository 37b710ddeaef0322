"""What is known of the sweeps of a home: for `sweep list`, `show` and `best`."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from espalier.core.errors import BadInput
from espalier.core.measures.verdicts import VERDICTS
from espalier.sweeps.address import UI, mlflow_page, no_secret
from espalier.sweeps.best_file import best_file_text
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.stories import read_trial, spooled_story
from espalier.sweeps.recording.tracking_uri import sweep_tracking_uri
from espalier.sweeps.results import trial_result as results
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.driver_lock import driven_sweeps
from espalier.sweeps.search.store import SweepStore, find_sweep
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class Details:
    """One sweep: what was asked, how far it is, where its data lie."""

    sweep: str
    spec: SweepSpec
    state: str  # running, interrupted, finished
    wanted: int
    trials: list[TrialResult]
    tracking_uri: str
    storage: str
    experiment: str  # in MLflow
    parent: ParentRun | None = None  # the sweep's own run in MLflow

    @property
    def page(self) -> str:
        """The address of MLflow's page on the sweep: at home that of `sweep ui`."""
        server = self.tracking_uri if self.tracking_uri.startswith("http") else UI
        return mlflow_page(server, *(self.parent.ids if self.parent else ()))

    @property
    def best(self) -> TrialResult | None:
        """The best complete trial."""
        return results.best_trial(self.trials, self.spec.objective.mode)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON has."""
        best = self.best
        found = {
            "sweep": self.sweep,
            "state": self.state,
            "wanted": self.wanted,
            "states": results.counts(self.trials),
            "best": best
            and {"trial": best.number, "params": dict(best.params), self.spec.objective.metric: best.value},
            "tracking_uri": no_secret(self.tracking_uri),
            "mlflow": self.page,
            "experiment": self.experiment,
            "storage": no_secret(self.storage),
            "trials": [asdict(t) for t in self.trials],
            "spec": self.spec.model_dump(mode="json"),
        }
        return finite(found)

    def row(self) -> dict[str, Any]:
        """Return what `sweep list` tells of the sweep."""
        best = self.best
        return {
            "sweep": self.sweep,
            "state": self.state,
            "ended": sum(t.state not in results.UNFINISHED for t in self.trials),
            "wanted": self.wanted,
            "metric": self.spec.objective.metric,
            "best": best and best.value,
            "best_trial": best and best.number,
        }

    def lines(self) -> Iterator[str]:
        """Yield the head of `sweep show`."""
        counted = ", ".join(f"{n} {state}" for state, n in results.counts(self.trials).items()) or "none yet"
        yield f"{self.sweep}: {self.state}; trials: {counted}, of {self.wanted}"
        yield f"  MLflow   {no_secret(self.tracking_uri)}, experiment {self.experiment}"
        yield f"  page     {self.page}{'' if self.tracking_uri.startswith('http') else ' while `sweep ui` runs'}"
        yield f"  Optuna   {no_secret(self.storage)}, study {self.sweep}"
        health = Counter(t.verdict for t in self.trials if t.verdict)
        if health:
            yield f"  health   {', '.join(f'{health[name]} {name}' for name in VERDICTS if name in health)}"
        yield from (f"  note: {note}" for note in results.notes(self.trials))
        if self.state == "interrupted":
            yield f"  continue: sweep resume {self.sweep}"

    def evidence(self, top: int) -> Iterator[str]:
        """Yield why the best trials have the verdict that they have, each on one line."""
        for t in results.ranked(self.trials, self.spec.objective.mode)[:top]:
            if t.evidence:
                yield f"trial {t.number} {t.verdict or t.state}: {t.evidence}"


def _details(home: Home, sweep_record: SweepRecord, driven: Collection[str]) -> Details:
    """Return what is known of a sweep. driven: the sweeps that a process drives now, this one among them or not."""
    sweep, spec, trials = sweep_record.id, sweep_record.spec, sweep_record.results()
    wanted, ended = spec.trials_wanted, sum(t.state != "running" for t in trials)
    state = "running" if sweep in driven else "finished" if ended >= wanted else "interrupted"
    trials = trials if state == "running" else results.at_rest(trials)
    uri = sweep_tracking_uri(sweep_record, home)
    return Details(sweep, spec, state, wanted, trials, uri, home.storage, sweep_record.experiment, sweep_record.parent)


def details(home: Home, wanted: str) -> Details:
    """Return one sweep by id or name. Raises BadInput for an unknown one."""
    return _details_of(home, find_sweep(home, SweepStore.open_for_reading(home.storage), wanted))


def _details_of(home: Home, sweep_record: SweepRecord) -> Details:
    return _details(home, sweep_record, driven_sweeps(home, [sweep_record.id]))


def list_sweeps(home: Home) -> list[dict[str, Any]]:
    """Return one row for each sweep, the oldest first, then those that the journal has lost.

    Of these, and of one that another version wrote, its id may be all there is.
    """
    store = SweepStore.open_for_reading(home.storage)
    sweeps, rows = store.ids(), []
    nothing = dict.fromkeys(("ended", "wanted", "metric", "best", "best_trial"))
    driven = driven_sweeps(home, sweeps)
    for sweep in sweeps:
        try:
            rows.append(_details(home, store.load(sweep), driven).row())
        except (BadInput, KeyError):
            rows.append({"sweep": sweep, "state": "unreadable"} | nothing)
    rows += [{"sweep": sweep, "state": "lost"} | nothing for sweep in home.lost(sweeps)]
    return rows


def best_of(home: Home, wanted: str, trial: int | None = None) -> str:
    """Return the best trial of a sweep (or another complete one) as the text of a best file."""
    sweep_record = find_sweep(home, SweepStore.open_for_reading(home.storage), wanted)
    found = _details_of(home, sweep_record)
    chosen = found.best
    if trial is not None:
        complete = {t.number: t for t in found.trials if t.state == "complete"}
        if trial not in complete:
            known = ", ".join(map(str, sorted(complete)))
            raise BadInput(f"--trial {trial}: no complete trial of {sweep_record.id}; complete are: {known or 'none'}")
        chosen = complete[trial]
    if chosen is None:
        raise BadInput(f"{sweep_record.id} has no complete trial yet ({results.counts(found.trials) or 'none began'})")
    return best_file_text(sweep_record, chosen, _story(home, found, chosen.number))


def _story(home: Home, found: Details, trial: int) -> dict[str, Any]:
    """Return the story of a trial: from MLflow, or where that has it no more, from the sweep's spool."""
    try:
        check_reachable(found.tracking_uri, reading=True)
        return read_trial(found.tracking_uri, found.sweep, trial)
    except BadInput:
        if story := spooled_story(home.sweep(found.sweep), trial):
            return story
        raise


def latest_page(home: Home, server: str) -> str:
    """Return the address of MLflow's page on the latest sweep of a home; that of its experiments without one."""
    store = SweepStore.open_for_reading(home.storage)
    for sweep in reversed(store.ids()):
        sweep_record = store.load(sweep)
        if (parent := sweep_record.parent) and not sweep_tracking_uri(sweep_record, home).startswith("http"):
            return mlflow_page(server, parent.experiment_id)
    return mlflow_page(server)
