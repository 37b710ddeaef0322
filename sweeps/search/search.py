"""Optuna by ask and tell: ask for trials, group them into cohorts, tell how they ended.

Optuna's storage is the one home of which trials exist and how they ended. A resumed sweep is rebuilt from it: what is
RUNNING there belongs to a cohort that has to go on, what is missing is still to be asked for.
The only file that imports optuna.
"""

import fcntl
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import optuna
from numpy.random import SeedSequence, default_rng
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    GridSampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from espalier.core.errors import BadInput, nearest
from espalier.core.training.events import Event, Forked, Started
from espalier.sweeps import cohorts as plan
from espalier.sweeps import identity
from espalier.sweeps.cohorts import structural_key
from espalier.sweeps.home import NO_ROOM, naming
from espalier.sweeps.results.results import TrialResult, judged_together
from espalier.sweeps.search import journal
from espalier.sweeps.search.halving import Halving
from espalier.sweeps.search.outcome import Fork, News, Outcome, Report, Score, Start, Story, leader_of, missing, to_beat
from espalier.sweeps.spec.space import Choice, Range
from espalier.sweeps.spec.spec import SweepSpec, make_spec

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

MENDED_MOST = 20  # lines that can be read and that Optuna does not take: of more a journal cannot be mended

logger = logging.getLogger(__name__)
Suggestion = dict[str, Any]
TABLES = "tables of optuna"  # the lock under which they are made: Optuna's own way fails where two begin at once


# --- storage ---------------------------------------------------------------------------------------------------------


def open_storage(place: str) -> optuna.storages.BaseStorage:
    """Open Optuna's storage: a database URL, or the path of a journal (15 times faster than sqlite).

    Raises BadInput for a database that cannot be reached, refuses the login, or has tables of another version, and for
    a journal that cannot be opened. One that is damaged is mended.
    """
    if "://" in place:
        return _open_database(place)
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return _open_journal(Path(place), _Lock(f"{place}.flock"))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        why = f"cannot be opened ({error.strerror}); move it away, or name another home"
        raise BadInput(f"{error.filename or place}: {why}") from error


def _open_journal(path: Path, lock: "_Lock") -> optuna.storages.BaseStorage:
    """Read a journal, and mend it first where it is damaged; what was done is said once, on the terminal."""
    if path.exists():
        with _held(lock):
            journal.cut_torn_line(path)
    broken: set[int] = set()
    for _ in range(MENDED_MOST):
        try:
            return optuna.storages.JournalStorage(_Journal(str(path), lock))
        except OSError:
            raise
        except Exception as error:  # whatever Optuna meets in a line
            reason = error
        with _held(lock):
            if not _replays(_operations(path)):  # else another process has just mended it
                sentence = journal.mend(path, broken)
                operations = _operations(path)
                if not _replays(operations):
                    broken.add(_first_broken(operations))
                logger.warning("%s", sentence)
    raise BadInput(f"{path}: cannot be read ({type(reason).__name__}: {reason}); move it away, or bring back a copy")


class _Journal(JournalFileBackend):
    """A journal to write to. What a full disk has let half through is cut off: the next line would be lost with it."""

    def __init__(self, path: str, lock: "_Lock"):
        super().__init__(path, lock)
        self.path, self.held = path, lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write operations. Raises OSError, which names the file."""
        try:
            with naming(self.path):
                super().append_logs(logs)
        except OSError:
            with _held(self.held):
                journal.cut_torn_line(Path(self.path))
            raise


class _Operations(BaseJournalBackend):
    """Operations of a journal, for Optuna to read."""

    def __init__(self, operations: Sequence[dict[str, Any]]):
        self.operations = operations

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        yield from self.operations[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Nothing is written."""


def _operations(path: Path) -> list[dict[str, Any]]:
    """Return the operations of a journal; an empty one, which Optuna does not take, for a line that cannot be read."""
    operations = []
    with open(path, "rb") as file:
        for text in file:
            try:
                operations.append(json.loads(text))
            except ValueError:
                operations.append({})
    return operations


def _replays(operations: Sequence[dict[str, Any]]) -> bool:
    """Whether Optuna can read some operations."""
    try:
        optuna.storages.JournalStorage(_Operations(operations))
    except Exception:
        return False
    return True


def _first_broken(operations: Sequence[dict[str, Any]]) -> int:
    """Return the number, from 1, of the first operation that Optuna does not take."""
    low, high = 0, len(operations)  # the first `low` can be read, the first `high` cannot
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _replays(operations[:middle]) else (low, middle)
    return high


