"""What a trial costs as sweeps grow, and what recording in MLflow costs: whole commands, start-up included.

usage: python -m tests.bench.growth  (prints one JSON document)
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIZES, STEPS = (32, 128, 512, 2048), 500
RECORDED_TRIALS, RECORDED_STEPS, PAIRS = 96, 5000, 2

MUTE = """
import sys
from sweeps import record


class Mute:
    def __init__(self, *arguments):
        pass

    def send(self, lines):
        pass


record._Sender = Mute
from sweeps.cli import main
main()
"""
"""The command with everything in its place, but nothing sent to MLflow, nor MLflow imported."""


def wall_s(trials: int, steps: int, recording: bool = True) -> dict[str, Any]:
    """Run the names sweep in a home of its own; return its document and its wall time."""
    command = [sys.executable, "-m", "sweeps.cli"] if recording else [sys.executable, "-c", MUTE]
    settings = [f"trials={trials}", f"budget.steps={steps}", "search.sampler=random"]
    with tempfile.TemporaryDirectory() as home:
        begin = time.monotonic()
        done = subprocess.run(
            [*command, "run", "sweeps/library/names.yaml", "--json", "--home", home]
            + [part for s in settings for part in ("--set", s)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout) | {"wall_s": time.monotonic() - begin}


def growth() -> list[dict[str, Any]]:
    """Return the wall time by the number of trials, and what each trial beyond the smaller sweep took."""
    rows: list[dict[str, Any]] = []
    for trials in SIZES:
        ran = wall_s(trials, STEPS)
        row = {"trials": trials, "wall_s": ran["wall_s"], "a_trial_s": ran["wall_s"] / trials}
        if rows:
            row["a_further_trial_s"] = (ran["wall_s"] - rows[-1]["wall_s"]) / (trials - rows[-1]["trials"])
        rows.append(row)
    return rows


def recording() -> dict[str, Any]:
    """Return the wall time with MLflow and without, measured in turns."""
    pairs = [[wall_s(RECORDED_TRIALS, RECORDED_STEPS, on)["wall_s"] for on in (True, False)] for _ in range(PAIRS)]
    return {
        "on_s": statistics.median(on for on, _ in pairs),
        "off_s": statistics.median(off for _, off in pairs),
        "share": statistics.median(on / off - 1 for on, off in pairs),
    }


if __name__ == "__main__":
    print(json.dumps({"growth": growth(), "recording": recording()}))
