"""A script that stands beside a command which runs a task's code: `python guard.py PID GRACE_S`.

It ends the command some seconds after Ctrl-C or SIGTERM, should Python not come to do it; and where the command is gone
without a word it says in one line how it ended. So it imports little, and nothing that a task could have changed.

0, its standard input: the numbers of the signals that the command gets, as signal.set_wakeup_fd writes them.
1, which it reads: between zero bytes JSON of {stop, death}, what is said when the command is stopped, and when it is
gone ("" says nothing); then perhaps the command's last words, or faulthandler's.
"""

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

LIBRARY = os.path.dirname(os.__file__) + os.sep
UNKNOWN = "killed (SIGKILL or another signal), or ended by code outside Python"


def killed_for_memory() -> int:
    """Return how many processes this machine's kernel has killed for lack of memory."""
    try:
        with open("/proc/vmstat") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, ValueError, IndexError):
        return 0


def how_it_ended(last_words: str, for_memory: int) -> str:
    """Return how a process ended.

    last_words: its last output, possibly of faulthandler. for_memory: how many processes were killed for lack of
    memory while it ran.

    >>> trace = 'Fatal Python error: Aborted\\n\\nCurrent thread 0x1 (first):\\n  File "/a/b.py", line 3 in f'
    >>> how_it_ended(trace, 0), how_it_ended("os._exit(3)", 0), how_it_ended("", 1)
    ('Aborted in f() (b.py, line 3)', 'os._exit(3)', 'killed by the system, which was out of memory (SIGKILL)')
    """
    import re

    if fatal := re.search(r"Fatal Python error: (.*)", last_words):
        frames = re.findall(r'File "(.*)", line (\d+) in (.*)', last_words)
        own = [frame for frame in frames if "site-packages" not in frame[0] and not frame[0].startswith((LIBRARY, "<"))]
        places = [f" in {name}() ({os.path.basename(file)}, line {line})" for file, line, name in own[:1]]
        return f"{fatal[1].strip()[:100]}{''.join(places)}".replace("<module>()", "its import")
    if last_words.strip():
        return last_words.strip()[:300].replace("<module>()", "its import")
    return "killed by the system, which was out of memory (SIGKILL)" if for_memory else UNKNOWN


def watch(command: int, grace_s: float) -> None:
    """Watch a command, this process's parent, until it dismisses its guard or dies."""
    deadline, unfinished, words, before = None, b"", {"stop": "", "death": ""}, killed_for_memory()
    open_ends = [0, 1]
    while True:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(open_ends, [], [], wait)
        if not ready:
            if os.getppid() == command:
                say(words["stop"])
                os.kill(command, signal.SIGKILL)
            return
        if 1 in ready:
            arrived = os.read(1, 65536)
            if not arrived:
                if words["death"]:
                    how = how_it_ended(unfinished.decode(errors="replace"), killed_for_memory() - before)
                    say(words["death"].replace("HOW", how))
                return
            *whole, unfinished = (unfinished + arrived).split(b"\0")
            for text in whole:
                if text.startswith(b"{"):
                    words = json.loads(text)
        if 0 in ready:
            came = os.read(0, 4096)
            if not came:
                open_ends = [1]
            if deadline is None and (signal.SIGINT in came or signal.SIGTERM in came):
                deadline = time.monotonic() + grace_s


def say(text: str) -> None:
    """Write a line to stderr, ignoring a closed pipe."""
    with suppress(OSError):
        os.write(2, text.encode(errors="replace") + b"\n")


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch(int(sys.argv[1]), float(sys.argv[2]))
