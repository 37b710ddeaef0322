"""A script that stands between a worker and a trial's process: `python keeper.py CONTROL GRACE_S COMMAND ...`.

It starts the command, and sees to it that nothing of it outlives the trial: neither children that it leaves behind, nor
the command itself where the worker dies. It imports little, since one runs for each trial.

CONTROL: the number of a connected socket. A line from the worker asks that the command end; its end means that the
worker is gone. To the worker goes one line of JSON, {code, oom, memory}: the exit code, negative for a signal, how many
processes this machine has killed for lack of memory meanwhile, and the most bytes of memory that the command has taken,
with all that it started.
"""

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

SUBREAPER, DEATH_SIGNAL = 36, 1  # options of prctl(2)
TICK_S = 0.05
LOOKS_S = (0.25, 0.5, 1.0, 2.0, 5.0)  # between looks at the memory; all further ones are as far apart as the last


def killed_for_memory() -> int:
    """Return how many processes this machine's kernel has killed for lack of memory."""
    try:
        with open("/proc/vmstat") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, ValueError, IndexError):
        return 0


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where there is such a thing."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(of: int) -> list[int]:
    """Return the processes below one, the nearest first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    pids = list(children.get(of, []))
    for pid in pids:
        pids += children.get(pid, [])
    return pids


class Peak:
    """The most memory that a process and all below it have taken together, by looks at them from time to time.

    What processes share, such as libraries and what they had before a fork, counts once: as Linux's proportional share.
    """

    def __init__(self) -> None:
        self.together = self.largest = self.looks = 0
        self.next_at = time.monotonic() + LOOKS_S[0]

    def look(self, child: int) -> None:
        """Look at a process, if it is time."""
        if time.monotonic() < self.next_at:
            return
        memory = [memory_of(pid) for pid in (child, *descendants(child))]
        self.together = max(self.together, sum(share for share, _ in memory))
        self.largest = max(self.largest, *(whole for _, whole in memory))
        self.looks += 1
        self.next_at = time.monotonic() + LOOKS_S[min(self.looks, len(LOOKS_S) - 1)]

    def bytes(self, largest: int) -> int:
        """Return the peak. largest: of the largest process, as the kernel knows it, also between looks."""
        return self.together + max(0, largest - self.largest)


def memory_of(pid: int) -> tuple[int, int]:
    """Return a process's memory in bytes: its share, and all that it sees; zeros if it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            kib = {line[:4]: int(line.split()[1]) for line in file if line.startswith(("Pss:", "Rss:"))}
        return kib["Pss:"] << 10, kib["Rss:"] << 10
    except (OSError, ValueError, KeyError, IndexError):
        return 0, 0


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to processes, of which some may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_all() -> None:
    """Kill everything below this process: a killed process may have started others."""
    for _ in range(100):
        left = descendants(os.getpid())
        if not left:
            return
        signal_all(left, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def keep(control: int, grace_s: float, begin: Callable[[], int]) -> None:
    """Start a process and watch it to its end, or to that of the worker.

    begin: starts it in a session of its own, and returns its pid. Raises OSError where it cannot.
    """
    before = killed_for_memory()
    prctl(SUBREAPER, 1)
    try:
        child = begin()
    except OSError as error:
        answer(control, 127, 0, error.strerror or str(error))
        return
    for stream in (0, 1, 2):  # so that a reader sees the end of the output when the process has ended
        with suppress(OSError):
            os.close(stream)
    code, memory = watch(control, grace_s, child)
    end_all()
    answer(control, code, killed_for_memory() - before, memory=memory)


def answer(control: int, code: int, oom: int, error: str = "", memory: int = 0) -> None:
    """Tell the worker how the process ended."""
    with suppress(OSError):  # there is none any more
        os.write(control, answer_line(code, oom, error, memory))


def readable(descriptors: Sequence[int], timeout_s: float) -> list[int]:
    """Wait until there is something to read, or an end; return of which descriptors.

    `select.select` refuses descriptors from 1024 on, which a process has that keeps many files open.
    """
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(max(0, math.ceil(1000 * timeout_s)))]


def answer_line(code: int, oom: int, error: str, memory: int = 0) -> bytes:
    """Return the line that says how the process ended."""
    return json.dumps({"code": code, "oom": oom, "error": error, "memory": memory}).encode() + b"\n"


def watch(control: int, grace_s: float, child: int) -> tuple[int, int]:
    """Wait for the end of a process, and bring it about when the worker asks or dies.

    Return the exit code, and the most memory that it took.
    """
    peak = Peak()
    handle = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
    sources, asked_at, asked_all = [control, *([] if handle is None else [handle])], None, False
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), peak.bytes(used.ru_maxrss << 10)
        peak.look(child)
        next_s = TICK_S if handle is None or asked_at else max(0.0, peak.next_at - time.monotonic())
        ready = readable(sources, next_s)
        if control in ready:
            if not os.read(control, 4096):
                sources.remove(control)
            if asked_at is None:
                asked_at = time.monotonic()
                signal_all([child], signal.SIGTERM)
        waited = 0.0 if asked_at is None else time.monotonic() - asked_at
        if waited > grace_s / 2 and not asked_all:  # a shell does not pass it on
            asked_all = True
            signal_all(descendants(child), signal.SIGTERM)
        if waited > grace_s:
            signal_all([child, *descendants(child)], signal.SIGKILL)


def become(keeper: int) -> None:
    """Make this forked process one that trains: in its own session, with signals as usual, killed with its keeper."""
    os.setsid()
    prctl(DEATH_SIGNAL, signal.SIGKILL)
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)
    if os.getppid() != keeper:
        os._exit(1)


def run(command: Sequence[str]) -> int:
    """Start a command; return its pid."""
    keeper = os.getpid()
    _started.append(subprocess.Popen(command, preexec_fn=lambda: become(keeper)))
    return _started[-1].pid


_started: list["subprocess.Popen[bytes]"] = []
"""Kept, since one that Python forgets is waited for where nobody would learn how it ended."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # by keepers, which see the worker's end at their socket

if __name__ == "__main__":
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    keep(int(sys.argv[1]), float(sys.argv[2]), lambda: run(sys.argv[3:]))