def _mended_in_memory(path: Path) -> optuna.storages.BaseStorage:
    """Read what can be read of a damaged journal, and write nothing."""
    with open(path, "rb") as file:
        operations = [line for _, line in journal.mended(file) if line is not None]
    for _ in range(MENDED_MOST):
        if _replays(operations):
            logger.warning("%s: damaged; shown is what can be read, and a resume writes it anew", path)
            return optuna.storages.JournalStorage(_Operations(operations))
        del operations[_first_broken(operations) - 1]
    raise BadInput(f"{path}: cannot be read; move it away, or bring back a copy")


@contextmanager
def _held(lock: "_Lock") -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_for_reading(place: str) -> optuna.storages.BaseStorage:
    """Open a storage that somebody else writes, or nobody may, and write nothing: no lock, no repair, no new file.

    Of a journal that is damaged it shows what can be read. Raises BadInput for one of which that is nothing.
    """
    if "://" in place:
        return _open_database(place)
    if not Path(place).exists():
        return optuna.storages.InMemoryStorage()  # of a home in which nothing has begun
    try:
        return optuna.storages.JournalStorage(JournalFileBackend(place))
    except OSError as error:
        raise BadInput(f"{place}: cannot be read ({error.strerror}); move it away, or name another home") from error
    except Exception:  # whatever Optuna meets in a line
        return _mended_in_memory(Path(place))


@lru_cache(maxsize=8)
def _open_database(place: str) -> optuna.storages.RDBStorage:
    """Open a database, once in a process: connections are shared, and kept for the next who asks."""
    from espalier.sweeps.search import database  # SQLAlchemy, which a journal does without

    url = database.parsed(place)
    with database.understood(place), database.alone(url, TABLES):
        try:
            return optuna.storages.RDBStorage(_whole(url), database.engine_options(url))
        except RuntimeError as error:  # tables of another version
            raise BadInput(f"{database.VARIABLE}: {str(error).split(' Please ')[0]}; run `sweep db upgrade`") from error


def upgrade_storage(place: str) -> None:
    """Make the tables of Optuna's database, or bring them to this version; others that try it at once wait.

    Raises BadInput for a database that cannot be reached or refuses the login.
    """
    from espalier.sweeps.search import database

    url = database.parsed(place)
    with database.understood(place), database.alone(url, TABLES):
        storage = optuna.storages.RDBStorage(_whole(url), database.engine_options(url), skip_compatibility_check=True)
        with _own_logging():
            storage.upgrade()
        storage.engine.dispose()


@contextmanager
def _own_logging() -> Iterator[None]:
    """Keep this process's logging: Optuna's upgrade sets up all of it anew unless the root has a handler."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def only_driver(place: str, sweep: str) -> AbstractContextManager[None]:
    """Hold a sweep for this process among all that share its database; a journal's home has a lock of its own."""
    if "://" not in place:
        return nullcontext()
    from espalier.sweeps.search import database

    return database.only_driver(place, sweep)


def driven(place: str, sweeps: Collection[str]) -> set[str]:
    """Return those of the sweeps that a process drives somewhere, as far as a shared database tells."""
    if "://" not in place:
        return set()
    from espalier.sweeps.search import database

    return database.driven(place, sweeps)


def _whole(url: Any) -> str:
    return url.render_as_string(hide_password=False)


class _Lock(JournalFileOpenLock):
    """A lock that ends with its process: Optuna's own outlives a killed one by half a minute."""

    def __init__(self, place: str):
        super().__init__(place)
        self.place, self.file = place, -1

    def acquire(self) -> bool:
        file = os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        self.file = file
        return True

    def release(self) -> None:
        file, self.file = self.file, -1
        os.close(file)


def create_study(
    storage: optuna.storages.BaseStorage, sweep: str, spec: SweepSpec, facts: Mapping[str, Any]
) -> optuna.Study:
    """Write a new sweep into the storage: a study of its name that carries its spec.

    The spec comes last: a study without one is what a kill in between has left, and is made anew.
    Raises BadInput for a sweep that exists.
    """
    direction = "minimize" if spec.objective.mode == "min" else "maximize"
    with suppress(KeyError):
        left = load(storage, sweep)
        if "spec" in left.user_attrs or left.get_trials(deepcopy=False):
            raise BadInput(f"sweep {sweep} exists already; continue it: sweep resume {sweep}")
        delete_study(storage, sweep)
    study = optuna.create_study(storage=storage, study_name=sweep, direction=direction)
    for name, value in facts.items():
        study.set_user_attr(name, value)
    study.set_user_attr("spec", spec.model_dump(mode="json"))
    return study


