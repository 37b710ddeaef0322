"""Read from the end of a driver's log why it refused its sweep."""

from espalier.core.errors import brief

REFUSED, REFUSAL_MOST = "sweep: ", 4096  # the prefix of a refusal; bytes of a log that are searched
CRASHED = "task: "  # the continuation of that line if a task's code ended the driver


def refusal(log: bytes) -> str:
    """Return the last line in which a driver refuses its input, without its prefix; "" if there is none.

    >>> refusal(b"sweep line: 4 trials\\nsweep: task: no file a.py\\n")
    'task: no file a.py'
    """
    lines = [line for line in log.decode(errors="replace").splitlines() if line.startswith(REFUSED)]
    return brief(lines[-1].removeprefix(REFUSED), 300) if lines else ""
