"""Commands on a sweep by a process of its owner's user, since they read or write files that their job has written."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.core.own import SEARCH_PATH
from espalier.services.isolation.confine import entrance

BEST_MOST, BEST_S = 2**22, 60.0  # limits of such a best file: bytes and seconds


def enqueue_as_owner(
    home: Path,
    sweep: str,
    points: Sequence[Mapping[str, object]],
    other: str | None,
    top: int,
    extended: Mapping[str, float],
    environment: Mapping[str, str],
) -> int:
    """Add points to a sweep in an owner's home, and the best ones of another; return how many. Raises BadInput.

    extended: how much the sweep's next job is to come to in all, by its unit; {} for what is stored.
    """
    chosen = ["--from", other, "--top", str(top)] if other else []
    chosen += ["--extended", json.dumps(dict(extended))] if extended else []
    texts = [json.dumps(dict(point)) for point in points]
    text = _said_as_owner(home, ["enqueue", sweep, *chosen, "--", *texts], environment)
    (count,) = re.findall(r"^added (\d+) point", text)[:1] or [str(len(texts))]
    return int(count)


def best_file_as_owner(home: Path, sweep: str, trial: int | None, environment: Mapping[str, str]) -> str:
    """Return the best file of a sweep in an owner's home. Raises BadInput.

    environment: the variables of this owner's jobs.
    """
    return _said_as_owner(home, ["best", sweep, *([] if trial is None else ["--trial", str(trial)])], environment)


def _said_as_owner(home: Path, words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what `sweep ...` prints on a home, run by its owner's user. Raises BadInput with its last line."""
    name, *others = words
    command = [sys.executable, "-s", "-m", "espalier.sweeps.cli", name, "--home", str(home), *others]
    env = dict(environment) | {"PYTHONPATH": str(SEARCH_PATH), "COLUMNS": "200"}
    code, text, last = output_of(entrance(home, command), env)
    if code:
        raise BadInput(last.removeprefix("sweep: ") or f"sweep {name} of {others[0]} failed")
    return text


def output_of(
    command: Sequence[str],
    env: Mapping[str, str],
    most: int = BEST_MOST,
    seconds: float = BEST_S,
    what: str = "the best file",
) -> tuple[int, str, str]:
    """Run an untrusted command; return its exit code, its output as text, and the last line of its stderr.

    Raises BadInput as `bytes_of` does.
    """
    code, written, last = bytes_of(command, env, most, seconds, what)
    return code, written.decode(errors="replace"), last


def bytes_of(
    command: Sequence[str], env: Mapping[str, str], most: int, seconds: float, what: str
) -> tuple[int, bytes, str]:
    """Run an untrusted command; return its exit code, its output, and the last line of its stderr.

    Raises BadInput, naming `what` it makes, if it takes longer than `seconds`, or writes more than `most` bytes.
    """
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command, cwd=SEARCH_PATH, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process:
            late = threading.Timer(seconds, process.kill)
            late.start()
            try:
                assert process.stdout
                text = process.stdout.read(most + 1)
                if len(text) <= most:
                    process.wait()
            finally:
                process.kill()
                late.cancel()
        if len(text) > most:
            raise BadInput(f"{what} has more than {most:,} bytes")
        if process.returncode == -signal.SIGKILL:
            raise BadInput(f"{what} took more than {seconds:g} s")
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return process.returncode, text, lines[-1] if lines else ""
