"""What a trial costs as sweeps grow, and what recording in MLflow costs: whole commands, start-up included.

usage: python -m tests.bench.growth  (prints one JSON document)
"""

import json
import statistics
import tempfile
from typing import Any

from tests.bench import command

SIZES, STEPS = (32, 128, 512, 2048), 500
RECORDED_TRIALS, RECORDED_STEPS, PAIRS = 96, 5000, 2


def wall_s(trials: int, steps: int, program: str = command.AS_IT_IS) -> float:
    """Run the names sweep in a home of its own; return its wall time."""
    with tempfile.TemporaryDirectory() as home:
        return command.run(home, command.drawn(trials, steps), program)["wall_s"]


def growth() -> list[dict[str, Any]]:
    """Return the wall time by the number of trials, and what each trial beyond the smaller sweep took."""
    rows: list[dict[str, Any]] = []
    for trials in SIZES:
        wall = wall_s(trials, STEPS)
        row = {"trials": trials, "wall_s": wall, "a_trial_s": wall / trials}
        if rows:
            row["a_further_trial_s"] = (wall - rows[-1]["wall_s"]) / (trials - rows[-1]["trials"])
        rows.append(row)
    return rows


def recording() -> dict[str, Any]:
    """Return the wall time with MLflow and without, measured in turns."""
    ways = command.AS_IT_IS, command.UNRECORDED
    pairs = [[wall_s(RECORDED_TRIALS, RECORDED_STEPS, way) for way in ways] for _ in range(PAIRS)]
    return {
        "on_s": statistics.median(on for on, _ in pairs),
        "off_s": statistics.median(off for _, off in pairs),
        "share": statistics.median(on / off - 1 for on, off in pairs),
    }


if __name__ == "__main__":
    print(json.dumps({"growth": growth(), "recording": recording()}))
