"""What records cost a sweep: MLflow over HTTP and Optuna in PostgreSQL, beside the stores of a home, beside none.

usage: python -m tests.bench.records  (prints one JSON document; needs Debian's postgresql)
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from espalier.services.local_stack import down, up
from tests.bench import command

TRIALS, STEPS, ROUNDS = 256, 4000, 1
WAYS = ("servers", "home", "off")

PROBE = """
import atexit, json, os, time
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.search import search

spent, inside = {}, []


def timed(owner, name):
    inner = getattr(owner, name)

    def call(*arguments, **named):
        begin = time.monotonic()
        inside.append(0.0)
        try:
            return inner(*arguments, **named)
        finally:
            took = time.monotonic() - begin
            spent[name] = spent.get(name, 0.0) + took - inside.pop()
            if inside:
                inside[-1] += took

    setattr(owner, name, call)


for name in ("flush", "audit", "close"):
    timed(Recorder, name)
for name in ("next_cohort", "hear"):
    timed(search.Search, name)
atexit.register(lambda: open(os.environ["SPENT"], "w").write(json.dumps(spent)))
"""
"""Goes before the command: takes the time that its driver waits for records and spends on the search, each alone."""


def run(way: str, servers: dict[str, str], trials: int, steps: int) -> dict[str, float]:
    """Run the names sweep in a home of its own; return its wall time and what of it the driver spent on what, in s."""
    known = {name: value for name, value in os.environ.items() if name not in servers}
    with tempfile.TemporaryDirectory() as folder:
        place = {"SPENT": f"{folder}/spent.json"}
        program = command.UNRECORDED if way == "off" else command.AS_IT_IS
        environment = known | place | (servers if way == "servers" else {})
        ran = command.run(f"{folder}/home", command.drawn(trials, steps), PROBE + program, environment)
        assert ran["recorded"]
        spent, wall = json.loads(Path(place["SPENT"]).read_text()), ran["wall_s"]
    waited, searched = spent["flush"] + spent["audit"] + spent["close"], spent["next_cohort"] + spent["hear"]
    return {"wall_s": wall, "waited_s": waited, "search_s": searched, "share": waited / wall}


def measure(trials: int = TRIALS, steps: int = STEPS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the medians of each way, measured in turns."""
    folder = Path(tempfile.mkdtemp(prefix="espalier-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        servers = up(folder, workers=0)
        for name in [name for name in servers if name.startswith(("RAY", "SWEEP_RAY"))]:
            del servers[name]
        found = [{way: run(way, servers, trials, steps) for way in WAYS} for _ in range(rounds)]
    finally:
        down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    ways = {way: {name: statistics.median(f[way][name] for f in found) for name in found[0][way]} for way in WAYS}
    return {"trials": trials, "steps": steps, "rounds": rounds, "ways": ways}


NAMES = {
    "servers": "MLflow over HTTP behind a login, artifacts in S3, Optuna in PostgreSQL",
    "home": "the stores of a home: MLflow on sqlite, Optuna in a journal",
    "off": "nothing sent to MLflow, Optuna in a journal",
}


def report(found: dict[str, Any], machine: str) -> str:
    """Return the report as Markdown."""
    ways = found["ways"]
    rows = "\n".join(
        f"| {NAMES[way]} | {w['wall_s']:.0f} | {w['waited_s']:.1f} | {w['share']:.1%} | {w['search_s']:.1f} |"
        for way, w in ways.items()
    )
    beside = ", ".join(f"{ways['servers']['wall_s'] / ways[way]['wall_s'] - 1:+.1%} beside {way}" for way in WAYS[1:])
    return f"""# {time.strftime("%Y-%m-%d")}: what records cost

{machine}
Command: `python -m tests.bench --only records`.

The names sweep, {found["trials"]} trials of {found["steps"]:,} steps, sampler random, {found["rounds"]} round(s) in
turns; wall time of whole commands. All servers run on the same machine as the sweep, and take their share of its cores.
*Waited* is what the driver spent waiting until records had arrived, while trials trained or after; *search* is what it
spent on Optuna: asking, telling, reports and attributes.

| records | wall, s | waited, s | share | search, s |
|---|---|---|---|---|
{rows}

Wall time with servers: {beside}.

## Not reported

Servers on another machine; several sweeps on one server.
"""


if __name__ == "__main__":
    print(json.dumps(measure()))
