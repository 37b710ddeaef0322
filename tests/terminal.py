"""A terminal in memory: what a person sees of a process, and keys that they press."""

import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from fcntl import ioctl

import pyte

QUIET_S = 0.1  # so long without output, and a picture is whole


class Terminal:
    """A process whose input, output and errors are a terminal of 80 columns and 24 lines."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int = 80, lines: int = 24):
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            env=dict(environment) | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it as a signal
        )
        os.close(slave)

    def press(self, key: bytes) -> None:
        """Press a key: b"\\x03" is Ctrl-C."""
        os.write(self._master, key)

    def pictures(self) -> Iterator[list[str]]:
        """Yield the lines of the screen whenever nothing is written for a moment, until the process ends."""
        fresh = False
        while True:
            if not select.select([self._master], [], [], QUIET_S)[0]:
                if fresh:
                    yield self.lines()
                fresh = False
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the process has ended
                data = b""
            if not data:
                break
            fresh = True
            self._stream.feed(data)
        self.process.wait()
        os.close(self._master)
        yield self.lines()

    def lines(self) -> list[str]:
        """Return the lines that are on the screen now, without spaces at their ends."""
        return [line.rstrip() for line in self.screen.display]
