"""The sweep names-sgd as a person would run it: `sweep run` in a process of its own, its wall time taken."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
AS_IT_IS = """
from espalier.sweeps.cli.app import main

main()
"""
UNRECORDED = (
    """
from espalier.sweeps.recording import sender
from espalier.sweeps.recording.records import TrialStarted


class Mute:
    def __init__(self, target, spool, feedback, store_damaged=False):
        self.spool, self.feedback = spool, feedback

    def is_outdated(self):
        return False

    def send(self, lines):
        for line in lines:
            if isinstance(line.record, TrialStarted):  # Optuna is not told of a trial before its run has a name
                self.feedback.link(line.trial, "not recorded")
            self.spool.acknowledge(line)


sender.RunWriter = Mute
sender.audit = lambda *everything: set()
"""
    + AS_IT_IS
)
"""The command with everything in its place, but nothing sent to MLflow, nor MLflow imported."""


def drawn(trials: int, steps: int) -> dict[str, Any]:
    """Return the settings of a sweep whose configurations are drawn at random, with four decay points an exponent."""
    fields = {"search.sampler": "random", "space.decay_points.branches": 4, "confirm": 0}
    return {"trials": trials, "budget.steps": steps, **fields}


def run(
    home: Path | str, settings: Mapping[str, Any], program: str = AS_IT_IS, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run the sweep with these settings; return its document, when it began and its wall time in seconds.

    program: Python that runs the command. environment: instead of this process's own.
    """
    command = [sys.executable, "-c", program, "run", "sweeps/library/names-sgd.yaml", "--json", "--home", str(home)]
    begin, began = time.monotonic(), time.time()
    done = subprocess.run(
        [*command, *(part for name, value in settings.items() for part in ("--set", f"{name}={value}"))],
        cwd=ROOT,
        env=os.environ if environment is None else environment,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    if not document["recorded"]:  # then it has also waited for a server
        raise RuntimeError(f"the sweep's records were not all taken: {done.stderr[-2000:]}")
    return document | {"wall_s": time.monotonic() - begin, "began": began}
