"""What a person waits for: `sweep --help`, and the first result on screen."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def help_seconds(runs: int = 7) -> list[float]:
    """Return the wall time of `sweep --help`, each run a process."""
    times = []
    for _ in range(runs):
        begin = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "espalier.sweeps.cli", "--help"], cwd=ROOT, capture_output=True, check=True
        )
        times.append(time.monotonic() - begin)
    return times


def first_result_seconds(runs: int = 3) -> tuple[list[float], list[float]]:
    """Return the times from the command to the first loss, and to the first validation, on screen; fresh homes."""
    losses, validations = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as home:
            command = [
                sys.executable,
                "-m",
                "espalier.sweeps.cli",
                "run",
                "sweeps/library/names.yaml",
                "--json",
                "--home",
                home,
            ]
            begin = time.monotonic()
            with subprocess.Popen(
                [*command, "--set", "trials=16"], cwd=ROOT, stdout=DEVNULL, stderr=PIPE, text=True
            ) as run:
                assert run.stderr
                for line in run.stderr:
                    if "best: train_loss" in line and len(losses) == len(validations):
                        losses.append(time.monotonic() - begin)
                    if "best: valid_loss" in line:
                        validations.append(time.monotonic() - begin)
                        losses += validations[len(losses) :]  # it came with the first validation
                        break
                run.terminate()
                run.communicate()
    return losses, validations


def measure() -> dict[str, Any]:
    """Return all, as medians with their range."""
    losses, validations = first_result_seconds()
    spread = {"help_s": help_seconds(), "first_loss_s": losses, "first_result_s": validations}
    return {name: {"median": statistics.median(v), "least": min(v), "most": max(v)} for name, v in spread.items()}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
