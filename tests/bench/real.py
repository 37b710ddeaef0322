"""Sweeps that are trained: Espalier's search by pieces, and Optuna's searches, for the same number of lane-steps.

Espalier: the command `sweep run` with `sampler: thaw`, on all cores, start-up included; it may train the budget, and no
further. Optuna: its public interface, asked trial by trial; the same engine trains each trial alone, to a report, ten
times. A search of Optuna spends the budget to the last step: a trial that it does not pay is cut off, and is lost.

usage: OMP_NUM_THREADS=1 python -m tests.bench.real [SWEEP ...] [--seeds N]  (prints one JSON document)
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import choose
from espalier.core.task import load_data, load_task
from espalier.core.tasks.fashion import DEBIAN
from espalier.core.training.cohort import STRETCH, Cohort
from espalier.core.training.events import Ended, Reported
from espalier.core.training.setup import CohortSetup
from espalier.sweeps import cohorts as plan
from espalier.sweeps.spec.space import Choice
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.bench.search.peers import PRUNERS, REPORTS, SAMPLERS

METRIC, OURS, TRIALS = "valid_loss", "espalier, thaw", 400
PEERS = (
    ("TPE", ""),
    ("TPE", "median"),
    ("TPE", "successive halving"),
    ("GP", ""),
    ("random", ""),
    ("random", "median"),
)


@dataclass(frozen=True)
class Real:
    """A sweep: the fields of its spec that say what is trained, and the compute of each search in full trainings.

    known: a loss to compare with, and by_what it was found.
    """

    task: str
    optimizer: str
    schedule: str
    steps: int
    exponents: tuple[float, float]
    decays: tuple[float, float] | None
    trainings: int
    known: float
    by_what: str

    def spec(self, **fields: object) -> SweepSpec:
        """Return the spec, with other fields. Trials report ten times."""
        return make_spec(self.fields() | fields, stored=True)

    def fields(self) -> dict[str, object]:
        """Return the fields of the spec."""
        (low, high), space = self.exponents, dict[str, object]()
        if self.decays:
            space["decay_points"] = {"low": self.decays[0], "high": self.decays[1]}
        return {
            "name": "real",
            "task": self.task,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "budget": {"steps": self.steps, "reports": REPORTS},
            "space": {"lr_exponent": {"low": low, "high": high}, **space},
        }

    @property
    def lane_steps(self) -> int:
        """What each search may train."""
        return self.trainings * self.steps


SWEEPS: Mapping[str, Real] = {
    "names-sgd-step": Real(
        *("names", "sgd", "step", 10_000),
        exponents=(-2.5, 0.5),
        decays=(0.4, 0.9),
        trainings=12,
        known=2.31888,
        by_what="96 trials by TPE, four a trunk, 460,862 lane-steps",
    ),
    "names-adamw-linear": Real(
        *("names", "adamw", "linear", 10_000),
        exponents=(-4, -1),
        decays=None,
        trainings=6,
        known=2.3009,
        by_what="the best of 32 swept exponents, 320,000 lane-steps",
    ),
    "fashion-sgd-step": Real(
        *("fashion", "sgd", "step", 1500),
        exponents=(-3.5, 0),
        decays=(0.4, 0.9),
        trainings=8,
        known=0.36971,
        by_what="the best of the 174 cells of the truth table `fashion-sgd-step`",
    ),
}
"""The first is the ready sweep `names-sgd`."""


@dataclass(frozen=True)
class Outcome:
    """What a search found. best: its lowest loss at the end of a trial; trials: how many were begun."""

    best: float
    lane_steps: int
    trials: int
    seconds: float


def ours(sweep: Real, seed: int) -> Outcome:
    """Run a sweep by the command, in a process of its own."""
    budget = {"steps": sweep.steps, "reports": REPORTS, "trainings": sweep.trainings}
    search = {"sampler": "thaw", "seed": seed}
    fields = sweep.fields() | {"budget": budget, "search": search, "trials": TRIALS, "references": False}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "real.yaml"
        file.write_text(yaml.safe_dump(fields | {"optimizer": sweep.optimizer}))
        words = [sys.executable, "-m", "espalier.sweeps.cli", "run", str(file), "--json", "--home", f"{folder}/home"]
        begin = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - begin
    document = json.loads(done.stdout)
    return Outcome(document["best"][METRIC], document["lane_steps"], document["trials"], seconds)


class Alone:
    """Trains trials one after another, each alone, by one program that is made once."""

    def __init__(self, sweep: Real):
        self.spec = spec = sweep.spec()
        self.task = load_task(spec.task, dict(spec.task_options))
        self.data = data = load_data(self.task)
        self.structure = structure = plan.structure(spec, plan.first_point(spec))
        batch = tuple(tensor[: structure.batch_size] for tensor in data.train)
        native = PROGRAMS["native"](self.task, structure.optimizer)
        kind, _ = choose(
            *(self.task, batch, 1),
            work=TRIALS * sweep.steps,  # as the command counts it: both sides train by one program
            why_not_native=lambda: native.why_not(data.train, structure.batch_size),
        )
        self.program = native if kind == "native" else PROGRAMS[kind](self.task, structure.optimizer)

    def cohort(self, number: int, params: Mapping[str, float]) -> Cohort:
        """Return a trial of these values as a cohort of its own."""
        (trial,) = plan.replicates(self.spec, number, self.spec.space.resolve(dict(params)))
        setup = CohortSetup(self.task, self.data, self.structure, [replace(trial, rungs=())], 1, self.program)
        return Cohort(replace(setup, ratio_samples=0, watchers=[]))


@lru_cache
def alone(sweep: Real) -> Alone:
    """Return what trains a sweep's trials in this process."""
    return Alone(sweep)


