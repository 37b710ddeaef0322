"""The process of the command: its warnings and its exit."""

import atexit
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from espalier.sweeps.cli.app import main


def command() -> None:
    """Run the command `sweep`: the entry point."""
    run_process(lambda: main(prog_name="sweep"))


def run_process(entry: Callable[[], object]) -> None:
    """Run `entry` and end the process at once when it exits: Python's teardown of modules would take two seconds."""
    codes: list[int] = []
    _show_warnings()
    atexit.register(_end, codes)  # registered first, so called last
    try:
        entry()
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        machine = sys.modules.get("espalier.sweeps.running.machine")
        if machine and machine.starting():  # it takes long, and its processes end with the one that started them
            _end(codes)
        raise


def _show_warnings() -> None:
    """Show warnings where PYTHONWARNINGS=error or -W would raise them: Ray and MLflow emit some when they start."""
    filters: Any = warnings.filters  # a list, which resetwarnings() empties
    others = [kind for kind in filters if kind[0] != "error"]
    warnings.resetwarnings()
    filters.extend(others)
    if wishes := os.environ.pop("PYTHONWARNINGS", ""):  # inherited by Ray's processes
        actions = {wish: wish.partition(":")[0].strip() for wish in wishes.split(",")}
        if others := [wish for wish, action in actions.items() if not (action and "error".startswith(action))]:
            os.environ["PYTHONWARNINGS"] = ",".join(others)


def _end(codes: list[int]) -> None:
    """End the process with an exit code; without one (an unexpected error) leave that to Python."""
    if codes:
        if logging := sys.modules.get("logging"):
            logging.shutdown()
        with suppress(OSError):  # the reader of the pipe has gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(codes[0])
