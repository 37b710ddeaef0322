"""Ctrl-C and SIGTERM, turned into a wish that a driver obeys."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
            os._exit(128 + number)
        self.asked.set()
        self._begin = time.monotonic()
        print("\nstopping: checkpoints are being written (once more to stop at once)", file=sys.stderr, flush=True)


# --- when Python itself is held up ------------------------------------------------------------------------------------

GRACE_S = 9.0
_GUARD = """
import os, select, signal, sys, time
driver, grace, deadline, words = int(sys.argv[1]), float(sys.argv[2]), None, b""
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
while True:
    wait = None if deadline is None else max(0, deadline - time.monotonic())
    ready, _, _ = select.select([0, 1], [], [], wait)
    if not ready:
        if os.getppid() == driver:
            os.write(2, words)
            os.kill(driver, signal.SIGKILL)
        sys.exit()
    if 1 in ready:
        said = os.read(1, 65536)
        if not said:
            sys.exit()
        words = said.split(b"\\0")[-2] + b"\\n"
    if 0 in ready:
        came = os.read(0, 4096)
        if not came:
            sys.exit()
        if deadline is None and (signal.SIGINT in came or signal.SIGTERM in came):
            deadline = time.monotonic() + grace
"""


class Guard:
    """A small process that ends this one some seconds after Ctrl-C or SIGTERM, should Python not come to do it.

    So it is while code in C holds Python's lock, or catches what is raised to end it. The kernel's signal is passed on
    by Python's handler in C, which needs no lock.
    """

    def __init__(self, words: str, grace_s: float = GRACE_S):
        signals, self._signals = os.pipe()
        spoken, self._words = os.pipe()
        os.set_blocking(self._signals, False)
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), str(grace_s)]
        self._process = subprocess.Popen(command, stdin=signals, stdout=spoken, start_new_session=True)
        os.close(signals)
        os.close(spoken)
        self.say(words)
        self._before = signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)

    def say(self, words: str) -> None:
        """Set what is said when this process is ended."""
        if self._words >= 0:
            os.write(self._words, words.replace("\0", "").encode(errors="replace") + b"\0")

    def dismiss(self) -> None:
        """Let it go: from here on nothing of a task's runs in this process."""
        if self._words >= 0:
            signal.set_wakeup_fd(self._before)
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
    _guards.append(Guard("sweep: stopped"))
    try:
        yield
    finally:
        dismiss()


def guard_says(words: str) -> None:
    """Set what the guard says, if there is one."""
    for guard in _guards:
        guard.say(words)


def dismiss() -> None:
    """Let the guard go, if there is one."""
    while _guards:
        _guards.pop().dismiss()
