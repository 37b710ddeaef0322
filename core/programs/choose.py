"""Choose the program that trains a cohort, with a reason."""

from collections.abc import Callable

from espalier.core.deadline import TooLong
from espalier.core.loading.registry import is_reference
from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.task import Batch, Task

NATIVE_FROM = 20_000  # steps of trials in a cohort: to compile takes 1-2 s, once, and saves 80 us a lane and step
COMPILE_FROM = 1_000_000  # steps of trials in a cohort: compiling takes 10-17 s, and saves 40-80 us a lane and step
NAMED = "as the spec says"


def hidden_state_reason(task: Task, batch: Batch, valid: Batch | None = None) -> str:
    """Return a sentence on the Python state that a task's loss depends on; "" if there is none. Trains nothing."""
    return PROGRAMS["plain"](task, SGD()).hidden(batch, batch if valid is None else valid).reason


def why_not(program: str, task: Task, batch: Batch) -> str | None:
    """Return why a program cannot train a task on this machine, or None if it can. Trains nothing.

    It tries a step of plain SGD on that batch.
    """
    return PROGRAMS[program](task, SGD()).why_not(batch, len(batch[0]))


def choose(
    task: Task,
    batch: Batch,
    lanes: int,
    wanted: str = "auto",
    work: int = 0,
    device: str = "cpu",
    why_not_native: Callable[[], str | None] | None = None,
    hidden: str | None = None,
) -> tuple[str, str]:
    """Choose a cohort's program, with a reason: `wanted` if it can train the task, else the one that suits the work.

    lanes: how many may train at once. work: the steps of all trials of the cohort together.
    why_not_native: returns why the cohort's step cannot be machine code; without it a step of plain SGD is tried.
    hidden: the result of `hidden_state_reason`, if it is known.
    """
    if wanted == "plain" or (is_reference(wanted) and PROGRAMS[wanted].min_width == 1):
        return wanted, NAMED
    if reason := hidden_state_reason(task, batch) if hidden is None else hidden:
        return "plain", f"one lane at a time: {reason}"
    try:
        if is_reference(wanted):
            reason = why_not(wanted, task, batch)
            return ("plain", f"one lane at a time: {wanted} cannot train it ({reason})") if reason else (wanted, NAMED)
        return _chosen(task, batch, lanes, wanted, work, device, why_not_native)
    except TooLong as error:
        return "plain", f"one lane at a time: to try another program was given up, {error}"


def _chosen(
    task: Task,
    batch: Batch,
    lanes: int,
    wanted: str,
    work: int,
    device: str,
    why_not_native: Callable[[], str | None] | None,
) -> tuple[str, str]:
    if wanted == "vmap":
        return wanted, NAMED
    if wanted == "captured" and device == "cpu":
        return "vmap", "there is no GPU here whose graph could be captured"
    if wanted == "native" and device != "cpu":
        return "captured", "machine code is for CPUs"
    without = ""
    if wanted == "native" or (wanted == "auto" and device == "cpu" and work >= NATIVE_FROM):
        reason = why_not_native() if why_not_native else why_not("native", task, batch)
        if reason is None:
            return "native", NAMED if wanted == "native" else f"{work:,} steps of trials ahead"
        without = f"; there is no machine code for it ({reason})"
    if wanted in ("auto", "native") and lanes == 1:
        return "plain", f"one lane{without}"
    if reason := why_not("vmap", task, batch):
        return "plain", f"one lane at a time, since the model cannot run under vmap ({reason})"
    if wanted == "captured" or (wanted == "auto" and device != "cpu"):
        return "captured", NAMED if wanted == "captured" else "many lanes in one CUDA graph"
    if wanted == "native" or (wanted == "auto" and work < COMPILE_FROM):
        return "vmap", f"many lanes{without}"
    if reason := why_not("compiled", task, batch):
        return "vmap", f"many lanes; they cannot be compiled ({reason})"
    return "compiled", NAMED if wanted == "compiled" else f"{work:,} steps of trials ahead{without}"
