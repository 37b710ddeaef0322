"""Trials per hour, and the time to the peer's best: this project against plain Ray Tune with OptunaSearch.

Both sides are given the same configurations. For trials per hour both train each to its end; in the race to the best
both stop early, each in its own way.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from espalier.sweeps.search.store import SweepStore
from tests.bench import command


def drawn(trials: int, steps: int, branches: int) -> dict[str, Any]:
    """Return the settings of a sweep drawn at random, with so many decay points an exponent."""
    return command.drawn(trials, steps) | {"space.decay_points.branches": branches}


def peer(configurations: list[dict[str, float]], steps: int, *options: str) -> dict[str, Any]:
    """Run the same configurations on the other side, in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(configurations, file)
        file.flush()
        begin = time.monotonic()
        words = [sys.executable, "-m", "tests.bench.peer", file.name, str(steps), *options]
        done = subprocess.run(words, cwd=command.ROOT, capture_output=True, text=True, check=True)
        document = json.loads(done.stdout.strip().splitlines()[-1])
        return document | {"wall_s": time.monotonic() - begin}


def race(trials: int = 128, steps: int = 5000, branches: int = 4) -> dict[str, Any]:
    """Return when the peer with ASHA had its best validation loss, and when this side had one as good."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        mine = command.run(home, drawn(trials, steps, branches) | {"stopping": "{}"})
        results = SweepStore.open(str(home / "optuna.journal")).find(mine["sweep"]).results()
        spool = (home / "sweeps" / mine["sweep"] / "spool.jsonl").read_text().splitlines()
    points = [{"lr_exponent": t.params["lr_exponent"], "decay_point": t.params["decay_points"][0]} for t in results]
    theirs = peer(points, steps, "--asha")
    said = [line for line in map(json.loads, spool) if line["op"] == "report"]
    losses = [(line["time"] / 1000, v) for line in said for name, _, v in line["points"] if name == "valid_loss"]
    reached = min((at for at, loss in losses if loss <= theirs["best"]), default=math.nan)
    return {
        "trials": trials,
        "steps": steps,
        "peer_best": theirs["best"],
        "peer_best_s": theirs["best_s"],
        "peer_s": theirs["wall_s"],
        "our_best": mine["best"]["valid_loss"],
        "our_best_s": reached - mine["began"],
        "our_s": mine["wall_s"],
        "states": mine["states"],
        "ratio": theirs["best_s"] / (reached - mine["began"]),
    }


def compare(trials: int = 96, steps: int = 10_000, branches: int = 4) -> dict[str, Any]:
    """Return both sides' wall time for the same work, each with MLflow and without, and how far their losses differ."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        mine = command.run(home, drawn(trials, steps, branches))
        results = SweepStore.open(str(home / "optuna.journal")).find(mine["sweep"]).results()
    with tempfile.TemporaryDirectory() as folder:
        unrecorded = command.run(folder, drawn(trials, steps, branches), command.UNRECORDED)
    points = [{"lr_exponent": t.params["lr_exponent"], "decay_point": t.params["decay_points"][0]} for t in results]
    theirs = peer(points, steps)
    recorded = peer(points, steps, "--mlflow")
    apart = [
        abs(t.value - theirs["losses"][json.dumps([t.params["lr_exponent"], t.params["decay_points"][0]])])
        for t in results
        if t.value is not None
    ]
    return {
        "trials": trials,
        "steps": steps,
        "branches": branches,
        "ours_s": mine["wall_s"],
        "ours_unrecorded_s": unrecorded["wall_s"],
        "peer_s": theirs["wall_s"],
        "peer_recorded_s": recorded["wall_s"],
        "first_result_s": mine["first_result_s"],
        "lane_steps": mine["lane_steps"],
        "steps_shared": mine["steps_shared"],
        "losses_apart_median": statistics.median(apart),
        "losses_apart_most": max(apart),
    }
