"""The process of a trial, as its worker sees it: started, read, asked to end, and gone with all that it started."""

import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from espalier.core.errors import brief
from espalier.core.foreign.keeper import answer_line, readable

_KEEPER = Path(__file__).with_name("keeper.py")
OUTPUT_MOST = 16 << 20  # bytes of a trial's output that are kept from its beginning
TAIL_LINES = 200  # lines kept from its end
SHOWN_MOST = 2000  # characters kept of each of these lines
READ_BYTES = 1 << 16  # as many as a pipe holds
DRAIN_S = 0.25  # between looks at a process that prints nothing
LINE_MOST = 1 << 16  # bytes of a line; longer ones are cut into pieces
LAST_WORDS = 300  # characters of the last line of its output, in messages


_abandoned: list["subprocess.Popen[bytes]"] = []
"""Keepers that nobody waits for: they end with what they keep, and are forgotten then."""


@dataclass(frozen=True)
class Exit:
    """How a process ended.

    code: negative for a signal. oom: whether the machine was out of memory meanwhile. memory: the most bytes that it
    took, with all that it started; 0 where nobody knows.
    """

    code: int
    oom: bool = False
    error: str = ""
    memory: int = 0

    @property
    def text(self) -> str:
        """How it ended, as a part of a sentence.

        >>> Exit(1).text, Exit(-9, oom=True).text, Exit(127, error="No such file or directory").text
        ('exit code 1', 'killed by the system, which was out of memory', 'No such file or directory')
        """
        if self.error:
            return self.error
        if self.code == -9 and self.oom:
            return "killed by the system, which was out of memory"
        if self.code < 0:
            return f"killed by signal {-self.code}"
        return f"exit code {self.code}"


