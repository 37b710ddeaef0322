"""Run the benchmarks and write a dated report of each.

usage: python -m tests.bench [NAME | --only NAME] [--trials N] [--steps N] [--runs N] [--home DIR]
       [--note TEXT] [--repetitions N] [--tables DIR] [--jobs N]
       [--seeds N]

`search` and `answers` replay searches over tables of trained trials, so that a sweep takes seconds; `real` trains three
sweeps by each of them, which takes ten minutes.
"""

import argparse
import os
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from espalier.core.training.comparison import COMPARE_EVERY
from tests.bench import (
    answers,
    growth,
    mlflow_pages,
    overhead,
    ready,
    real,
    records,
    service,
    startup,
    stopping,
    trials_per_hour,
)
from tests.bench.processes import machine, one_thread
from tests.bench.search.benchmark import benchmark

NAMES = ("trials-per-hour", "race", "engine", "stopping", "search", "real", "growth", "ready", "records", "service")
NAMES += ("overhead", "mlflow", "answers")
REPORTS = Path(__file__).parent / "reports"
TABLES = Path(__file__).parent / "search" / "tables"


RECORDS = (  # recorded in MLflow by whom, and both sides' times of that
    ("both", "ours_s", "peer_recorded_s"),
    ("ours alone", "ours_s", "peer_s"),
    ("neither", "ours_unrecorded_s", "peer_s"),
)


def report(compared: list[dict[str, Any]], waits: dict[str, Any], command: str, note: str) -> str:
    """Return the report as Markdown."""
    first = compared[0]
    parts = ("torch", "ray", "optuna", "mlflow", "numpy")
    rows, ratios = [], {way: [] for way, _, _ in RECORDS}
    for number, c in enumerate(compared, 1):
        for way, mine, theirs in RECORDS:
            ratios[way].append(c[theirs] / c[mine])
            hourly = " | ".join(f"{c['trials'] / c[side] * 3600:,.0f}" for side in (mine, theirs))
            rows.append(f"| {number} | {way} | {c[mine]:.1f} | {c[theirs]:.1f} | {ratios[way][-1]:.2f} | {hourly} |")
    medians = ", ".join(f"{statistics.median(found):.2f} recorded by {way}" for way, found in ratios.items())
    apart = [statistics.median(c[f"losses_apart_{which}"] for c in compared) for which in ("median", "most")]
    return f"""# {date.today()}: trials per hour, and what a person waits for

Machine: {machine()}; shared with others. Versions: {", ".join(f"{p} {version(p)}" for p in parts)}.
Command: `{command}`. {note}

## Trials per hour

The names network (embedding 10, hidden 200; 11,897 parameters), batch 32, {first["trials"]}
trials of {first["steps"]:,} steps, {first["branches"]} decay points an exponent, the same configurations on both sides,
ten validations a trial of 20,000 examples.
Peer: Ray Tune with OptunaSearch, one trial per process, actors reused, one thread, two trials at a time, plain
PyTorch loop (tests/bench/peer.py). Wall time of whole commands, start-up included. Records: in MLflow on sqlite by
either side (ours a run with its curve of 100 losses, ratios and story; the peer's by Ray's MLflowLoggerCallback, a run
with ten validations); Tune's own logs on the peer's side.

| run | recorded in MLflow by | ours, s | peer, s | ratio | ours, trials/h | peer, trials/h |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Median ratios: **{medians}**. Ours trained {first["lane_steps"]:,} lane-steps and shared {first["steps_shared"]:,}.
Final losses of the two sides are {apart[0]:.1e} apart (median), {apart[1]:.1e} at most.

## Waiting

| what | median, s | least | most |
|---|---|---|---|
| `sweep --help` | {waits["help_s"]["median"]:.2f} | {waits["help_s"]["least"]:.2f} | {waits["help_s"]["most"]:.2f} |
| first loss on screen | {waits["first_loss_s"]["median"]:.1f} | {waits["first_loss_s"]["least"]:.1f} | \
{waits["first_loss_s"]["most"]:.1f} |
| first validation on screen | {waits["first_result_s"]["median"]:.1f} | {waits["first_result_s"]["least"]:.1f} | \
{waits["first_result_s"]["most"]:.1f} |

## Not reported

GPUs; other models; ASHA on the peer's side; sharing switched off; more than two cores.
"""


