"""What Python has of the whole: run a sweep, look at it as tables, pull its best trial, train that again.

Every function returns a value. A sweep that was run here, one that was run last week and one of a service are of one
type, Result.
"""

import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import BadInput, brief
from espalier.sweeps.home import Home
from espalier.sweeps.results.formatting import decimals
from espalier.sweeps.results.trial_result import TrialResult, best_trial, counts, ranked
from espalier.sweeps.spec.spec import SweepSpec, make_spec, merged

if TYPE_CHECKING:
    import pandas

    from espalier.core.checks.lr_range import RangeTest
    from espalier.sweeps.client.service import Remote
    from espalier.sweeps.repeat.rerun import Rerun

Spec = str | PathLike[str] | Mapping[str, Any] | SweepSpec | type | object
"""What describes a sweep: a YAML file, the name of a ready sweep, a dictionary, a SweepSpec, a Task class or object."""

warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, of libraries that are imported later
TASKS = "tasks"  # in a home: the tasks that were defined in a notebook or a script, each in a folder of its own
SHOWN = 10  # trials in a notebook's table


# --- running ---------------------------------------------------------------------------------------------------------


def sweep(
    spec: Spec,
    *,
    task: type | object | str | None = None,
    home: str | PathLike[str] | None = None,
    address: str | None = None,
    id: str | None = None,
    changed: bool = False,
    progress: bool = True,
    **fields: Any,
) -> "Result":
    """Run a sweep here, or on a Ray cluster, and return what came of it. Ctrl-C stops it: the result can resume().

    spec: see Spec. task: a Task class or object in place of the spec's; also one of a notebook, whose source is kept.
    fields: other fields of the spec; dictionaries change what they name alone: `budget={"steps": 500}`.
    home: the folder for all that is kept (default: $SWEEP_HOME, else ./sweep-data). address: of a Ray cluster.
    id: of the sweep; one that exists goes on. changed: go on although code or data changed. progress: show it.

    Raises BadInput, before anything is trained, for what cannot run.
    """
    from espalier.sweeps.running import driver

    place = Home.at(_text(home))
    made = _spec(spec, task, fields, place)
    with _ray(address) as session:
        summary = driver.start(made, place, _watch(progress), session, id, changed)
    return _result(place, summary)


def open(sweep: str, *, home: str | PathLike[str] | None = None, server: str | None = None) -> "Result":
    """Return an earlier sweep by its id, or by its name the latest: of a home, or of the service at `server`.

    Raises BadInput for an unknown one.
    """
    if server:
        remote = _remote(server)
        return Result.at_service(remote, remote.find(sweep))
    return Result.at_home(Home.at(_text(home), reading=True), sweep)


def sweeps(*, home: str | PathLike[str] | None = None, server: str | None = None) -> list["Result"]:
    """Return all sweeps of a home, or of the service at `server`, the oldest first."""
    if server:
        remote = _remote(server)
        return [Result.at_service(remote, view["id"]) for view in reversed(list(remote.sweeps()))]
    from espalier.sweeps.search.store import SweepStore

    place = Home.at(_text(home), reading=True)
    found = []
    for sweep in SweepStore.open_for_reading(place.storage).ids():
        try:
            found.append(Result.at_home(place, sweep))
        except BadInput as error:  # another version's, or damaged: the others are there all the same
            print(f"note: {error}", file=sys.stderr)
    return found


def rerun(best: "str | PathLike[str] | BestTrial") -> "Rerun":
    """Train a best trial again, by the same program, and compare every report: `.reproduced`, else `.difference`.

    best: a file that `save` or `sweep best` wrote, or a result's `best`. Raises BadInput if its task is gone.
    """
    from espalier.sweeps.repeat.rerun import parse_best, read_best
    from espalier.sweeps.repeat.rerun import rerun as train_again

    loaded, spec = parse_best(best.text, "best") if isinstance(best, BestTrial) else read_best(str(best))
    return train_again(loaded, spec)


def check(
    spec: Spec,
    *,
    task: type | object | str | None = None,
    home: str | PathLike[str] | None = None,
    lsuv: bool = False,
    **fields: Any,
) -> "Check":
    """Look at a task before it is trained: first loss, layers, gradients, one batch learnt, and a forecast.

    The page is recorded in MLflow. lsuv: also what layer-sequential unit-variance initialisation would give.
    """
    from espalier.sweeps.checks import checkup

    place = Home.at(_text(home))
    made = _spec(spec, task, fields, place)
    found, forecast = checkup.examine(made, lsuv)
    checkup.record_check(made, found, forecast, place)
    return Check(found.passed, checkup.document(found, forecast), tuple(checkup.lines(found)))


def lr_range(
    spec: Spec,
    *,
    task: type | object | str | None = None,
    home: str | PathLike[str] | None = None,
    low: float = -6.0,
    high: float = 1.5,
    steps: int = 400,
    seeds: int = 16,
    **fields: Any,
) -> "RangeTest":
    """Run the learning-rate range test (Smith 2017): `.interval` has the exponents that are worth searching.

    low, high: the first and the last exponent, over so many steps, in one lane for each seed. Recorded in MLflow.
    """
    from espalier.sweeps.checks import lr_range as ranges

    place = Home.at(_text(home))
    made = _spec(spec, task, fields, place)
    test = ranges.run_test(made, low, high, steps, seeds)
    ranges.record_test(made, test, place)
    return test