class TrialProcess:
    """A process that runs under a keeper. Its output goes to a file once `log_to` names one."""

    def __init__(self, control: socket.socket, output: int, keeper: "subprocess.Popen[bytes] | None" = None):
        """control: connected to the keeper. output: what the process prints can be read there.

        keeper: if it is a child of this process; then the trial's process has its input.
        """
        self._control, self._output, self._keeper = control, output, keeper
        os.set_blocking(self._output, False)
        self._control.setblocking(False)
        self._log: Path | None = None
        self._written, self._left_out = 0, 0
        self._prints = True  # until it has closed its output, which may be long before it ends
        self._lock = Lock()  # of what the thread of `_drain` shares
        self._arrived: list[bytes] = []  # and not yet polled
        self._fault: OSError | None = None
        self._log_begin, self._polled = 0, 0  # bytes of the log before this process; of its output
        self._unfinished, self._early = b"", b""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.asked_to_end = False
        self._answer = b""
        self.exit: Exit | None = None

    @classmethod
    def start(cls, command: Sequence[str], folder: str, env: Mapping[str, str], grace_s: float) -> "TrialProcess":
        """Start a command in a folder. grace_s: from the request to end until it is killed.

        It is never asked for input, but may get one line: see `send`. One that does not exist ends with `Exit.error`.
        """
        _abandoned[:] = [keeper for keeper in _abandoned if keeper.poll() is None]
        control, keepers = socket.socketpair()
        under_keeper = [sys.executable, "-I", "-S", str(_KEEPER), str(keepers.fileno()), str(grace_s), *command]
        try:
            keeper = subprocess.Popen(
                under_keeper,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(env),
                pass_fds=[keepers.fileno()],
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # a value that is too long, or has a null byte; no such folder
            return cls._never_started(control, keepers, error)
        keepers.close()
        assert keeper.stdout
        return cls(control, os.dup(keeper.stdout.fileno()), keeper)

    @classmethod
    def _never_started(cls, control: socket.socket, keepers: socket.socket, error: Exception) -> "TrialProcess":
        """Return one that ends at once, as if its keeper had said why."""
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        file = f": {error.filename}" if isinstance(error, FileNotFoundError) else ""
        keepers.send(answer_line(127, 0, brief(f"{text}{file}", LAST_WORDS)))
        keepers.close()
        output, none = os.pipe()
        os.close(none)
        return cls(control, output)

    def send(self, line: str) -> None:
        """Give the process one line of input, and then no more."""
        if self._keeper and self._keeper.stdin:
            with suppress(BrokenPipeError):
                self._keeper.stdin.write(line.encode() + b"\n" if line else b"")
                self._keeper.stdin.flush()
            self._close_streams()

    def _close_streams(self) -> None:
        for stream in (self._keeper.stdin, self._keeper.stdout) if self._keeper else ():
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()

    def log_to(self, path: Path, always: bool = False) -> None:
        """Write its output to a file from now on, with what has arrived so far.

        always: also while nobody polls, as where a worker waits for a driver that has died.
        """
        self._log = path
        with suppress(OSError):
            self._log_begin = path.stat().st_size
        early, self._early = self._early, b""
        self._write(early)
        if always:
            Thread(target=self._drain, daemon=True).start()

    @property
    def read_to(self) -> int:
        """Where in the log the lines begin that `poll` has not returned yet, in bytes."""
        return self._log_begin + self._polled - len(self._unfinished)

    def wait(self, timeout_s: float) -> None:
        """Wait until it has something to say, or has ended."""
        if self.exit is None and not self._arrived:
            readable([self._control.fileno(), *([self._output] if self._prints else [])], timeout_s)

    def poll(self) -> list[str]:
        """Read its output and how it ended, as far as they are known; return the whole lines that have arrived."""
        lines = self._lines(self._take())
        if self.exit is None and self._has_ended():
            lines += self._lines(self._take())
            if self._unfinished:
                lines += self._lines(b"\n")
            self._close()
        return lines

    def _take(self) -> bytes:
        """Return what it has printed since the last call, once the log has it."""
        with self._lock:
            self._receive()
            fault, self._fault = self._fault, None
            if fault:
                raise fault
            arrived, self._arrived = b"".join(self._arrived), []
        self._polled += len(arrived)
        return arrived

    def _receive(self) -> None:
        """Read what there is, and write it to the log; the lock is held."""
        if arrived := self._read():
            self._arrived.append(arrived)
            self._write(arrived)

    def _drain(self) -> None:
        """Receive until it has closed its output, or nobody wants it: in a thread of its own."""
        while True:
            with self._lock:
                if self._output < 0 or not self._prints:
                    return
                output, full = self._output, sum(map(len, self._arrived)) >= OUTPUT_MOST
                try:
                    if not full:
                        self._receive()
                except OSError as error:  # of the disk: whoever polls gets it, and goes on by itself
                    self._fault = error
                    return
            with suppress(OSError, ValueError):  # closed meanwhile
                readable([] if full else [output], DRAIN_S)

    def _read(self) -> bytes:
        """Return what it has printed since the last call, or the first megabytes of that."""
        chunks: list[bytes] = []
        with suppress(BlockingIOError):
            while self._output >= 0 and self._prints and len(chunks) * READ_BYTES < OUTPUT_MOST:
                chunks.append(os.read(self._output, READ_BYTES))
                self._prints = bool(chunks[-1])
        return b"".join(chunks)

    def _has_ended(self) -> bool:
        gone = False
        with suppress(BlockingIOError):
            try:
                while chunk := self._control.recv(4096):
                    self._answer += chunk
                gone = True
            except ConnectionError:
                gone = True
        if self._answer.endswith(b"\n"):
            answer = json.loads(self._answer)
            self.exit = Exit(answer["code"], answer["oom"] > 0, answer["error"], answer.get("memory", 0))
        elif gone:
            self.exit = Exit(-9)  # its keeper was killed, and it with that
        return self.exit is not None

    def _lines(self, arrived: bytes) -> list[str]:
        *whole, self._unfinished = (self._unfinished + arrived).replace(b"\r", b"\n").split(b"\n")
        if len(self._unfinished) > LINE_MOST:
            whole, self._unfinished = [*whole, self._unfinished], b""
        lines = [line.decode(errors="replace") for line in whole if line.strip()]
        self.tail.extend(line[:SHOWN_MOST] for line in lines)
        return lines

    def _write(self, output: bytes) -> None:
        """Keep the beginning of the output; of more than OUTPUT_MOST the end is added when the process has ended."""
        if self._log is None:
            self._early = (self._early + output)[:OUTPUT_MOST]
            return
        if output and (room := OUTPUT_MOST - self._written) > 0:
            self._log.parent.mkdir(parents=True, exist_ok=True)  # the code of a trial may have removed it
            with open(self._log, "ab") as file:
                file.write(output[:room])
        self._left_out += max(0, len(output) - max(0, OUTPUT_MOST - self._written))
        self._written += len(output)

    def _close(self) -> None:
        keeper = self._keeper
        self.abandon()
        if keeper:
            keeper.wait()
        if self._left_out and self._log:
            text = f"\n... {self._left_out:,} bytes are left out; the last lines:\n" + "\n".join(self.tail) + "\n"
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(text)

    def end(self) -> None:
        """Ask it to end, by SIGTERM; after the time of grace it is killed."""
        if not self.asked_to_end and self.exit is None:
            self.asked_to_end = True
            with suppress(OSError):
                self._control.send(b"end\n")

    def abandon(self) -> None:
        """Leave it to its keeper, which has it end."""
        self._control.close()
        self._close_streams()
        if self._keeper:
            _abandoned.append(self._keeper)
            self._keeper = None
        with self._lock:
            if self._output >= 0:
                os.close(self._output)
                self._output = -1

    def last_words(self) -> str:
        """Return the last line of its output that says something, shortened."""
        words = (line.strip() for line in reversed(self.tail))
        return brief(next((line for line in words if any(map(str.isalnum, line))), ""), LAST_WORDS)