def race_report(raced: list[dict[str, Any]], command: str, note: str) -> str:
    """Return the report of the race to the peer's best as Markdown."""
    first = raced[0]
    rows = "\n".join(
        f"| {i + 1} | {r['peer_best']:.5f} | {r['peer_best_s']:.0f} | {r['peer_s']:.0f} | {r['our_best_s']:.1f} "
        f"| {r['our_best']:.5f} | {r['our_s']:.0f} | {r['ratio']:.2f} |"
        for i, r in enumerate(raced)
    )
    parts = ("torch", "ray", "optuna", "mlflow")
    ratio = statistics.median(r["ratio"] for r in raced)
    return f"""# {date.today()}: the time to the best loss that the peer finds with ASHA

Machine: {machine()}; shared with others. Versions: {", ".join(f"{p} {version(p)}" for p in parts)}.
Command: `{command} --only race`. {note}

{first["trials"]} configurations of the names network, {first["steps"]:,} steps, ten validations a trial, both sides
the same. Peer: Ray Tune with OptunaSearch and its ASHAScheduler (defaults), actors reused, two trials at a time, one
thread each (tests/bench/peer.py --asha). Ours: `stopping: {{}}`. Seconds from the command, start-up included.

| run | peer's best | found after, s | peer ends, s | as good here after, s | best here | ends, s | ratio |
|---|---|---|---|---|---|---|---|
{rows}

Median ratio: **{ratio:.2f}**. Ours ended with {first["states"]}.

## Not reported

GPUs; other models; a peer whose ASHA is tuned.
"""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def growth_report(grown: dict[str, Any], asked: dict[str, Any], note: str) -> str:
    """Return the report of what a trial costs beside its training as Markdown."""
    rows = "\n".join(
        f"| {r['trials']:,} | {r['wall_s']:.0f} | {r['a_trial_s']:.3f} | {_number(r.get('a_further_trial_s'))} |"
        for r in grown["growth"]
    )
    rates = "\n".join(f"| {name.replace(', ', ' | ')} | {rate:,.0f} |" for name, rate in asked["per_second"].items())
    recording, parts = grown["recording"], ("torch", "ray", "optuna", "mlflow")
    return f"""# {date.today()}: what a trial costs beside its training

Machine: {machine()}; shared with others. Versions: {", ".join(f"{p} {version(p)}" for p in parts)}.
Command: `python -m tests.bench --only growth`. {note}

## As sweeps grow

The names sweep with {growth.STEPS} steps a trial, sampler random; wall time of whole commands.

| trials | s | s a trial | s a further trial |
|---|---|---|---|
{rows}

## MLflow on and off

{growth.RECORDED_TRIALS} trials of {growth.RECORDED_STEPS:,} steps: on {recording["on_s"]:.1f} s,
off {recording["off_s"]:.1f} s, {recording["share"]:+.1%}. *Off* has everything in its place but sends nothing, and does
not import MLflow.

## Suggestions a second after {asked["finished"]:,} finished trials

Asked in cohorts of {asked["cohort"]}, from a journal on disk.

| sampler | decay points an exponent | suggestions a second |
|---|---|---|
{rates}
"""