# --- what they return ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BestTrial:
    """The best complete trial of a sweep, and all that trains it again."""

    number: int
    value: float
    params: Mapping[str, Any]
    verdict: str
    evidence: str
    text: str = field(repr=False)
    """A best file: what `sweep rerun` takes."""

    def save(self, path: str | PathLike[str]) -> Path:
        """Write a best file, which `rerun` and `sweep rerun` take. Return its path."""
        place = Path(path)
        place.write_text(self.text, encoding="utf-8")
        return place


@dataclass(frozen=True)
class Check:
    """What was found of a task; `print` it for the page. document: the same as plain values."""

    passed: bool
    document: Mapping[str, Any] = field(repr=False)
    lines: Sequence[str] = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_markdown_(self) -> str:
        return "```\n" + str(self) + "\n```"


@dataclass(frozen=True, repr=False)
class Result:
    """A sweep and what came of it, as it was when it was opened."""

    id: str
    spec: SweepSpec
    state: str
    """running, interrupted or finished; of a service also queued, stopped or failed"""
    trials: Sequence[TrialResult]
    page: str
    """MLflow's page on it; at home while `sweep ui` runs"""
    notes: Sequence[str] = ()
    recorded: bool | None = None
    """Whether MLflow has everything; None: this process did not run it"""
    _uri: str = ""
    _home: Home | None = None
    _remote: "Remote | None" = None

    @classmethod
    def at_home(cls, home: Home, sweep: str, **more: Any) -> "Result":
        """Read a sweep of a home."""
        from espalier.sweeps.browse.details import details

        found = details(home, sweep)
        trials = tuple(found.trials)
        return cls(
            found.sweep, found.spec, found.state, trials, found.page, _uri=found.tracking_uri, _home=home, **more
        )

    @classmethod
    def at_service(cls, remote: "Remote", sweep: str) -> "Result":
        """Read a sweep of a service."""
        view = remote.sweep(sweep)
        trials = tuple(_trial_of(row) for row in remote.trials(sweep))
        spec = make_spec(view["spec"], f"{sweep}: spec", stored=True)
        return cls(sweep, spec, view["state"], trials, view["mlflow"].get("page") or "", _remote=remote)

    @cached_property
    def best(self) -> BestTrial | None:
        """The best complete trial; None if there is none."""
        found = best_trial(self.trials, self.spec.objective.mode)
        if found is None or found.value is None:
            return None
        return BestTrial(
            found.number, found.value, dict(found.params), found.verdict, found.evidence, self._best_text(found.number)
        )

    def _best_text(self, trial: int) -> str:
        from espalier.sweeps.browse.details import best_of

        if self._remote:
            return self._remote.best(self.id, trial)
        assert self._home
        return best_of(self._home, self.id, trial)

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """A row a trial, by number: its state, the objective, its hyperparameters, its rate, its verdict and why."""
        import pandas

        metric = self.spec.objective.metric
        rows = [
            {
                "state": t.state,
                metric: t.value,
                **({f"{metric}_std": t.spread} if self.spec.replicates > 1 else {}),
                **{name: _cell(value) for name, value in t.params.items()},
                **({"lr": 10.0 ** t.params["lr_exponent"]} if "lr_exponent" in t.params else {}),
                "verdict": t.verdict,
                "evidence": t.evidence,
                "duration_s": t.duration_s,
            }
            for t in sorted(self.trials, key=lambda t: t.number)
        ]
        index = pandas.Index(sorted(t.number for t in self.trials), name="trial")
        return pandas.DataFrame(rows, index=index)

    @cached_property
    def verdicts(self) -> "pandas.Series":
        """The verdict on each trial that has one, by number."""
        import pandas

        found = {t.number: t.verdict for t in sorted(self.trials, key=lambda t: t.number) if t.verdict}
        return pandas.Series(found, name="verdict", dtype="object").rename_axis("trial")

    def curves(self, metric: str | None = None) -> "pandas.DataFrame":
        """Return what the trials reported of a metric (default: the objective): columns trial, step and value.

        `train_curve` is the training loss in fine steps. Replicates are averaged. Raises BadInput for an unknown one.
        """
        import pandas

        wanted = metric or self.spec.objective.metric
        points = self._points(wanted)
        return pandas.DataFrame(points, columns=["trial", "step", "value"])

    def _points(self, metric: str) -> list[tuple[int, int, float]]:
        if metric == self.spec.objective.metric:
            return [(t.number, step, value) for t in self.trials for step, value in sorted(t.reports.items())]
        if self._home is None:
            raise BadInput(f"{metric}: a service tells the objective's curve alone; MLflow has the others: {self.page}")
        from espalier.sweeps.browse.curves import points

        return points(self._home, self._uri, self.id, [t.number for t in self.trials if t.state != "running"], metric)

    def resume(self, *, changed: bool = False, address: str | None = None, progress: bool = True) -> "Result":
        """Go on with a sweep that was stopped; return it as it is then. changed: although code or data changed."""
        if self._remote:
            self._remote.resume(self.id, changed)
            return Result.at_service(self._remote, self.id)
        assert self._home
        from espalier.sweeps.running import driver

        home = Home.at(str(self._home.path))
        with _ray(address) as session:
            return _result(home, driver.resume(self.id, home, _watch(progress), session, changed))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        counted = ", ".join(f"{n} {state}" for state, n in counts(self.trials).items()) or "no trial yet"
        best, metric = best_trial(self.trials, self.spec.objective.mode), self.spec.objective.metric
        ending = f"; best {metric} {decimals(best.value)} (trial {best.number})" if best else ""
        return f"{self.id}: {self.state}; {counted}, of {self.spec.trials_wanted}{ending}"

    def _repr_html_(self) -> str:
        from html import escape

        order = [t.number for t in ranked(self.trials, self.spec.objective.mode)]
        shown = self.table.loc[order[:SHOWN]].drop(columns=["evidence", "duration_s"])
        return f"<p>{escape(str(self))}</p>{shown.to_html()}"


