"""Why a driver refused its sweep, read from the end of its log."""

from espalier.core.errors import brief

REFUSED, REFUSAL_MOST = "sweep: ", 4096  # how the line begins in which a driver refuses its input; bytes looked at
CRASHED = "task: "  # how that line goes on where a task's code ended the driver


def refusal(log: bytes) -> str:
    """Return the last line in which a driver refuses its input, without its prefix; nothing where there is none.

    >>> refusal(b"sweep line: 4 trials\\nsweep: task: no file a.py\\n")
    'task: no file a.py'
    """
    lines = [line for line in log.decode(errors="replace").splitlines() if line.startswith(REFUSED)]
    return brief(lines[-1].removeprefix(REFUSED), 300) if lines else ""