def engine_report(found: dict[str, Any], note: str) -> str:
    """Return the engine's report as Markdown."""
    width, ratios = found["by_width"], found["ratios"]
    ways = ("on_one_trunk", "side_by_side", "one_by_one", "by_pytorch")
    together, beside, alone, eager = (found["trunk"][f"{way}_s"] for way in ways)
    tables = []
    for name, model in width["models"].items():
        widths = sorted({int(lanes) for times in model["us"].values() for lanes in times})
        rows = "\n".join(
            f"| {kind} | " + " | ".join(f"{times[str(k)]:.0f}" if str(k) in times else "" for k in widths) + " |"
            for kind, times in model["us"].items()
        )
        best = min(min(times.values()) for times in model["us"].values())
        tables.append(
            f"### {name}: the floor is {model['floor']:.1f} us, {model['floor'] / best:.0%} of the best time\n\n"
            f"| program | {' | '.join(map(str, widths))} |\n|{'---|' * (len(widths) + 1)}\n{rows}\n"
        )
    return f"""# {date.today()}: the engine on one core

Machine: {machine()}; shared with others. Versions: torch {version("torch")}, numpy {version("numpy")}.
Command: `python -m tests.bench --only engine`. {note}

## Microseconds a lane and step, by program and number of lanes

The names network at three sizes, batch 32, SGD, ratios every 200 steps. The floor is the larger of its products at the
rate of a large one ({width["gflops"]:.0f} GFLOP/s here) and its parameters at the rate of a large copy
({width["gbytes"]:.0f} GB/s).

{chr(10).join(tables)}
## Eight decay points

On one trunk {together:.1f} s. Eight runs that share nothing, side by side as lanes: {beside:.1f} s
({beside / together:.2f} times as long); one by one: {alone:.1f} s ({alone / together:.2f} times), all of these by
machine code; one by one by PyTorch's own autograd (`plain`): {eager:.1f} s ({eager / together:.2f} times). Decay points
at 40-90 % of 4,000 steps, ten validations each.

## Ratios

On {ratios["on_us"]:.1f} us, off {ratios["off_us"]:.1f} us a lane-step at 32 lanes of machine code:
{ratios["share"]:+.1%}.

## A lane's step held against PyTorch's own

{found["comparing"]["us"]:,.0f} us every {COMPARE_EVERY:,} lane-steps of {found["comparing"]["step_us"]:.1f} us:
{found["comparing"]["share"]:.2%}.

## Not reported

GPUs; two processes at once; other optimizers and batch sizes; the time of compiling.
"""


def write(name: str, text: str) -> None:
    """Write a dated report, and print it."""
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / f"{date.today()}-{name}.md").write_text(text)
    print(text)


