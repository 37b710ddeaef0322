"""A limit on the CPU time spent on choosing a program: the choice must not cost more than it saves."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

DECIDE_S, DECIDE_SHARE = 2.0, 0.03  # of a core; of the work that lies ahead, whichever is more

_bound: ContextVar[tuple[float, float] | None] = ContextVar("bound", default=None)  # when it ends, how long it is


class TooLong(Exception):
    """The time limit is over."""


@contextmanager
def bounded(seconds: float) -> Generator[None]:
    """Let `check` raise TooLong once this thread has used so many seconds of CPU time. Waiting does not count."""
    token = _bound.set((time.thread_time() + seconds, seconds))
    try:
        yield
    finally:
        _bound.reset(token)


@contextmanager
def paused() -> Generator[None]:
    """Do not count the CPU time of this block: what a process loads once says nothing about one task.

    >>> with bounded(0.0), paused():
    ...     _ = sum(range(10**6))
    """
    bound, begin = _bound.get(), time.thread_time()
    try:
        yield
    finally:
        if bound is not None:
            _bound.set((bound[0] + time.thread_time() - begin, bound[1]))


def left() -> float | None:
    """Return how many seconds are left; None where there is no limit."""
    bound = _bound.get()
    return None if bound is None else bound[0] - time.thread_time()


def whole() -> float | None:
    """Return the whole limit, in seconds: a compiler, which is another process, gets it once more."""
    bound = _bound.get()
    return None if bound is None else bound[1]


def check() -> None:
    """Raise TooLong if no time is left. Called at each operation that is tried."""
    seconds = left()
    if seconds is not None and seconds < 0:
        raise TooLong("it would take longer than it can bring")
