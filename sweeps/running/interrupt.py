"""Ctrl-C and SIGTERM, turned into a wish that a driver obeys."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from espalier.core.errors import brief


class Interrupt:
    """Turns SIGINT and SIGTERM into a wish that the driver obeys at the next report; a second one ends the process."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._begin = 0.0

    def since(self) -> float:
        """Return how long ago the interrupt came, in seconds; 0 without one."""
        if self.asked.is_set() and not self._begin:
            self._begin = time.monotonic()
        return time.monotonic() - self._begin if self._begin else 0.0

    @contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Handle the signals while the block runs (in the main thread; elsewhere signals stay as they are)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.take_signals()
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_signals(self) -> None:
        """Handle SIGINT and SIGTERM from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self.asked.is_set():
            guard_says("", "")
            os._exit(128 + number)
        self.asked.set()
        self._begin = time.monotonic()
        print("\nstopping: checkpoints are being written (once more to stop at once)", file=sys.stderr, flush=True)


# --- when Python itself is held up, or gone ---------------------------------------------------------------------------

GRACE_S = 9.0
_SCRIPT = Path(__file__).with_name("guard.py")
STOPPED, ENDED = "sweep: stopped", "sweep: this process ended: HOW"


class Guard:
    """A small process that ends this one some seconds after Ctrl-C or SIGTERM, should Python not come to do it.

    So it is while code in C holds Python's lock, or catches what is raised to end it. The kernel's signal is passed on
    by Python's handler in C, which needs no lock. And should this process be gone without a word, it says how.
    """

    def __init__(self, stop: str, death: str = ENDED, grace_s: float = GRACE_S):
        signals, self._signals = os.pipe()
        spoken, self._words = os.pipe()
        os.set_blocking(self._signals, False)
        command = [sys.executable, "-I", "-S", str(_SCRIPT), str(os.getpid()), str(grace_s)]
        self._process = subprocess.Popen(command, stdin=signals, stdout=spoken, start_new_session=True)
        os.close(signals)
        os.close(spoken)
        self.say(stop, death)
        self._before = signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)
        self._traces = not faulthandler.is_enabled()  # else somebody wants them elsewhere
        if self._traces:
            faulthandler.enable(self._words, all_threads=False)
        self._pid, self._exit = os.getpid(), os._exit
        os._exit = self._exiting

    def _exiting(self, code: int) -> NoReturn:
        """Be os._exit for a task's code: never silently, and never as if all were well."""
        if os.getpid() == self._pid and self._words >= 0:  # else it is a process that a task has started
            caller = sys._getframe(1)
            place = f"{Path(caller.f_code.co_filename).name}, line {caller.f_lineno}"
            self._write(b"\0", f"os._exit({code}) in {caller.f_code.co_name}() ({place})".encode(errors="replace"))
            code = code or 2
        self._exit(code)

    def say(self, stop: str, death: str) -> None:
        """Set what is said when this process is stopped, and when it is gone (HOW it ended is put in; "": nothing)."""
        if self._words >= 0:
            self._write(b"\0", json.dumps({"stop": stop, "death": death}).encode(), b"\0")

    def _write(self, *parts: bytes) -> None:
        with suppress(BrokenPipeError):  # the guard is gone, and nobody else watches
            os.write(self._words, b"".join(parts))

    def dismiss(self) -> None:
        """Let it go: from here on nothing of a task's runs in this process."""
        if self._words >= 0:
            signal.set_wakeup_fd(self._before)
            os._exit = self._exit
            if self._traces:
                faulthandler.disable()
            self.say("", "")
            os.close(self._signals)
            os.close(self._words)
            self._words = -1
            self._process.wait()


_guards: list[Guard] = []


@contextmanager
def guarded() -> Iterator[None]:
    """Have a guard while the block runs, which calls code of a task's."""
    if threading.current_thread() is not threading.main_thread() or _guards:
        yield
        return
    _guards.append(Guard(STOPPED))
    try:
        yield
    finally:
        dismiss()


def guard_says(stop: str, death: str) -> None:
    """Set what the guard says, if there is one: see Guard.say."""
    for guard in _guards:
        guard.say(stop, death)


def guard_names(task: str) -> None:
    """Have the guard name the task whose code this process is about to run."""
    text = brief(task)
    guard_says(
        f"{STOPPED} at once, since a call of {text} did not return",
        f"sweep: task: {text}: the process that ran its code ended: HOW",
    )


def dismiss() -> None:
    """Let the guard go, if there is one."""
    while _guards:
        _guards.pop().dismiss()
