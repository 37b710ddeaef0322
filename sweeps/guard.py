"""A guard process for a command that runs a task's code: it ends the command if Python cannot, and reports how."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from espalier.core.errors import brief

GRACE_S = 9.0
_SCRIPT = Path(__file__).with_name("guard_process.py")
STOPPED, ENDED = "sweep: stopped", "sweep: this process ended: HOW"


class Guard:
    """A small process that ends this one some seconds after Ctrl-C or SIGTERM, if Python does not.

    Python cannot while C code holds its lock (GIL), or if code catches KeyboardInterrupt. The guard gets the signal
    through Python's C handler, which needs no lock. If this process dies without a message, the guard prints how it
    died.
    """

    def __init__(self, stop: str, death: str = ENDED, grace_s: float = GRACE_S):
        signals, self._signals = os.pipe()
        spoken, self._words = os.pipe()
        os.set_blocking(self._signals, False)
        command = [sys.executable, "-I", "-S", str(_SCRIPT), str(os.getpid()), str(grace_s)]
        self._process = subprocess.Popen(command, stdin=signals, stdout=spoken, start_new_session=True)
        os.close(signals)
        os.close(spoken)
        self.set_messages(stop, death)
        self._before = signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)
        self._traces = not faulthandler.is_enabled()  # else another reader uses the wakeup pipe
        if self._traces:
            faulthandler.enable(self._words, all_threads=False)
        self._pid, self._exit = os.getpid(), os._exit
        os._exit = self._exiting

    def _exiting(self, code: int) -> NoReturn:
        """Replace os._exit for a task's code: it prints a message, and never exits with code 0."""
        if os.getpid() == self._pid and self._words >= 0:  # else it is a child process of the task
            caller = sys._getframe(1)
            place = f"{Path(caller.f_code.co_filename).name}, line {caller.f_lineno}"
            self._write(b"\0", f"os._exit({code}) in {caller.f_code.co_name}() ({place})".encode(errors="replace"))
            code = code or 2
        self._exit(code)

    def set_messages(self, stop: str, death: str) -> None:
        """Set the messages printed when this process is stopped, and when it has died (HOW: how it ended; "": none)."""
        if self._words >= 0:
            self._write(b"\0", json.dumps({"stop": stop, "death": death}).encode(), b"\0")

    def _write(self, *parts: bytes) -> None:
        with suppress(BrokenPipeError):  # the guard has died, and no other watches
            os.write(self._words, b"".join(parts))

    def dismiss(self) -> None:
        """End the guard: from here on no code of a task runs in this process."""
        if self._words >= 0:
            signal.set_wakeup_fd(self._before)
            os._exit = self._exit
            if self._traces:
                faulthandler.disable()
            self.set_messages("", "")
            os.close(self._signals)
            os.close(self._words)
            self._words = -1
            self._process.wait()


_guards: list[Guard] = []


@contextmanager
def guarded(grace_s: float = GRACE_S) -> Iterator[None]:
    """Run a guard during the block, which calls a task's code. grace_s: seconds that Python has after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread() or _guards:
        yield
        return
    _guards.append(Guard(STOPPED, grace_s=grace_s))
    try:
        yield
    finally:
        dismiss_guard()


def set_messages(stop: str, death: str) -> None:
    """Set the messages of the guard, if there is one: see Guard.set_messages."""
    for guard in _guards:
        guard.set_messages(stop, death)


def guard_task(task: str) -> None:
    """Name in the guard's messages the task whose code this process is about to run."""
    text = brief(task)
    set_messages(
        f"{STOPPED} at once, since a call of {text} did not return",
        f"sweep: task: {text}: the process that ran its code ended: HOW",
    )


def dismiss_guard() -> None:
    """End the guard, if there is one."""
    while _guards:
        _guards.pop().dismiss()