# --- how a spec is made ----------------------------------------------------------------------------------------------


def _spec(spec: Any, task: Any, fields: Mapping[str, Any], home: Home) -> SweepSpec:
    """Make a spec of whatever describes it, with other fields. Raises BadInput."""
    from espalier.sweeps.spec import paths

    folder, source = Path.cwd(), "spec"
    if isinstance(spec, SweepSpec):
        written: Any = spec.model_dump(mode="json", exclude_unset=True)
    elif isinstance(spec, Mapping):
        written = dict(spec)
    elif isinstance(spec, str | PathLike):
        from espalier.sweeps.spec.spec import read_fields

        written, source, folder = read_fields(str(spec))
    else:
        written, task = {}, spec if task is None else task
    if not isinstance(written, dict):
        return make_spec(written, source)
    written = merged(written, fields)
    task = written.get("task") if task is None else task
    if task is not None and not isinstance(task, str):
        written |= _described(task, written, home)
    elif task is not None:
        written["task"] = task
    return make_spec(paths.found_files(written, folder), source)


def _described(task: Any, fields: Mapping[str, Any], home: Home) -> dict[str, Any]:
    """Return the fields that name a Task class or object: its reference, its options, and a name where none stands."""
    from espalier.core.loading.capture import capture, is_importable
    from espalier.core.loading.references import reference_of
    from espalier.core.task import made_with

    kind = task if inspect.isclass(task) else type(task)
    if lacking := [method for method in ("model", "loss", "data") if not callable(getattr(kind, method, None))]:
        raise BadInput(
            f"spec: {brief(repr(task), 60)} has no {lacking[0]}(); a sweep is described by a YAML file, the name of a "
            "ready sweep, a dictionary, a SweepSpec, or a Task class or object with model(), loss() and data()"
        )
    options = {} if inspect.isclass(task) else made_with(task)
    if is_importable(kind):
        reference = reference_of(kind)
    else:
        reference = f"{capture(kind).write(home.path / TASKS)}:{kind.__name__}"
    described: dict[str, Any] = {"task": reference}
    if options:
        described["task_options"] = options | dict(fields.get("task_options") or {})
    if "name" not in fields:
        described["name"] = _name_of(kind)
    return described


def _name_of(kind: type) -> str:
    """Return a sweep's name after its task.

    >>> _name_of(type("MyTask", (), {}))
    'my-task'
    """
    from espalier.core.loading.capture import file_name

    return file_name(kind.__name__).replace("_", "-").strip("-") or "sweep"


# --- details ---------------------------------------------------------------------------------------------------------


def _text(path: str | PathLike[str] | None) -> str | None:
    return None if path is None else str(path)


@contextmanager
def _ray(address: str | None) -> Iterator[Any]:
    """Begin to start Ray, or to join the cluster at an address; what Ray prints goes to stderr."""
    from espalier.sweeps.garbage import gc_paused
    from espalier.sweeps.running.machine import RaySession, ToStderr

    with redirect_stdout(ToStderr()), RaySession(address) as session:
        with gc_paused():
            session.start()
        yield session


def _watch(progress: bool) -> Any:
    from espalier.sweeps.running.display import shown

    return shown if progress else lambda _: nullcontext()


def _result(home: Home, summary: Any) -> Result:
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)
    if summary.halted:
        print(f"halted: {summary.halted}", file=sys.stderr)
    return Result.at_home(home, summary.sweep, notes=tuple(summary.notes), recorded=summary.recorded)


def _remote(server: str) -> "Remote":
    from espalier.sweeps.client.service import Remote

    return Remote(server)


def _trial_of(row: Mapping[str, Any]) -> TrialResult:
    known = TrialResult.__dataclass_fields__
    return TrialResult(**{name: value for name, value in row.items() if name in known})


def _cell(value: Any) -> Any:
    """Return a hyperparameter as a table has it: a list as a tuple, which can be grouped by."""
    return tuple(value) if isinstance(value, list) else value
