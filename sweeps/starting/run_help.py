"""Run a command with --help: within a limit of time, without a terminal or input, its output bounded and caught."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.foreign.process import TrialProcess
from espalier.core.foreign.programs import with_own_programs

LIMIT_S = 60.0  # imports of a large project on a slow disk
GRACE_S = 0.5  # from the request to end until it is killed
WAIT_S = 0.1  # between looks at one that says nothing
OUTPUT_MOST = 1 << 20  # bytes
WIDTH = 200  # columns: options and what is said on them then stand on one line


@dataclass(frozen=True)
class HelpRun:
    """What came of it. text: the output. problem: why that is no help, "" where it may be."""

    text: str
    problem: str = ""


def run_help(command: Sequence[str], limit_s: float = LIMIT_S) -> HelpRun:
    """Run a command with --help and end it, with all that it started, when it has ended or the time is up."""
    with tempfile.TemporaryDirectory(prefix="sweep-") as place:
        log = Path(place, "help")
        log.touch()
        process = TrialProcess.start([*command, "--help"], os.getcwd(), _environment(), GRACE_S)
        process.send("")
        process.log_to(log)
        try:
            why = _await_end(process, log, limit_s)
        finally:
            process.end()
            while process.exit is None:
                process.wait(WAIT_S)
                process.poll()
        output = log.read_bytes()[:OUTPUT_MOST].decode(errors="replace")
    if not why and process.exit.error:
        return HelpRun("", process.exit.error)
    if not why and process.exit.code:
        why = f"it ended with {process.exit.text}"
    return HelpRun(output, why)


def _environment() -> dict[str, str]:
    own = {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    variables = {**with_own_programs(os.environ), **own}
    return {**variables, "PYTHONUNBUFFERED": "1", "WANDB_MODE": "disabled", "PYTHONWARNINGS": "ignore"}


def _await_end(process: TrialProcess, log: Path, limit_s: float) -> str:
    """Wait until a process has ended; return why that was not waited for, "" if it was."""
    until = time.monotonic() + limit_s
    while process.exit is None:
        process.wait(WAIT_S)
        process.poll()
        if log.stat().st_size > OUTPUT_MOST:
            return "it printed more than 1 MiB"
        if process.exit is None and time.monotonic() > until:
            return f"it had not ended after {limit_s:g} s"
    return ""
