"""Run the benchmarks and write a dated report.

usage: python -m tests.bench [--trials N] [--steps N] [--runs N] [--note TEXT]
"""

import argparse
import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import startup, trials_per_hour

REPORTS = Path(__file__).parent / "reports"


def machine() -> str:
    """Return the machine in words."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}"


def report(compared: list[dict[str, Any]], waits: dict[str, Any], command: str, note: str) -> str:
    """Return the report as Markdown."""
    first = compared[0]
    parts = ("torch", "ray", "optuna", "mlflow", "numpy")
    rows = "\n".join(
        f"| {i + 1} | {c['ours_s']:.1f} | {c['peer_s']:.1f} | {c['ratio']:.2f} "
        f"| {c['trials'] / c['ours_s'] * 3600:,.0f} | {c['trials'] / c['peer_s'] * 3600:,.0f} "
        f"| {c['losses_apart_median']:.1e} | {c['losses_apart_most']:.1e} |"
        for i, c in enumerate(compared)
    )
    ratio = statistics.median(c["ratio"] for c in compared)
    return f"""# {date.today()}: trials per hour, and what a person waits for

Machine: {machine()}; shared with others. Versions: {", ".join(f"{p} {version(p)}" for p in parts)}.
Command: `{command}`. {note}

## Trials per hour

The names network (embedding 10, hidden 200; 11,897 parameters), batch 32, {first["trials"]}
trials of {first["steps"]:,} steps, 4 decay points an exponent, the same configurations on both sides, ten validations
a trial of 20,000 examples.
Peer: Ray Tune with OptunaSearch, one trial per process, actors reused, one thread, two trials at a time, plain
PyTorch loop (tests/bench/peer.py). Wall time of whole commands, start-up included; ours records in MLflow, the peer
writes Tune's own logs.

| run | ours, s | peer, s | ratio | ours, trials/h | peer, trials/h | losses apart, median | most |
|---|---|---|---|---|---|---|---|
{rows}

Median ratio: **{ratio:.2f}**. Ours trained {first["lane_steps"]:,} lane-steps and shared {first["steps_shared"]:,}.

## Waiting

| what | median, s | least | most |
|---|---|---|---|
| `sweep --help` | {waits["help_s"]["median"]:.2f} | {waits["help_s"]["least"]:.2f} | {waits["help_s"]["most"]:.2f} |
| first validation on screen | {waits["first_result_s"]["median"]:.1f} | {waits["first_result_s"]["least"]:.1f} | \
{waits["first_result_s"]["most"]:.1f} |

## Not reported

GPUs; other models; ASHA on the peer's side; sharing switched off; more than two cores.
"""


def main() -> None:
    """Measure, print the report, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--note", default="")
    wanted = parser.parse_args()
    waits = startup.measure()
    compared = [trials_per_hour.compare(wanted.trials, wanted.steps) for _ in range(wanted.runs)]
    command = f"python -m tests.bench --trials {wanted.trials} --steps {wanted.steps} --runs {wanted.runs}"
    text = report(compared, waits, command, wanted.note)
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / f"{date.today()}-trials-per-hour.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
