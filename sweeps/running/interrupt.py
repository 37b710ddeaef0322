"""Ctrl-C and SIGTERM, turned into a request that the driver obeys."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from espalier.sweeps.guard import set_messages


class Interrupt:
    """Turns SIGINT and SIGTERM into a request, which the driver obeys at the next report. A second one ends it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.halted: str | None = None  # why the sweep cannot go on, where nobody asked for the end
        self._begin = 0.0

    def halt(self, why: str) -> None:
        """End the sweep as an interrupt does, since it cannot go on before a person has seen to something."""
        self.halted = self.halted or why
        self.asked.set()

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set():
            set_messages("", "")
            os._exit(128 + number)
        self.asked.set()
        self._begin = time.monotonic()
        print("\nstopping: checkpoints are being written (once more to stop at once)", file=sys.stderr, flush=True)