def delete_study(storage: optuna.storages.BaseStorage, sweep: str) -> None:
    """Remove a sweep from the storage."""
    optuna.delete_study(study_name=sweep, storage=storage)


def sweep_ids(storage: optuna.storages.BaseStorage) -> list[str]:
    """Return the ids of all sweeps, the oldest first."""
    return [sweep for sweep, _ in _named(storage)]


def _named(storage: optuna.storages.BaseStorage) -> list[tuple[str, str]]:
    """Return the id of each sweep, the oldest first, and the name in its spec, which this version need not take."""
    studies = storage.get_all_studies()  # Optuna's summaries would read every trial of every study
    begun = sorted((s for s in studies if "spec" in s.user_attrs), key=lambda s: str(s.user_attrs.get("created", "")))
    return [(s.study_name, _name_in(s.user_attrs["spec"])) for s in begun]


def _name_in(spec: Any) -> str:
    return str(spec.get("name", "")) if isinstance(spec, Mapping) else ""


def exists(storage: optuna.storages.BaseStorage, sweep: str) -> bool:
    """Whether a sweep of that id was begun."""
    try:
        return "spec" in load(storage, sweep).user_attrs
    except KeyError:
        return False


def load(storage: optuna.storages.BaseStorage, sweep: str) -> optuna.Study:
    """Load a sweep by its id alone, however many there are. Raises KeyError."""
    return optuna.load_study(study_name=sweep, storage=storage)


def find_sweep(storage: optuna.storages.BaseStorage, wanted: str) -> optuna.Study:
    """Load a sweep by its id, or the latest one whose spec has that name. Raises BadInput for an unknown one."""
    sweeps = _named(storage)
    matching = [sweep for sweep, _ in sweeps if sweep == wanted] or [sweep for sweep, name in sweeps if name == wanted]
    if not matching:
        known = {*(sweep for sweep, _ in sweeps), *(name for _, name in sweeps if name)}
        raise BadInput(f"unknown sweep '{wanted}'; {nearest(wanted, known)}")
    return optuna.load_study(study_name=matching[-1], storage=storage)


def spec_of(study: optuna.Study) -> SweepSpec:
    """Return the spec that a study carries. Raises BadInput for one of another version that this one refuses."""
    return make_spec(study.user_attrs["spec"], f"{study.study_name}: another version wrote its spec", stored=True)


# --- sampling --------------------------------------------------------------------------------------------------------


def distribution(domain: Range | Choice) -> BaseDistribution:
    """Return Optuna's form of a domain. Choices that are lists travel as JSON."""
    if isinstance(domain, Choice):
        return CategoricalDistribution([_storable(choice) for choice in domain.choices])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an end that the steps do not meet moves down to the last that they do
        if domain.integer:
            return IntDistribution(int(domain.low), int(domain.high), domain.log, int(domain.step or 1))
        return FloatDistribution(domain.low, domain.high, domain.log, domain.step)


def _storable(choice: Any) -> Any:
    """Return a choice as Optuna takes it: lists, and words that would look like one, as JSON."""
    return json.dumps(choice) if isinstance(choice, list) or str(choice).startswith(("[", '"')) else choice


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith(("[", '"')) else value


def _grid(distributions: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    points: dict[str, list[Any]] = {}
    for name, domain in distributions.items():
        if isinstance(domain, CategoricalDistribution):
            points[name] = list(domain.choices)
        elif isinstance(domain, IntDistribution | FloatDistribution):
            step = domain.step or 1
            points[name] = [
                min(domain.low + i * step, domain.high)
                for i in range(int((domain.high - domain.low) / step + 1e-9) + 1)
            ]
    return points


def sampler(spec: SweepSpec, asked: int = 0) -> BaseSampler:
    """Return the sampler of a spec. `asked` trials exist already: a resumed search must not repeat its first draws."""
    return _sampler(spec, spec.search.seed + asked)


def _sampler(spec: SweepSpec, seed: int) -> BaseSampler:
    distributions = {name: distribution(domain) for name, domain in spec.space.domains()}
    kinds: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(seed=seed),
        "random": lambda: RandomSampler(seed=seed),
        "qmc": lambda: QMCSampler(seed=spec.search.seed, scramble=True, warn_independent_sampling=False),
        "gp": lambda: GPSampler(seed=seed, deterministic_objective=False),
        "grid": lambda: GridSampler(_grid(distributions), seed=spec.search.seed),
    }
    return kinds[spec.search.sampler]()


