"""The watchdog of a worker: it leaves files that say what was trained, how far, and why the worker died.

A cohort's note is a memory-mapped file: it survives the process and a full disk, and needs no system call. The trace
beside it is written by faulthandler, in C, even if Python is blocked: at a fatal signal, or when a call does not
return, which ends the process. The driver reads both when a worker has died.
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

from espalier.core.foreign.keeper import killed_for_memory
from espalier.core.own import is_own
from espalier.core.programs import PROGRAMS

SIZE = 1 << 18  # bytes of a note; trials that do not fit are not named
ARM_EVERY_S = 1.0  # seconds between new deadlines, each of which starts a C thread
FLOOR_S = 600.0  # seconds for the time before training: data() may download its examples
BEGIN_S = 60.0  # the same, if the user has set how long a call may take
SLOWER = 100.0  # times the slowest recent call, if that is longer
FORGET = 0.98
_HEAD = struct.Struct("<QI")
_TRAINABLE = Path(__file__).with_name("trainable.py")
_STDLIB = sysconfig.get_path("stdlib")


class Note(TypedDict):
    """A worker's note: its process, the replicates it trains, and perhaps its last words."""

    pid: int
    born: str
    host: str
    oom: int  # processes killed for lack of memory on this machine before it began
    lanes: NotRequired[Sequence[Mapping[str, int]]]  # for each lane, its replicates with their steps
    word: NotRequired[str]
    halt: NotRequired[bool]


class Watchdog:
    """Watches the training of one cohort, in its worker.

    patience_s: how long one call of a task's code may take; None: `SLOWER` times the slowest recent call, and at
    least the program's own limit (Program.call_s).
    """

    def __init__(self, folder: Path, cohort: str, patience_s: float | None = None):
        self.patience_s = patience_s
        self._note, self._trace = _opened(folder, cohort)
        pid = os.getpid()
        self._facts: Note = {"pid": pid, "born": born(pid), "host": socket.gethostname(), "oom": killed_for_memory()}
        self._length = self._done = self._ahead = 0
        self._program, self._floor, self._slowest, self._begun = "", FLOOR_S, 0.0, False
        self._last = self._armed = 0.0
        faulthandler.disable()  # else enable() changes nothing, though others, such as Ray, replaced its handlers
        faulthandler.enable(self._trace, all_threads=True)
        _note_exits(self)
        self._write()
        self._arm(time.monotonic())

    def training(self, lanes: Sequence[Mapping[str, int]], program: str) -> None:
        """Write the replicates that train now to the note, for each lane, with their steps."""
        self._facts["lanes"] = lanes
        if not self._begun:
            self._begun, self._armed = True, 0.0
        if program != self._program:
            self._program, self._floor = program, PROGRAMS[program].call_s
        self._done = self._ahead = 0
        self._write()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the block, which calls a task's code; before and after it the worker waits for the driver."""
        self._arm(time.monotonic())
        try:
            yield
        finally:
            self.rest()

    def beat(self, steps: int) -> None:
        """Restart the deadline: `steps` steps are about to be made by one call."""
        now = time.monotonic()
        self._done, self._ahead = self._done + self._ahead, steps
        _HEAD.pack_into(self._note, 0, self._done, self._length)
        self._slowest = max(self._slowest * FORGET, now - self._last)
        self._last = now
        if now - self._armed > ARM_EVERY_S:
            self._arm(now)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Watch nothing while the block runs: it waits for the driver in the middle of a turn."""
        self.rest()
        try:
            yield
        finally:
            self._arm(time.monotonic())

    def rest(self) -> None:
        """Pause: the worker waits for the driver."""
        faulthandler.cancel_dump_traceback_later()

    def close(self) -> None:
        """Stop watching; the worker's next cohort gets a new watchdog."""
        os.close(self._trace)

    def last_word(self, text: str, halt: bool = False) -> None:
        """Write why the worker is about to fail. halt: whether the sweep must stop until the user fixes it."""
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
    """Open a cohort's note and trace; if they cannot be written, temporary files instead."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{cohort}.note", "w+b") as file:
            os.posix_fallocate(file.fileno(), 0, SIZE)  # else a full disk is a bus error at the first write
            note = mmap.mmap(file.fileno(), SIZE)
        return note, os.open(folder / f"{cohort}.trace", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError:
        return mmap.mmap(-1, SIZE), os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _note_exits(dog: Watchdog) -> None:
    """Make os._exit write its code to the note: only the parent, a process of Ray, can read it afterwards."""
    leave = getattr(os._exit, "original", os._exit)

    def _exit(code: int) -> None:
        dog.last_word(f"os._exit({code})")
        leave(code)

    _exit.original = leave  # type: ignore[attr-defined]
    os._exit = _exit


def born(pid: int) -> str:
    """Return the start time of a process in clock ticks, which identifies it even if its pid is reused."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


# --- reading by the driver -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Death:
    """Why a worker ended.

    lanes: for each lane the replicates that trained then, with their steps. hung: whether a call did not return.
    certain: whether the task caused it; a bare kill may come from outside. halt: whether the sweep must stop.
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
    """Delete the files of a cohort's earlier worker."""
    for kind in ("note", "trace"):
        (folder / f"{cohort}.{kind}").unlink(missing_ok=True)


def read_death(folder: Path, cohort: str) -> Death:
    """Return why the last worker of a cohort ended, as far as its files show."""
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
    if facts and facts["host"] == socket.gethostname() and killed_for_memory() > facts["oom"]:
        return Death("killed by the system, which was out of memory (SIGKILL)", lanes, certain=False)
    killed = "killed (SIGKILL), or lost with its node" if facts else "ended before it could begin"
    return Death(killed, lanes, certain=False)


def kill_worker(folder: Path, cohort: str) -> None:
    """Kill the worker of a cohort, if it still runs on this machine."""
    facts, _ = _read_note(folder / f"{cohort}.note")
    if facts and facts["host"] == socket.gethostname() and facts["born"] and born(facts["pid"]) == facts["born"]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(facts["pid"], signal.SIGKILL)


def _read_note(file: Path) -> tuple[Note | None, int]:
    """Return a note and the steps made since it was written; empty if it is incomplete."""
    with suppress(OSError, struct.error, ValueError):
        content = file.read_bytes()
        steps, length = _HEAD.unpack_from(content)
        return json.loads(content[_HEAD.size : _HEAD.size + length]), steps
    return None, 0


def _place(trace: str) -> str:
    """Return where in the task's code a trace ends: the function called, and its present file and line."""
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
