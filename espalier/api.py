"""What Python has of the whole: run a sweep, look at it as tables, pull its best trial, train that again.

Every function returns a value. A sweep that was run here, one that was run last week and one of a service are of one
type, Result.
"""

import warnings
from os import PathLike
from typing import TYPE_CHECKING, Any

from espalier.core.arguments import Rule, checked, choice, number, path, text, truth, whole
from espalier.describe import Spec, describe
from espalier.result import ADDRESS, BestTrial, Result, finished
from espalier.sweeps.code.choices import CHOICES, RECORDED
from espalier.sweeps.home import Home
from espalier.sweeps.origins.choice import origin_of

if TYPE_CHECKING:
    from espalier.core.checks.lr_range import RangeTest
    from espalier.sweeps.browse.compare import Comparison
    from espalier.sweeps.checks.here import Check
    from espalier.sweeps.repeat.rerun import Rerun

HOME = path("a folder, or None for $SWEEP_HOME, else ./sweep-data", optional=True)
SERVER = text("the address of a service, as http://HOST:PORT, or None", optional=True)
NAME = text("the id or the name of a sweep")
ID = text("an id for the sweep, or None for a new one", optional=True)
SWEEP = "the id or the name of a sweep, or a result"
BEST = "the path of a best file, or a result's best, which is None before any trial is complete"

warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, of libraries that are imported later


def _sweep(sweep: object) -> object:
    return sweep if isinstance(sweep, Result) else NAME.read(sweep)


def _best(best: object) -> object:
    return best if isinstance(best, BestTrial) else path("").read(best)


@checked(home=HOME, address=ADDRESS, id=ID, changed=truth(), progress=truth())
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
    from espalier.sweeps.origins.home_origin import HomeOrigin
    from espalier.sweeps.running.here import run_here

    place = Home.at(home)
    described = describe(spec, task, fields, place)
    return finished(run_here(described, place, address, id, changed, progress), HomeOrigin(place))


@checked(sweep=NAME, home=HOME, server=SERVER)
def open(sweep: str, *, home: str | PathLike[str] | None = None, server: str | None = None) -> "Result":
    """Return an earlier sweep by its id, or by its name the latest: of a home, or of the service at `server`.

    Raises BadInput for an unknown one.
    """
    return Result.read(origin_of(server, home), sweep)


@checked(home=HOME, server=SERVER)
def sweeps(*, home: str | PathLike[str] | None = None, server: str | None = None) -> list["Result"]:
    """Return all sweeps of a home, or of the service at `server`, the oldest first."""
    origin = origin_of(server, home)
    return [Result.of(stored, origin) for stored in origin.read_all()]


@checked(first=Rule(_sweep, SWEEP), second=Rule(_sweep, SWEEP), home=HOME, server=SERVER)
def compare(
    first: "str | Result", second: "str | Result", *, home: str | PathLike[str] | None = None, server: str | None = None
) -> "Comparison":
    """Compare two sweeps: `.sentence` says whether the second did better, `.difference` by how much, with its interval.

    first, second: results, or ids or names of sweeps of a home, or of the service at `server`. `.fields` are those of
    the specs that differ. Raises BadInput for an unknown sweep.
    """
    from espalier.sweeps.origins.comparing import compared

    origin = origin_of(server, home)
    one, other = (each.kept if isinstance(each, Result) else origin.read(each) for each in (first, second))
    return compared(one, other)


@checked(
    best=Rule(_best, BEST),
    register=text("the name of a model in MLflow, or None", optional=True),
    home=HOME,
    code=choice(CHOICES),
)
def rerun(
    best: "str | PathLike[str] | BestTrial",
    *,
    register: str | None = None,
    home: str | PathLike[str] | None = None,
    code: str = RECORDED,
) -> "Rerun":
    """Train a best trial again, by the same program, and compare every report: `.reproduced`, else `.difference`.

    best: a file that `save` or `sweep best` wrote, or a result's `best`. register: a model in MLflow, of which the
    weights become the next `.version` if every number is the same. home: where the sweep of the trial is recorded.
    code: "recorded", as the trial was trained, or "here" for the files as they are now.
    Raises BadInput if its task is gone.
    """
    from espalier.sweeps.best_file import best_text
    from espalier.sweeps.repeat.here import rerun_here

    text, source = (best.text, "best") if isinstance(best, BestTrial) else (best_text(str(best)), str(best))
    return rerun_here(text, source, register, Home.at(home, reading=not register), code=code)


@checked(home=HOME, lsuv=truth())
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
    from espalier.sweeps.checks.here import check_here

    place = Home.at(home)
    return check_here(describe(spec, task, fields, place), place, lsuv)


@checked(home=HOME, low=number(-40, 40), high=number(-40, 40), steps=whole(1), seeds=whole(1))
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
    from espalier.sweeps.checks.here import lr_range_here

    place = Home.at(home)
    return lr_range_here(describe(spec, task, fields, place), place, low, high, steps, seeds).test
