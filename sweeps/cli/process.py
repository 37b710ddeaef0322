"""The process of the command: its warnings, and how it ends."""

import atexit
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from espalier.sweeps.cli.app import main


def command() -> None:
    """Be the command `sweep` of a process."""
    run_process(lambda: main(prog_name="sweep"))


def run_process(entry: Callable[[], object]) -> None:
    """Be a process, and end it as soon as `entry` exits: to take its modules apart would take Python two seconds."""
    codes: list[int] = []
    _show_warnings()
    atexit.register(_end, codes)  # before what others register, and so called after it
    try:
        entry()
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        machine = sys.modules.get("espalier.sweeps.running.machine")
        if machine and machine.starting():  # nothing can hurry it, and its processes die with the one that started them
            _end(codes)
        raise


def _show_warnings() -> None:
    """Show warnings where PYTHONWARNINGS=error or -W would raise them: Ray and MLflow warn, and would not start."""
    filters: Any = warnings.filters  # a list, which resetwarnings() empties
    others = [kind for kind in filters if kind[0] != "error"]
    warnings.resetwarnings()
    filters.extend(others)
    if wishes := os.environ.pop("PYTHONWARNINGS", ""):  # which Ray's processes obey
        actions = {wish: wish.partition(":")[0].strip() for wish in wishes.split(",")}
        if others := [wish for wish, action in actions.items() if not (action and "error".startswith(action))]:
            os.environ["PYTHONWARNINGS"] = ",".join(others)


def _end(codes: list[int]) -> None:
    """End the process with a code; without one (an error that was not foreseen) leave that to Python."""
    if codes:
        if logging := sys.modules.get("logging"):
            logging.shutdown()
        with suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(codes[0])
