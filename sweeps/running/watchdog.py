"""What a worker leaves behind when it cannot speak any more: whom it trained and how far, and why it ended.

A cohort's note is a file that the worker writes by memory: what stands there survives its process and a full disk, and
costs no system call. The trace beside it is written by faulthandler, in C, whatever holds Python up: at a fatal signal,
and when a call does not return, which ends the process. The driver reads both when a worker has died.
"""

import faulthandler
import json
import mmap
import os
import re
import signal
import socket
import struct
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from espalier.core.own import is_own
from espalier.core.programs import PROGRAMS

SIZE = 1 << 18  # bytes of a note; trials that do not fit in are not named
ARM_EVERY_S = 1.0  # a C thread is started for each deadline
FLOOR_S = 600.0  # of what comes before training: data() may fetch its examples
BEGIN_S = 60.0  # of what comes before training, where a person has said how long a call may take
SLOWER = 100.0  # times the slowest call of late, where that is longer
FORGET = 0.98
_HEAD = struct.Struct("<QI")
_TRAINABLE = Path(__file__).with_name("trainable.py")
_STDLIB = sysconfig.get_path("stdlib")


class Note(TypedDict):
    """What a worker leaves: its process, whom it trains, and perhaps its last word."""

    pid: int
    born: str
    host: str
    oom: int  # processes that the machine had killed for want of memory when it began
    lanes: NotRequired[Sequence[Mapping[str, int]]]  # lane by lane, the replicates that train with their steps
    word: NotRequired[str]
    halt: NotRequired[bool]


class Watchdog:
    """Watches the training of one cohort, in its worker.

    patience_s: how long one call of a task's code may take; None: `SLOWER` times what calls have taken of late, and at
    least what the program says (Program.call_s).
    """

    def __init__(self, folder: Path, cohort: str, patience_s: float | None = None):
        self.patience_s = patience_s
        self._note, self._trace = _opened(folder, cohort)
        pid = os.getpid()
        self._facts: Note = {"pid": pid, "born": born(pid), "host": socket.gethostname(), "oom": oom_kills()}
        self._length = self._done = self._ahead = 0
        self._program, self._floor, self._slowest, self._begun = "", FLOOR_S, 0.0, False
        self._last = self._armed = 0.0
        faulthandler.disable()  # what is enabled keeps its handlers, though another's, as Ray's, took their places
        faulthandler.enable(self._trace, all_threads=True)
        _note_exits(self)
        self._write()
        self._arm(time.monotonic())

    def training(self, lanes: Sequence[Mapping[str, int]], program: str) -> None:
        """Note the replicates that train now, lane by lane, each with the steps that it has made."""
        self._facts["lanes"] = lanes
        if not self._begun:
            self._begun, self._armed = True, 0.0
        if program != self._program:
            self._program, self._floor = program, PROGRAMS[program].call_s
        self._done = self._ahead = 0
        self._write()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs, which calls a task's code; before and after it is the driver's turn."""
        self._arm(time.monotonic())
        try:
            yield
        finally:
            self.rest()

    def beat(self, steps: int) -> None:
        """What took its time before is over, and so many steps are about to be made by one call."""
        now = time.monotonic()
        self._done, self._ahead = self._done + self._ahead, steps
        _HEAD.pack_into(self._note, 0, self._done, self._length)
        self._slowest = max(self._slowest * FORGET, now - self._last)
        self._last = now
        if now - self._armed > ARM_EVERY_S:
            self._arm(now)

    def rest(self) -> None:
        """Watch nothing: it is the driver's turn."""
        faulthandler.cancel_dump_traceback_later()

    def close(self) -> None:
        """Leave the watch to another, for the worker's next cohort."""
        os.close(self._trace)

    def last_word(self, text: str, halt: bool = False) -> None:
        """Note why the worker is about to fail; halt: whether nobody can go on until a person has seen to it."""
        self._facts["word"], self._facts["halt"] = text, halt
        self._write()

    def _arm(self, now: float) -> None:
        self._armed = self._last = now
        limit = self.patience_s or max(self._floor, SLOWER * self._slowest)
        limit = limit if self._begun else max(limit, BEGIN_S)
        faulthandler.dump_traceback_later(limit, exit=True, file=self._trace)

    def _write(self) -> None:
        text = json.dumps(self._facts).encode()
        if len(text) > SIZE - _HEAD.size:
            text = json.dumps({**self._facts, "lanes": []}).encode()
        self._length = len(text)
        self._note[_HEAD.size : _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._note, 0, self._done, len(text))