class _Draws:
    """The sampler of each trial: one for all, or, where a search must repeat, one for each number.

    Then what a trial is asked with depends on its number and on the trials that have ended, not on the process.
    """

    def __init__(self, spec: SweepSpec, asked: int):
        self.spec = spec
        self.shared = None if spec.search.repeatable else sampler(spec, asked)
        distributions = {name: distribution(domain) for name, domain in spec.space.domains()}
        self.grid = _grid(distributions) if spec.search.repeatable and spec.search.sampler == "grid" else {}

    def of(self, number: int) -> BaseSampler:
        """Return the sampler of a trial."""
        if self.shared:
            return self.shared
        if self.spec.search.sampler == "grid":
            return PartialFixedSampler(self._grid_point(number), RandomSampler()) if self.grid else RandomSampler()
        return _sampler(self.spec, int(SeedSequence([self.spec.search.seed, number]).generate_state(1)[0]))

    def _grid_point(self, number: int) -> dict[str, Any]:
        """Return the point of a grid in an order that is drawn once: a GridSampler draws anew in each process."""
        index, point = int(self._order[number % len(self._order)]), {}
        for name, values in self.grid.items():
            index, place = divmod(index, len(values))
            point[name] = values[place]
        return point

    @cached_property
    def _order(self) -> Any:
        return default_rng(self.spec.search.seed).permutation(math.prod(map(len, self.grid.values())))


