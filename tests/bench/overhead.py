"""What a trial of a function or a command costs beside the bare script, both sides in one run.

usage: python -m tests.bench.overhead [--seconds 2 60] [--runs N]  (prints one JSON document)

The training is a small network's steps with a pause after each, so that it takes the same time however busy the
machine is. Bare: `python train.py`, one process after another. Swept: a sweep of one worker, so that its trials train
one after another too. A trial's time is that from the end of the one before to its own end, so the sweep's own start is
left out; it is measured by itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

STEPS, REPORTS = 200, 10
TRIALS = {2.0: 6, 60.0: 3}  # by the seconds that one trains
PROGRAM = """
import argparse
import time

import torch


def train(config, report):
    model = torch.nn.Linear(20, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    x = torch.randn(64, 20)
    for step in range(1, STEPS + 1):
        loss = (model(x).squeeze(1) - x.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(PAUSE)
        if step % (STEPS // REPORTS) == 0:
            report(step, valid_loss=loss.item())


def show(step, valid_loss):
    print(f"step {step}: val loss {valid_loss:.6f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    train(vars(parser.parse_args()), show)
"""
WAYS = {
    "function": {"function": "train.py:train"},
    "command": {
        "command": [sys.executable, "train.py", "${args}"],
        "results": {"pattern": r"step (?P<step>\d+): val loss (?P<valid_loss>\S+)"},
    },
}


def environment() -> dict[str, str]:
    """Return the environment of both sides."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def write_program(folder: Path, seconds: float) -> None:
    """Write the program that trains for so many seconds."""
    numbers = {"PAUSE": seconds / STEPS, "STEPS": STEPS, "REPORTS": REPORTS}
    head = "".join(f"{name} = {value!r}\n" for name, value in numbers.items())
    folder.joinpath("train.py").write_text(PROGRAM.lstrip().replace("\n\n\ndef train", f"\n\n{head}\n\ndef train", 1))


def bare_seconds(folder: Path, trials: int) -> list[float]:
    """Return how long each of some runs of the script takes."""
    times = []
    for _ in range(trials):
        begin = time.monotonic()
        subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment(), capture_output=True, check=True)
        times.append(time.monotonic() - begin)
    return times


def swept_seconds(folder: Path, way: str, trials: int) -> tuple[list[float], float]:
    """Return how long each trial of a sweep takes but the first, and how long the sweep takes beside its trials."""
    with tempfile.TemporaryDirectory() as home:
        fields = {
            "name": "overhead",
            "budget": {"steps": STEPS, "reports": REPORTS},
            "space": {"lr": {"low": 1e-3, "high": 1e-1, "log": True}},
            "search": {"sampler": "random"},
            "trials": trials,
            "resources": {"gpus": 0, "cpus": 1, "cohorts": 1},
        }
        folder.joinpath("sweep.yaml").write_text(yaml.safe_dump(fields | WAYS[way]))
        command = [sys.executable, "-m", "espalier.sweeps.cli", "run", "sweep.yaml", "--home", home]
        begin = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=True)
        whole = time.monotonic() - begin
        ends = sorted(file.stat().st_mtime for file in Path(home).glob("sweeps/*/trials/*/end.json"))
    times = [later - earlier for earlier, later in pairwise(ends)]
    return times, whole - trials * statistics.median(times)


def measure(seconds: Sequence[float], runs: int) -> list[dict[str, Any]]:
    """Return the medians of both sides, for each length of training and each way, the sides in turns."""
    rows = []
    for length in seconds:
        trials = TRIALS.get(length, 4)
        for way in WAYS:
            bare, swept, around = [], [], []
            for _ in range(runs):
                with tempfile.TemporaryDirectory() as place:
                    write_program(Path(place), length)
                    bare += bare_seconds(Path(place), trials - 1)
                    times, rest = swept_seconds(Path(place), way, trials)
                    swept += times
                    around.append(rest)
            one, other = statistics.median(bare), statistics.median(swept)
            rows.append(
                {
                    "seconds": length,
                    "way": way,
                    "bare_s": one,
                    "swept_s": other,
                    "overhead_s": other - one,
                    "ratio": other / one,
                    "trials": len(swept),
                    "bare_range_s": [min(bare), max(bare)],
                    "swept_range_s": [min(swept), max(swept)],
                    "around_s": statistics.median(around),
                    "load": os.getloadavg()[0],
                }
            )
    return rows


def report(rows: Sequence[dict[str, Any]], text: str) -> str:
    """Return the report as Markdown."""
    lines = [
        f"| {row['way']} | {row['seconds']:g} | {row['bare_s']:.2f} ({row['bare_range_s'][0]:.2f}-"
        f"{row['bare_range_s'][1]:.2f}) | {row['swept_s']:.2f} ({row['swept_range_s'][0]:.2f}-"
        f"{row['swept_range_s'][1]:.2f}) | {row['overhead_s']:+.2f} | {row['ratio']:.3f} | {row['trials']} | "
        f"{row['around_s']:.1f} | {row['load']:.1f} |"
        for row in rows
    ]
    table = "\n".join(lines)
    return f"""# {date.today()}: a trial of one's own code beside the bare script

{text}

Goal: at most 1.5 s a trial, and at most 3 % from 60 s on. Each row is the median over trials, with the least and the
most in brackets. The bare script imports torch, trains and ends, one process after another. A trial's time is that from
the end of the one before it to its own. The last columns: what the sweep takes beside its trials (Ray's start, records,
its end), and the load of the machine.

| way | training, s | bare, s | swept, s | overhead a trial, s | ratio | trials | beside the trials, s | load |
|---|---|---|---|---|---|---|---|---|
{table}

Not reported: GPUs; several trials at once; code that is slow to import.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, nargs="+", default=list(TRIALS))
    parser.add_argument("--runs", type=int, default=1)
    wanted = parser.parse_args()
    print(json.dumps(measure(wanted.seconds, wanted.runs), indent=2))