def peer(sweep: Real, sampler: str, pruner: str, seed: int) -> Outcome:
    """Search by Optuna until the budget is spent, to the step."""
    trains, left, losses = alone(sweep), sweep.lane_steps, [math.inf]
    begin = time.monotonic()
    study = optuna.create_study(sampler=SAMPLERS[sampler](seed, 1), pruner=PRUNERS[pruner](), study_name=f"real-{seed}")
    while left > 0:
        trial = study.ask(distributions(sweep))
        cohort = trains.cohort(trial.number, trial.params)
        state, loss = trained_at_most(cohort, trial, sweep.steps, left)
        left -= cohort.work.lane_steps
        losses += [loss] if state == TrialState.COMPLETE else []
        study.tell(trial, loss if state == TrialState.COMPLETE else None, state)
    return Outcome(min(losses), sweep.lane_steps - left, len(study.trials), time.monotonic() - begin)


def trained_at_most(cohort: Cohort, trial: optuna.Trial, steps: int, most: int) -> tuple[TrialState, float]:
    """Train a trial of so many steps for at most so many of them; return how it ended, and its loss."""
    while (left := most - cohort.work.lane_steps) > 0:
        for event in cohort.turn(min(STRETCH, left)):
            if isinstance(event, Ended):
                complete = event.status == "complete"
                return (TrialState.COMPLETE, event.values[METRIC]) if complete else (TrialState.FAIL, math.inf)
            if isinstance(event, Reported):
                number = round(event.step * REPORTS / steps)
                trial.report(event.values[METRIC], number)
                if number < REPORTS and trial.should_prune():
                    return TrialState.PRUNED, math.inf
    return TrialState.FAIL, math.inf


def distributions(sweep: Real) -> dict[str, BaseDistribution]:
    """Return what Optuna searches, under the names of the space."""
    ranges = [(name, domain) for name, domain in sweep.spec().space.domains() if not isinstance(domain, Choice)]
    return {name: FloatDistribution(domain.low, domain.high) for name, domain in ranges}


Job = tuple[str, str, str, int]  # sweep, sampler, pruner, seed


def _peer_row(job: Job) -> dict[str, Any]:
    name, sampler, pruner, seed = job
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Optuna's, of what is experimental
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = f"Optuna {sampler}{', ' if pruner else ''}{pruner}"
    return {"sweep": name, "search": search, "seed": seed, **asdict(peer(SWEEPS[name], sampler, pruner, seed))}


