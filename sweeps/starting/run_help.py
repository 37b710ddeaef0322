"""Run a command with --help: within a limit of time, without a terminal or input, its output bounded and caught."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from espalier.core.foreign.programs import with_own_programs

LIMIT_S = 60.0  # imports of a large project on a slow disk
OUTPUT_MOST = 1 << 20  # bytes
WIDTH = 200  # columns: options and what is said on them then stand on one line


@dataclass(frozen=True)
class HelpRun:
    """What came of it. text: the output. problem: why that is no help, "" where it may be."""

    text: str
    problem: str = ""


def run_help(command: Sequence[str], limit_s: float = LIMIT_S) -> HelpRun:
    """Run a command with --help and end it, with all that it started in its session, when the time is up."""
    try:
        process = subprocess.Popen(
            [*command, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return HelpRun("", str(getattr(error, "strerror", None) or error))
    output, why = b"", ""
    try:
        output, why = _read(process, time.monotonic() + limit_s, limit_s)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()
    if not why and process.returncode and process.returncode != -signal.SIGKILL:
        why = f"it ended with exit code {process.returncode}"
    return HelpRun(output.decode(errors="replace"), why)


def _environment() -> dict[str, str]:
    own = {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    variables = {**with_own_programs(os.environ), **own}
    return {**variables, "PYTHONUNBUFFERED": "1", "WANDB_MODE": "disabled", "PYTHONWARNINGS": "ignore"}


def _read(process: "subprocess.Popen[bytes]", until: float, limit_s: float) -> tuple[bytes, str]:
    """Return the output, and why it was not read to its end."""
    assert process.stdout
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return output, f"it had not ended after {limit_s:g} s"
            if not selector.select(min(left, 0.1)):
                if process.poll() is not None:  # what it started may hold its output open
                    return output, ""
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return output, _await_end(process, until)
            output += chunk
            if len(output) > OUTPUT_MOST:
                return output[:OUTPUT_MOST], "it printed more than 1 MiB"


def _await_end(process: "subprocess.Popen[bytes]", until: float) -> str:
    try:
        process.wait(max(until - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return "it did not end"
    return ""