def main() -> None:
    """Measure, print the reports, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--only", choices=NAMES, help="the same")
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--branches", type=int, default=4, help="decay points an exponent; 1: nothing is shared")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument(
        "--home",
        help="of the ready sweeps: kept there, and those that it has whole are not run again; of mlflow: see there",
    )
    parser.add_argument("--repetitions", type=int, default=50, help="of each search, on each table")
    parser.add_argument("--tables", default=str(TABLES), help="a folder of those that searches are replayed over")
    parser.add_argument("--seeds", type=int, default=5, help="of each search, in each of the real sweeps")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once, of the search")
    parser.add_argument("--note", default="")
    wanted = parser.parse_args()
    wanted.only = wanted.only or wanted.what
    work = wanted.trials, wanted.steps, wanted.branches
    options = f"--trials {wanted.trials} --steps {wanted.steps} --branches {wanted.branches} --runs {wanted.runs}"
    timed = f"python -m tests.bench {options}"
    if wanted.only in (None, "engine"):
        write("engine", engine_report(one_thread("engine"), wanted.note))
    if wanted.only in (None, "ready"):
        parts = ", ".join(f"{part} {version(part)}" for part in ("torch", "ray", "optuna", "mlflow", "scikit-learn"))
        head = f"# {date.today()}: the ready sweeps\n\nMachine: {machine()}. Versions: {parts}.\n"
        text = f"{head}Command: `python -m tests.bench ready`. {wanted.note}".rstrip()
        write("ready", ready.report(one_thread("ready", *([wanted.home] if wanted.home else [])), text))
    if wanted.only in (None, "growth"):
        write("growth", growth_report(one_thread("growth"), one_thread("asking"), wanted.note))
    if wanted.only in (None, "records"):
        parts = ", ".join(f"{part} {version(part)}" for part in ("torch", "ray", "optuna", "mlflow"))
        text = f"Machine: {machine()}; shared with others. Versions: {parts}. {wanted.note}"
        write("records", records.report(one_thread("records"), text))
    if wanted.only in (None, "mlflow"):
        parts = ", ".join(f"{part} {version(part)}" for part in ("mlflow", "torch", "ray", "optuna"))
        text = f"Machine: {machine()}; shared with others. Versions: {parts}. {wanted.note}".rstrip()
        write("mlflow", mlflow_pages.report(one_thread("mlflow_pages", *([wanted.home] if wanted.home else [])), text))
    if wanted.only in (None, "service"):
        parts = ", ".join(f"{part} {version(part)}" for part in ("ray", "optuna", "mlflow", "fastapi", "uvicorn"))
        text = f"Machine: {machine()}; shared with others. Versions: {parts}. {wanted.note}"
        write("service", service.report(one_thread("service"), text))
    if wanted.only in (None, "overhead"):
        parts = ", ".join(f"{part} {version(part)}" for part in ("torch", "ray"))
        command = f"python -m tests.bench --only overhead --runs {wanted.runs}"
        text = f"Machine: {machine()}; shared with others. Versions: {parts}.\nCommand: `{command}`. {wanted.note}"
        write("overhead", overhead.report(one_thread("overhead", "--runs", str(wanted.runs)), text.rstrip()))
    if wanted.only in (None, "stopping"):
        measured = [one_thread("stopping", net) for net in stopping.NETS]
        text = f"Machine: {machine()}. Versions: torch {version('torch')}, optuna {version('optuna')}."
        write("stopping", stopping.report(measured, f"{text}\nCommand: `python -m tests.bench --only stopping`."))
    if wanted.only in (None, "search"):
        tables = f"--tables {Path(wanted.tables).name} --repetitions {wanted.repetitions}"
        text = f"Machine: {machine()}. Versions: optuna {version('optuna')}, numpy {version('numpy')}."
        text = f"{text}\nCommand: `python -m tests.bench --only search {tables}`. {wanted.note}".rstrip()
        write("search", benchmark(Path(wanted.tables), wanted.repetitions, wanted.jobs, text))
    if wanted.only in (None, "answers"):
        text = f"Machine: {machine()}. Versions: numpy {version('numpy')}, scipy {version('scipy')}."
        text += f"\nCommand: `python -m tests.bench --only answers --tables {Path(wanted.tables).name}`. {wanted.note}"
        folder = "--tables", wanted.tables, "--jobs", str(wanted.jobs)
        write("answers", answers.report(one_thread("answers", *folder), text.rstrip()))
    if wanted.only in (None, "real"):
        parts = ", ".join(f"{part} {version(part)}" for part in ("torch", "ray", "optuna", "mlflow", "numpy"))
        command = f"python -m tests.bench --only real --seeds {wanted.seeds}"
        text = f"Machine: {machine()}. Versions: {parts}.\nCommand: `{command}`. {wanted.note}".rstrip()
        write("real", real.report(one_thread("real", "--seeds", str(wanted.seeds)), text))
    if wanted.only in (None, "trials-per-hour"):
        waits = startup.measure()
        compared = [trials_per_hour.compare(*work) for _ in range(wanted.runs)]
        size = "" if (wanted.trials, wanted.steps) == (96, 10_000) else f"-{wanted.trials}x{wanted.steps}"
        sharing = "" if wanted.branches > 1 else "-nothing-shared"
        write(f"trials-per-hour{size}{sharing}", report(compared, waits, timed, wanted.note))
    if wanted.only in (None, "race"):
        write("race", race_report([trials_per_hour.race(*work) for _ in range(wanted.runs)], timed, wanted.note))


if __name__ == "__main__":
    main()
