"""Calls of watchers: what one raises or returns wrongly is reported with its name and its method."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import cast

from espalier.core import own
from espalier.core.errors import UserFault, located, shown
from espalier.core.measures.verdicts import Verdict
from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.training.events import Event
from espalier.core.training.watch import Look, Stops, Watcher


def measured(watcher: Watcher, look: Look) -> Mapping[str, float]:
    """Return what a watcher measures. Raises UserFault for what it raises, or for what are no numbers by name."""
    with _named(watcher, "measure"):
        answer = cast("object", watcher.measure(look))
    if not isinstance(answer, Mapping):
        raise UserFault(f"{_name(watcher, 'measure')} returned {shown(answer)}; it must return numbers by name")
    values: dict[str, float] = {}
    for name, value in cast("Mapping[object, object]", answer).items():
        if not isinstance(name, str) or not isinstance(value, Real):
            raise UserFault(f"{_name(watcher, 'measure')} returned {shown(value)} as {name}; it must return a number")
        values[name] = value if isinstance(value, int | float) else float(value)
    return values


def judged(watcher: Watcher, look: Look) -> Verdict | None:
    """Return a watcher's verdict. Raises UserFault for what it raises, or for what is no verdict."""
    with _named(watcher, "judge"):
        verdict = cast("object", watcher.judge(look))
    if verdict is not None and not isinstance(verdict, Verdict):
        raise UserFault(f"{_name(watcher, 'judge')} returned {shown(verdict)}; it must return a Verdict or None")
    return verdict


def handle(watcher: Watcher, events: Sequence[Event], cohort: Stops) -> None:
    """Have a watcher handle events. Raises UserFault for what it raises."""
    if type(watcher).__module__.partition(".")[0] == own.NAME:
        watcher.handle(events, cohort)
        return
    with _named(watcher, "handle", passing=(OSError,)):  # a worker that cannot write is restarted
        watcher.handle(events, cohort)


@contextmanager
def _named(watcher: Watcher, method: str, passing: tuple[type[Exception], ...] = ()) -> Generator[None]:
    try:
        yield
    except (*TRANSIENT_ERRORS, *passing):
        raise
    except (Exception, SystemExit) as error:
        raise UserFault(f"{_name(watcher, method)} raised {located(error)}") from error


def _name(watcher: Watcher, method: str) -> str:
    return f"watchers: {type(watcher).__name__}.{method}()"