def _opened(folder: Path, cohort: str) -> tuple[mmap.mmap, int]:
    """Open a cohort's note and trace; where they cannot be written, places that nobody reads."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{cohort}.note", "w+b") as file:
            os.posix_fallocate(file.fileno(), 0, SIZE)  # else a full disk is a bus error at the first write
            note = mmap.mmap(file.fileno(), SIZE)
        return note, os.open(folder / f"{cohort}.trace", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError:
        return mmap.mmap(-1, SIZE), os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _note_exits(dog: Watchdog) -> None:
    """Have os._exit leave its code behind: no process but the parent, which is Ray's, can learn it afterwards."""
    leave = getattr(os._exit, "original", os._exit)

    def _exit(code: int) -> None:
        dog.last_word(f"os._exit({code})")
        leave(code)

    _exit.original = leave  # type: ignore[attr-defined]
    os._exit = _exit


def born(pid: int) -> str:
    """Return when a process began, in the kernel's ticks: that tells it from a later one of its number."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def oom_kills() -> int:
    """Return how many processes this machine has killed for want of memory."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


# --- what the driver reads -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Death:
    """Why a worker ended. lanes: the replicates that trained when it did, lane by lane, each with its steps.

    hung: a call did not return. certain: the task did it; a bare kill may come from outside. halt: nobody can go on.
    """

    why: str
    lanes: Sequence[Mapping[str, int]] = ()
    hung: bool = False
    certain: bool = True
    halt: bool = False

    @property
    def replicates(self) -> dict[str, int]:
        """All replicates that trained, with their steps."""
        return {replicate: step for lane in self.lanes for replicate, step in lane.items()}


def forget(folder: Path, cohort: str) -> None:
    """Remove what an earlier worker of a cohort has left."""
    for kind in ("note", "trace"):
        (folder / f"{cohort}.{kind}").unlink(missing_ok=True)


def read_death(folder: Path, cohort: str) -> Death:
    """Return why the last worker of a cohort ended, as far as it can be told."""
    facts, steps = _read_note(folder / f"{cohort}.note")
    trace = ""
    with suppress(OSError):
        trace = (folder / f"{cohort}.trace").read_bytes()[: 1 << 20].decode(errors="replace")
    lanes = [
        {replicate: step + steps for replicate, step in lane.items()}
        for lane in (facts.get("lanes", ()) if facts else ())
    ]
    if timeout := re.match(r"Timeout \((\d+):(\d+):([\d.]+)\)", trace):
        hours, minutes, seconds = map(float, timeout.groups())
        passed = hours * 3600 + minutes * 60 + seconds
        return Death(f"{_place(trace)} has not returned for {passed:g} s", lanes, hung=True)
    if fatal := re.match(r"Fatal Python error: (.*)", trace):
        return Death(f"{fatal[1].strip()[:100]} in {_place(trace)}", lanes)
    if facts and (word := facts.get("word")):
        return Death(word, lanes, halt=facts.get("halt", False))
    if facts and facts["host"] == socket.gethostname() and oom_kills() > facts["oom"]:
        return Death("killed by the system, which was out of memory (SIGKILL)", lanes, certain=False)
    killed = "killed (SIGKILL), or lost with its node" if facts else "ended before it could begin"
    return Death(killed, lanes, certain=False)


def kill_worker(folder: Path, cohort: str) -> None:
    """Kill the worker of a cohort, if it is on this machine and still there."""
    facts, _ = _read_note(folder / f"{cohort}.note")
    if facts and facts["host"] == socket.gethostname() and facts["born"] and born(facts["pid"]) == facts["born"]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(facts["pid"], signal.SIGKILL)


def _read_note(file: Path) -> tuple[Note | None, int]:
    """Return the facts of a note and the steps made since they were written; nothing of one that is not whole."""
    with suppress(OSError, struct.error, ValueError):
        content = file.read_bytes()
        steps, length = _HEAD.unpack_from(content)
        return json.loads(content[_HEAD.size : _HEAD.size + length]), steps
    return None, 0


def _place(trace: str) -> str:
    """Return where in a task's code a trace ends: the function that was called, and the file and line it is at."""
    for thread in re.split(r"\n(?=(?:Current thread|Thread) 0x)", trace):
        frames = re.findall(r'File "(.*)", line (\d+) in (.*)', thread)
        ours = next((k for k, (file, _, _) in enumerate(frames) if Path(file) == _TRAINABLE), None)
        if ours is not None:
            if own := [frame for frame in frames[:ours] if _of_a_task(frame[0])]:
                return f"{own[-1][2]}() ({Path(own[0][0]).name}, line {own[0][1]})"
            return f"{frames[0][2]}() ({Path(frames[0][0]).name}, line {frames[0][1]})"
    return "its process"


def _of_a_task(file: str) -> bool:
    return not is_own(file) and "site-packages" not in file and not file.startswith(("<", _STDLIB))