_STATES = {TrialState.RUNNING: "running", TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped"}


def trial_results(study: optuna.Study) -> list[TrialResult]:
    """Return every trial of a study as a row of its table, judged beside the others."""
    spec = spec_of(study)
    space = spec.space
    names = [name for name, _ in space.domains()]
    rows, later = [], study.user_attrs
    for t in study.get_trials(deepcopy=False):
        sampled = {name: _plain(value) for name, value in t.params.items()}
        rows.append(
            TrialResult(
                number=t.number,
                state=_STATES.get(t.state) or t.user_attrs.get("status", "failed"),
                value=t.value if t.state == TrialState.COMPLETE else None,
                params=space.resolve(sampled) if all(name in sampled for name in names) else sampled,
                spread=t.user_attrs.get("spread"),
                verdict=t.user_attrs.get("verdict", ""),
                evidence=t.user_attrs.get("evidence", ""),
                duration_s=t.duration.total_seconds() if t.duration else None,
                reports=dict(t.intermediate_values),
                ended=t.datetime_complete.timestamp() if t.datetime_complete else None,
                mlflow_run=later.get(f"{LINK}{t.number}") or t.user_attrs.get("mlflow_run", ""),
                to_beat=t.user_attrs.get("to_beat"),
                missing={name: (n, of) for name, (n, of) in t.user_attrs.get("missing", {}).items()},
            )
        )
    return judged_together(rows, plan.thresholds(spec), spec.objective.mode)


LEADER = "leader"  # of a trial that diverged: the first that had the same history
RUNG = "rung."  # a trial attribute for each rung that it was scored at: [score, null where it diverged; leader]
STOPPED = "stopped"  # a trial attribute: {step, evidence} where it was stopped, noted before it is told

MADE = "made."  # a study attribute for each cohort that has trained: its program, why, lanes, device
LINK = "mlflow_run."  # a study attribute for each trial whose run was made after its end
PARENT = "mlflow_parent"  # a study attribute: of the sweep itself the experiment's id, the run's, the former's name


def note_link(study: optuna.Study, number: int, run: str) -> None:
    """Note the run of a trial that is over, in the study: the trial itself takes no attribute any more.

    So it is with trials that end while MLflow is away.
    """
    if study.get_trials(deepcopy=False)[number].user_attrs.get("mlflow_run") != run:
        study.set_user_attr(f"{LINK}{number}", run)


def note_change(study: optuna.Study, now: Mapping[str, Any], continued: Callable[[str], Any]) -> None:
    """Note that a sweep goes on with other code, data or versions than it had.

    continued: whether a cohort has a checkpoint from which it goes on; else its trials begin again.
    """
    trials = study.get_trials(deepcopy=False)
    running: dict[str, list[int]] = {}
    for t in trials:
        if t.state == TrialState.RUNNING:
            running.setdefault(t.user_attrs.get("cohort", ""), []).append(t.number)
    partly = [n for cohort, numbers in running.items() if cohort and continued(cohort) for n in numbers]
    anew = [n for numbers in running.values() for n in numbers if n not in partly]
    facts = study.user_attrs
    changes = [*facts.get(identity.CHANGES, []), identity.period(now, len(trials), partly, anew)]
    study.set_user_attr(identity.CHANGES, changes)


def note_parent(study: optuna.Study, experiment: str, run: str, name: str) -> None:
    """Note where MLflow has the sweep itself: experiment id, run id, name of the experiment."""
    if study.user_attrs.get(PARENT) != [experiment, run, name]:
        study.set_user_attr(PARENT, [experiment, run, name])


def note_made(study: optuna.Study, cohort: str, made: Mapping[str, Any]) -> None:
    """Note by which program a cohort trains: it is the trials' own from then on, since others give other last bits."""
    study.set_user_attr(f"{MADE}{cohort}", dict(made))


def made_by(study: optuna.Study) -> dict[str, dict[str, Any]]:
    """Return by which program each cohort trains that has begun."""
    return {n.removeprefix(MADE): made for n, made in study.user_attrs.items() if n.startswith(MADE)}


def parent_of(study: optuna.Study) -> tuple[str, str] | None:
    """Return the experiment id and the run id of the sweep itself, once MLflow has it."""
    found = study.user_attrs.get(PARENT)
    return (found[0], found[1]) if found else None


def experiment_of(study: optuna.Study) -> str:
    """Return the name of the experiment that the sweep is recorded in, which is its spec's unless that was deleted."""
    noted = study.user_attrs.get(PARENT) or []
    return noted[2] if len(noted) > 2 else spec_of(study).name


def _scored(attributes: Mapping[str, Any]) -> dict[int, tuple[float | None, int]]:
    """Return a trial's score and leader at each rung."""
    return {int(name.removeprefix(RUNG)): tuple(v) for name, v in attributes.items() if name.startswith(RUNG)}


def _suggestion(
    cohort: str,
    trials: list[dict[str, Any]],
    place: str | None,
    without: Sequence[int] = (),
    suspects: Mapping[str, int] | None = None,
    attempt: int = 0,
) -> Suggestion:
    return {
        "id": cohort,
        "trials": trials,
        "resume_from": place,
        "without": list(without),
        "suspects": dict(suspects or {}),
        "attempt": attempt,
    }


class Search:
    """Cohorts to train, out of Optuna's trials, and what became of them.

    A suggestion is one cohort: {"id", "trials": [{"number", "point"}], "resume_from", "without", "suspects",
    "attempt"}. without: trials that are in its checkpoint and do not train any more; suspects: see Cohort.sift.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        study: optuna.Study,
        spec: SweepSpec,
        cohorts: int,
        cohort_trials: int,
        listen: Callable[[News], None],
        checkpoint_of: Callable[[str], str | None] = lambda cohort: None,
        wait_for: Callable[[Callable[[], bool]], Any] = lambda linked: None,
    ):
        """Take up a study, new or interrupted.

        cohorts: how many train at once. cohort_trials: how many trials one gets.
        listen: hears what happens to trials: reports, outcomes, and starts and forks as dictionaries.
        checkpoint_of: the folder of a cohort's last checkpoint, if it has one.
        wait_for: waits a while until trials that have ended have their links, since Optuna is told of them only then.
        """
        self.storage, self.study, self.spec = storage, study, spec
        self.cohorts, self.cohort_trials = cohorts, cohort_trials
        self.listen, self.checkpoint_of, self.wait_for = listen, checkpoint_of, wait_for
        self.wanted = spec.trials_wanted
        self.distributions = {name: distribution(domain) for name, domain in spec.space.domains()}
        self.branches, self.round = spec.branches, spec.round_trials
        self.live: dict[str, Suggestion] = {}
        self.handles: dict[int, optuna.trial.Trial] = {}
        self.stories: dict[int, Story] = {}
        self.links: dict[int, str] = {}  # trial -> MLflow run, as the recorder makes them known
        self.ended: dict[int, Outcome] = {}  # not told yet
        self.begun: set[int] = set()  # trials of which it was heard that they train
        trials = study.get_trials(deepcopy=False)
        self.asked = len(trials)
        self.reported = {(t.number, step) for t in trials for step in t.intermediate_values}
        self.scored = {(t.number, rung) for t in trials for rung in _scored(t.user_attrs)}
        self.params = {t.number: dict(t.params) for t in trials}
        self.draws = _Draws(spec, self.asked)
        self.waiting = self._unfinished([t for t in trials if t.state == TrialState.RUNNING], checkpoint_of)
        if self.round and self.asked % self.round:  # an earlier process ended while it asked
            self.waiting += self._grouped(self._ask(self._next_count()))

    @property
    def exhausted(self) -> bool:
        """Whether every trial has been given out. A cohort that trains may have to be given out again."""
        return not self.waiting and self.asked >= self.wanted

    def next_cohort(self) -> Suggestion | None:
        """Return a cohort to train, or None while enough of them train or when all are given out."""
        if len(self.live) >= self.cohorts:
            return None
        if not self.waiting and self.asked < self.wanted and not self._round_trains():
            self.wait_for(lambda: self.ended.keys() <= self.links.keys())
            self.settle(everything=True)
            self.waiting = self._grouped(self._ask(self._next_count()))
        if not self.waiting:
            return None
        suggestion = self.waiting.pop(0)
        self.live[suggestion["id"]] = suggestion
        return suggestion

    def hear(self, events: Sequence[Event]) -> None:
        """Take the events of a cohort's trials, in order. Events that were heard before change nothing."""
        for event in events:
            self._hear(event)
        self.settle()

    def cohort_over(self, cohort: str, failed: bool, why: str = "its cohort's worker failed too often") -> None:
        """A cohort has left: finished, interrupted, or failed for good, which fails the trials it had not finished."""
        suggestion = self.live.pop(cohort, None)
        self.fail([trial["number"] for trial in suggestion["trials"]] if suggestion and failed else [], why)

    def fail(self, trials: Iterable[int], why: str, step: int = 0) -> None:
        """End those of some trials that have not ended, as failed; first begin those that nobody has heard of."""
        for number in trials:
            if number in self.stories:
                if number not in self.begun:
                    self._begin(number)
                self._end(Outcome(number, "failed", step, {}, "", why, []))

    def cohort_again(self, cohort: str, suspects: Mapping[str, int]) -> None:
        """Give a cohort whose worker died out again, from its last checkpoint, without the trials that have failed."""
        before = self.live.pop(cohort)
        place = self.checkpoint_of(cohort)
        own = [trial for trial in before["trials"] if place or trial["number"] in self.stories]
        without = [t["number"] for t in own if t["number"] not in self.stories and self._failed(t["number"])]
        again = _suggestion(cohort, own, place, without, suspects, before["attempt"] + 1)
        if any(trial["number"] in self.stories for trial in own):
            self.waiting.insert(0, again)

    def _failed(self, number: int) -> bool:
        """Whether a trial has ended as failed."""
        untold = self.ended.get(number)
        told = self.study.get_trials(deepcopy=False)[number].user_attrs.get("status")
        return (untold.status if untold else told) == "failed"

    def rule(self) -> Halving | None:
        """Return the rule of stopping with all scores and decisions so far; a trial that diverged is the worst."""
        if self.spec.stopping is None:
            return None
        rungs, sign = plan.rungs(self.spec), self.spec.objective.sign
        rule = Halving(self.spec.stopping, sign)
        for t in self.study.get_trials(deepcopy=False):
            scored = _scored(t.user_attrs)
            reached = max(t.intermediate_values, default=0)
            rule.decided |= {(rung, t.number): "" for rung in rungs if rung < reached}
            if (stopped := t.user_attrs.get(STOPPED)) and scored:  # at the last rung that all its members reached
                rule.decided[max(scored), t.number] = stopped["evidence"]
            if t.user_attrs.get("status") == "diverged":
                scored = {rung: (None, t.user_attrs.get(LEADER, t.number)) for rung in rungs if rung > reached} | scored
            entries = ((rung, v, leader) for rung, (v, leader) in scored.items())
            rule.enter((rung, t.number, math.inf if v is None else sign * v, leader) for rung, v, leader in entries)
        return rule

    def point_of(self, number: int) -> dict[str, Any]:
        """Return the whole configuration of a trial."""
        return self._point(self.handles[number].params)

    def trunk_of(self, number: int) -> int | None:
        """Return the trial whose trunk this one was proposed to share, None for one that was proposed by itself."""
        place = number % self.branches
        return number - place if place else None

    def link(self, number: int, run: str) -> None:
        """Note which MLflow run is the trial's. May be called from another thread."""
        self.links[number] = run
        if number not in self.stories and number not in self.ended:
            note_link(self.study, number, run)

    def settle(self, everything: bool = False) -> None:
        """Tell Optuna of trials that have ended, once their runs are known, since it takes no attribute afterwards.

        everything: also of those whose run MLflow has not made yet. A trial that a crash leaves untold is heard of
        again from its cohort's checkpoint.
        """
        for number in [n for n in self.ended if everything or n in self.links]:
            self._tell(self.ended.pop(number))

    # --- asking and telling -----------------------------------------------------------------------------------------

    def _round_trains(self) -> bool:
        """Whether a search that must repeat has to wait for trials of the last round."""
        return bool(self.round and self.live and self.stories)

    def _next_count(self) -> int:
        """Return how many trials are asked for next: a cohort's, or the rest of a round."""
        count = self.round - self.asked % self.round if self.round else self.cohort_trials
        return min(count, self.wanted - self.asked)

    def _ask(self, count: int) -> list[dict[str, Any]]:
        """Ask for trials; the branches of a trunk share all that is sampled but the decay points."""
        trials = []
        for _ in range(count):
            self._take_sampler(self.asked)
            trial = self.study.ask(self.distributions)
            self.params[trial.number] = dict(trial.params)
            self.asked += 1
            self.handles[trial.number] = trial
            trials.append({"number": trial.number, "point": self._point(trial.params)})
        return trials

    def _take_sampler(self, number: int) -> None:
        """Set the sampler that the trial of this number is asked with: a branch keeps what its trunk sampled."""
        first = self.trunk_of(number)
        trunk = {} if first is None else self.params.get(first, {})
        fixed = {name: value for name, value in trunk.items() if not name.startswith("decay_point")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            base = self.draws.of(number)
            self.study.sampler = PartialFixedSampler(fixed, base) if fixed else base

    def _point(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return self.spec.space.resolve({name: _plain(value) for name, value in params.items()})

    def _grouped(self, trials: Sequence[dict[str, Any]]) -> list[Suggestion]:
        """Part trials into cohorts by their structure, and note in each trial which cohort it is in.

        What is asked for at once is as much as one cohort takes, or a round, which all cohorts share.
        """
        groups: dict[str, list[dict[str, Any]]] = {}
        for trial in trials:
            groups.setdefault(structural_key(self.spec, trial["point"]), []).append(trial)
        width = self.cohort_trials
        if self.round:
            width = min(width, -(-len(trials) // (self.cohorts * self.branches)) * self.branches)
        suggestions = [
            _suggestion(f"cohort-{part[0]['number']}", part, None)
            for group in groups.values()
            for part in (group[k : k + width] for k in range(0, len(group), width))
        ]
        for suggestion in suggestions:
            for trial in suggestion["trials"]:
                self.handles[trial["number"]].set_user_attr("cohort", suggestion["id"])
                self.stories[trial["number"]] = Story(trial["number"], self.spec.replicates)
        return suggestions

    def _unfinished(
        self, running: Sequence[FrozenTrial], checkpoint_of: Callable[[str], str | None]
    ) -> list[Suggestion]:
        """Rebuild the cohorts of an interrupted sweep; their finished trials come along, being in the checkpoint."""
        everything = {t.number: t for t in self.study.get_trials(deepcopy=False)}
        cohorts, loose = [], []
        for trial in running:
            params = self._adopt(trial)
            if "cohort" not in trial.user_attrs:
                loose.append({"number": trial.number, "point": self._point(params)})
            elif trial.user_attrs["cohort"] not in cohorts:
                cohorts.append(trial.user_attrs["cohort"])
        suggestions = []
        for cohort in cohorts:
            of_cohort = [t for t in everything.values() if t.user_attrs.get("cohort") == cohort]
            place = checkpoint_of(cohort)
            kept = of_cohort if place else [t for t in of_cohort if t.state == TrialState.RUNNING]
            members = [{"number": t.number, "point": self._point(t.params)} for t in kept]
            for trial in (t for t in of_cohort if t.state == TrialState.RUNNING):
                self.stories[trial.number] = Story(trial.number, self.spec.replicates)
            failed = [t.number for t in of_cohort if t.user_attrs.get("status") == "failed"]
            suggestions.append(_suggestion(cohort, members, place, failed))
        return suggestions + self._grouped(loose)

    def _adopt(self, frozen: FrozenTrial) -> dict[str, Any]:
        """Take over a trial of an earlier process; what it died before sampling is sampled now."""
        storage = self.storage
        self._take_sampler(frozen.number)
        if frozen.params.keys() >= self.distributions.keys():  # nothing is left to be drawn
            self.study.sampler = RandomSampler()
        study_id = storage.get_study_id_from_name(self.study.study_name)
        trial = optuna.trial.Trial(self.study, storage.get_trial_id_from_study_id_trial_number(study_id, frozen.number))
        self.handles[frozen.number] = trial
        for name, domain in self.distributions.items():
            if isinstance(domain, CategoricalDistribution):
                trial.suggest_categorical(name, domain.choices)
            elif isinstance(domain, IntDistribution):
                trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
            elif isinstance(domain, FloatDistribution):
                trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
        self.params[frozen.number] = dict(trial.params)
        return trial.params

    def _hear(self, event: Event) -> None:
        number = event.trial_id.number
        story = self.stories.get(number)
        if story is None:
            return  # ended before a crash, and replayed from the checkpoint
        if isinstance(event, Started):
            self._begin(number)
        elif isinstance(event, Forked):
            self.listen(Fork(number, event.step, event.trunk_id.number, self._trunk_since(event)))
        told = story.hear(event)
        if isinstance(told, Report):
            value = told.values.get(self.spec.objective.metric)
            if value is not None and (number, told.step) not in self.reported:
                self.reported.add((number, told.step))
                self.handles[number].report(value, told.step)
            self.listen(told)
        elif isinstance(told, Score):
            score = told.values.get(self.spec.objective.metric)
            if (number, told.step) not in self.scored:
                self.scored.add((number, told.step))
                self.handles[number].set_user_attr(f"{RUNG}{told.step}", [score, told.leader])
            self.listen(told)
        elif isinstance(told, Outcome):
            self._end(told)

    def _begin(self, number: int) -> None:
        """Have it heard that a trial trains."""
        self.begun.add(number)
        self.listen(Start(number, self.point_of(number), self.trunk_of(number)))

    def _trunk_since(self, fork: Forked) -> int | None:
        """Return the trial whose trunk this one shares: as proposed, or where nothing is, as it turned out.

        After a warm-up's first step, whose rate is 0, any two of a seed part: that is no trunk.
        """
        if self.branches > 1 or fork.step < 2:
            return self.trunk_of(fork.trial_id.number)
        return fork.trunk_id.number

    def _end(self, outcome: Outcome) -> None:
        if outcome.status == "stopped":
            self._note_stop(outcome)
        elif outcome.status == "complete" and self.spec.objective.metric not in outcome.values:
            why = f"{self.spec.objective.metric} was no number at step {outcome.step}"
            outcome = replace(outcome, status="failed", evidence=why)
        self.ended[outcome.trial] = outcome
        del self.stories[outcome.trial]
        self.listen(outcome)

    def _note_stop(self, outcome: Outcome) -> None:
        """Note why a trial stops. What it was worth at its last rung is its value where it has reported none."""
        trial = self.handles[outcome.trial]
        worth = {rung: v for rung, (v, _) in _scored(trial.user_attrs).items() if v is not None}
        if worth and not any(number == outcome.trial for number, _ in self.reported):
            trial.report(worth[max(worth)], max(worth))
        trial.set_user_attr(STOPPED, {"step": outcome.step, "evidence": outcome.evidence})

    def _tell(self, outcome: Outcome) -> None:
        trial = self.handles[outcome.trial]
        attributes = {name: getattr(outcome, name) for name in ("status", "verdict", "evidence")}
        attributes["mlflow_run"] = self.links.get(outcome.trial)
        if outcome.status == "diverged" and self.spec.stopping and outcome.members:
            attributes[LEADER] = leader_of(outcome.members[0])
        attributes["spread"] = outcome.values.get(f"{self.spec.objective.metric}_std")
        attributes["missing"] = missing(outcome.members) or None
        attributes["to_beat"] = to_beat(outcome.members, self.spec.objective.metric, self.spec.objective.mode)
        for name, attribute in attributes.items():
            if attribute is not None:
                trial.set_user_attr(name, attribute)
        value = outcome.values.get(self.spec.objective.metric)
        # a GridSampler that hears of its last point stops the study, which only Optuna's own loop allows
        is_grid = self.spec.search.sampler == "grid"
        self.study.sampler = RandomSampler() if is_grid else self.draws.of(trial.number)
        if outcome.status == "complete" and value is not None:
            self.study.tell(trial, value)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if outcome.status == "stopped" else TrialState.FAIL)