def rows(names: Sequence[str], seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what each search found in each sweep, under each seed: ours one by one, then the peers' on all cores."""
    for name in names:
        for seed in range(seeds):
            yield {"sweep": name, "search": OURS, "seed": seed, **asdict(ours(SWEEPS[name], seed))}
    jobs = [(name, *each, seed) for name in names for each in PEERS for seed in range(seeds)]
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        yield from processes.map(_peer_row, jobs)


def report(found: Sequence[Mapping[str, Any]], surroundings: str) -> str:
    """Return the report as Markdown. surroundings: the machine and the command."""
    names = list(dict.fromkeys(row["sweep"] for row in found))
    seeds = len({row["seed"] for row in found})
    return f"""# {date.today()}: sweeps trained by each search, for the same lane-steps

{surroundings}

Every search has the same budget of lane-steps (a lane-step is one step of one trial), under {seeds} seeds of the
search; the trials' own seed is 0. Loss is the best `{METRIC}` at the end of a trial; the worst is that of the
unluckiest seed.

- *{OURS}*: the command `sweep run` with `search: {{sampler: thaw}}` and `budget: {{trainings: N}}`. It trains the
  budget at most. Seconds are those of the whole command on all cores, start-up and records in MLflow included.
- *Optuna*: its public interface, asked trial by trial; trials train alone, by the same engine and program, and share
  nothing; they report ten times, which pruners see. A search spends the budget to the last step: a trial that it does
  not pay is cut off, and lost. TPE begins with ten trials at random (its default), the Gaussian process with four.
  Seconds are those of proposals and training on one core, {os.cpu_count()} searches side by side, without start-up and
  without records.

{"".join(_section(name, [row for row in found if row["sweep"] == name]) for name in names)}
## Not reported

Peers with several workers; sharing or averaged weights on the peers' side; the noise of the trials' own seed.
"""


def _section(name: str, found: Sequence[Mapping[str, Any]]) -> str:
    sweep = SWEEPS[name]
    size = f"{sweep.trainings} trainings of {sweep.steps:,} steps: {sweep.lane_steps:,} lane-steps"
    by_search = {row["search"]: [each for each in found if each["search"] == row["search"]] for row in found}
    rows = "".join(_row(search, each, sweep.known) for search, each in by_search.items())
    axes = f"{sweep.exponents[0]:g} ... {sweep.exponents[1]:g}"
    axes += f", decay point {sweep.decays[0]:g} ... {sweep.decays[1]:g}" if sweep.decays else ""
    return f"""### {name}

{sweep.task}, {sweep.optimizer}, schedule {sweep.schedule}; exponent {axes}.
Each search has {size}. Known: {sweep.known:.4f}, {sweep.by_what}.

| search | loss, median | worst | above known, median | worst | lane-steps | trials | s |
|---|---|---|---|---|---|---|---|
{rows}
"""


def _row(search: str, found: Sequence[Mapping[str, Any]], known: float) -> str:
    losses = [row["best"] for row in found]
    median, worst = statistics.median(losses), max(losses)
    least, most = (f"{limit(row['lane_steps'] for row in found):,}" for limit in (min, max))
    steps = least if least == most else f"{least} ... {most}"
    trials, seconds = (statistics.median(row[key] for row in found) for key in ("trials", "seconds"))
    above = f"{median - known:.4f} | {worst - known:.4f}"
    return f"| {search} | {median:.4f} | {worst:.4f} | {above} | {steps} | {trials:g} | {seconds:.1f} |\n"


def present() -> list[str]:
    """Return the sweeps whose data are here."""
    return [name for name, sweep in SWEEPS.items() if sweep.task != "fashion" or Path(DEBIAN).is_dir()]


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="*", metavar="SWEEP", help=f"{', '.join(SWEEPS)} (default: all)")
    parser.add_argument("--seeds", type=int, default=5)
    wanted = parser.parse_args()
    found: list[dict[str, Any]] = []
    for row in rows(wanted.sweeps or present(), wanted.seeds):
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
