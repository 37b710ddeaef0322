"""Trials per hour: this project against plain Ray Tune with OptunaSearch, the same configurations to the same steps."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sweeps.search import find_sweep, open_storage, trial_results

ROOT = Path(__file__).resolve().parents[2]


def ours(home: Path, trials: int, steps: int) -> dict[str, Any]:
    """Run the command as a person would, on configurations drawn at random; return its document and its wall time."""
    command = [sys.executable, "-m", "sweeps.cli", "run", "sweeps/library/names.yaml", "--json", "--home", str(home)]
    settings = [f"trials={trials}", f"budget.steps={steps}", "search.sampler=random"]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, *(part for s in settings for part in ("--set", s))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    return document | {"wall_s": time.monotonic() - begin}


def peer(configurations: list[dict[str, float]], steps: int) -> dict[str, Any]:
    """Run the same configurations on the other side, in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(configurations, file)
        file.flush()
        begin = time.monotonic()
        command = [sys.executable, "-m", "tests.bench.peer", file.name, str(steps)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        document = json.loads(done.stdout.strip().splitlines()[-1])
        return document | {"wall_s": time.monotonic() - begin}


def compare(trials: int = 96, steps: int = 10_000) -> dict[str, Any]:
    """Return both sides' wall time for the same work, and how far their final losses lie apart."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        mine = ours(home, trials, steps)
        results = trial_results(find_sweep(open_storage(str(home / "optuna.journal")), mine["sweep"]))
    points = [{"lr_exponent": t.params["lr_exponent"], "decay_point": t.params["decay_points"][0]} for t in results]
    theirs = peer(points, steps)
    apart = [
        abs(t.value - theirs["losses"][json.dumps([t.params["lr_exponent"], t.params["decay_points"][0]])])
        for t in results
        if t.value is not None
    ]
    return {
        "trials": trials,
        "steps": steps,
        "ours_s": mine["wall_s"],
        "peer_s": theirs["wall_s"],
        "ratio": theirs["wall_s"] / mine["wall_s"],
        "first_result_s": mine["first_result_s"],
        "lane_steps": mine["lane_steps"],
        "steps_shared": mine["steps_shared"],
        "losses_apart_median": statistics.median(apart),
        "losses_apart_most": max(apart),
    }
