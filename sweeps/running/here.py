"""Drive a sweep in this process; shared by `sweep run`, `sweep resume` and the Python API."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from typing import TextIO

from espalier.core.garbage import gc_paused
from espalier.core.one_thread import one_thread
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.home import Home
from espalier.sweeps.running.display import in_notebook, shown
from espalier.sweeps.running.machine import RaySession, ToStderr
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.extension import More
from espalier.sweeps.spec.header import header
from espalier.sweeps.spec.spec import SweepSpec


def run_here(
    spec: SweepSpec,
    home: Home,
    address: str | None = None,
    id: str | None = None,
    changed: bool = False,
    progress: bool = True,
) -> Summary:
    """Run a sweep, on the Ray cluster at an address or on a new one. Raises BadInput if it cannot run."""
    if id is not None:
        home.check_id(id)
    with _ray(address) as session:
        with gc_paused():
            session.start()  # Ray's processes start while the driver is imported
            from espalier.sweeps.running import driver

        announce = (lambda: _announce(spec)) if progress and not in_notebook() else (lambda: None)
        return driver.start(spec, home, _watch(progress), session, id, changed, announce)


def resume_here(
    sweep: str, home: Home, address: str | None = None, changed: bool = False, progress: bool = True
) -> Summary:
    """Resume a sweep; Ray is started only if something is left to train. Raises BadInput."""
    from espalier.sweeps.running import driver

    with _ray(address) as session:
        return driver.resume(sweep, home, _watch(progress), session, changed)


def extend_here(
    sweep: str,
    home: Home,
    more: More,
    address: str | None = None,
    changed: bool = False,
    progress: bool = True,
    by: str = "",
) -> Summary:
    """Give a sweep more to train, and train it. Raises BadInput; see `driver.extend`."""
    from espalier.sweeps.running import driver

    with _ray(address) as session:
        return driver.extend(sweep, home, _watch(progress), session, more, changed, by)


@contextmanager
def _ray(address: str | None) -> Iterator[RaySession]:
    """Return a Ray session whose output goes to stderr."""
    with redirect_stdout(ToStderr()), one_thread(), RaySession(address) as session:
        yield session


def _watch(progress: bool) -> Callable[[Progress], AbstractContextManager[None]]:
    """Return what looks at a running sweep: the display, or the notes alone, and who tells others of it."""
    display = shown if progress else notes_alone

    @contextmanager
    def watched(sweep: Progress) -> Iterator[None]:
        with display(sweep):
            if sweep.notify is None:
                yield
                return
            from espalier.sweeps.running.notifications import notified

            with notified(sweep):
                yield

    return watched


@contextmanager
def notes_alone(progress: Progress) -> Iterator[None]:
    """Print the notes on problems when the block has ended."""
    yield
    for note in progress.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)


def _announce(spec: SweepSpec) -> None:
    """Print what is about to be trained, and notes on surprising fields of the spec."""
    for line in [header(spec), *(f"note: {note}" for note in spec.notes())]:
        print(wrapped(line, sys.stderr), file=sys.stderr, flush=True)


def wrapped(line: str, stream: TextIO) -> str:
    """Return a line, wrapped between words if the stream is a terminal."""
    if not stream.isatty():
        return line
    return textwrap.fill(line, shutil.get_terminal_size().columns, subsequent_indent="  ", break_on_hyphens=False)
