"""Which score at a rung foretells how a trial ends: the plain value, two decay probes, averaged weights.

Every trial trains to its end, scored at five rungs by all four. From that: the rank correlation of each score with the
final loss, how far its optimum lies from the one at the end, how much worse its top trial ends, and what successive
halving by it would have stopped.

usage: python -m tests.bench.stopping NET [STEPS]  (prints one JSON document; NET is one of NETS)
"""

import json
import math
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from typing import Any

import torch
from scipy.stats import spearmanr

from espalier.core.optimizers import SGD
from espalier.core.programs.choose import choose
from espalier.core.scores.score import PROBE_SHARE
from espalier.core.task import Task
from espalier.core.tasks.digits import Digits, DigitsConv
from espalier.core.tasks.names import Names
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Scored, TrialId
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.sweeps.search.halving import Halving
from espalier.sweeps.spec.stopping import Stopping

KINDS = ("value", "probe", "cooldown", "average")
RUNGS = (0.01, 0.05, 0.10, 0.25, 0.50)
POINTS, SEEDS = (0.4, 0.6, 0.8), 3
ORDERS, AT_ONCE = 200, 12

NETS: dict[str, tuple[Task, int, tuple[float, float, int]]] = {
    "names": (Names(), 10_000, (-2.5, 0.5, 13)),
    "names with BatchNorm": (Names(batchnorm=True), 10_000, (-2.5, 0.5, 13)),
    "digits, perceptron": (Digits(), 4_000, (-3.0, 0.5, 13)),
    "digits, convolutions": (DigitsConv(), 2_000, (-3.0, 0.5, 13)),
}
"""A task, the steps of a trial, and the exponents: the first, the last, how many."""


def measure(net: str, steps: int | None = None, seed: int | None = None) -> dict[str, Any]:
    """Train every configuration and return its scores and its end, by seed."""
    task, usual, (low, high, count) = NETS[net]
    budget = steps or usual
    rungs = tuple(round(share * budget) for share in RUNGS)
    structure = Structure(SGD(momentum=False, decay=False), "step", 32)
    data = task.data()
    configurations = [(low + (high - low) * i / (count - 1), point) for i in range(count) for point in POINTS]
    trials = [
        Trial(f"{k}/{s}", s, budget, Hyperparameters(10.0**exponent, (point,)), rungs=rungs)
        for s in (range(SEEDS) if seed is None else [seed])
        for k, (exponent, point) in enumerate(configurations)
    ]
    program, why = choose(task, tuple(t[:32] for t in data.train), 24, work=len(trials) * budget)
    if "Conv2d" in repr(task.model()):
        program = "plain"  # grouped convolutions are slower than single ones
    scoring = Scoring(KINDS)
    cohort = Cohort(CohortSetup(task, data, structure, trials, 24, program, ratio_samples=0, scoring=scoring))
    found: dict[str, dict[str, Any]] = {t.id: {"scores": {}, "final": None, "ended": 0} for t in trials}
    for event in cohort.train():
        if isinstance(event, Scored):
            found[event.trial]["scores"][f"{event.score} {event.step}"] = event.values.get("valid_loss")
        elif isinstance(event, Ended):
            complete = event.status == "complete"
            found[event.trial] |= {"final": event.values["valid_loss"] if complete else None, "ended": event.step}
    return {
        "net": net,
        "steps": budget,
        "rungs": rungs,
        "program": f"{program} ({why})",
        "configurations": configurations,
        "lane_steps": cohort.lane_steps,
        "probe_steps": cohort.work.probe_steps,
        "trials": found,
    }


@dataclass(frozen=True)
class Foresight:
    """What a score at a rung tells of the end.

    spearman: its rank correlation with the final loss. decades: the exponent of the trial that it holds best, less that
    of the trial that ends best. regret: how much worse the former ends. Of trials with the same score, the mean.
    """

    spearman: float
    decades: float
    regret: float

    def __str__(self) -> str:
        """Return them as a cell of a table."""
        return f"{self.spearman:.2f}; {self.decades:+.2f}; {self.regret:.4f}"


def foresight(scores: Sequence[float], finals: Sequence[float], exponents: Sequence[float]) -> Foresight:
    """Compare the scores of trials at a rung with their ends.

    >>> str(foresight([2.0, 2.0, 3.0], [1.5, 1.7, 1.2], [-1.0, -1.0, -0.5]))
    '-0.87; -0.50; 0.4000'
    """
    correlation = float(spearmanr(scores, finals).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    best, top = min(range(len(finals)), key=lambda k: finals[k]), min(scores)
    tied = [k for k, score in enumerate(scores) if score == top]
    decades = statistics.fmean(exponents[k] for k in tied) - exponents[best]
    return Foresight(correlation, decades, statistics.fmean(finals[k] for k in tied) - finals[best])


def foresights(measured: Mapping[str, Any]) -> dict[str, list[Foresight]]:
    """Return for each score what it tells at each rung: the mean over the seeds.

    Only of trials that end; those that diverge would be told apart by any score.
    """
    table: dict[str, list[Foresight]] = {}
    for kind in KINDS:
        for rung in measured["rungs"]:
            each = [_of_seed(measured, kind, rung, seed) for seed in range(SEEDS)]
            means = (statistics.fmean(column) for column in zip(*map(astuple, each), strict=True))
            table.setdefault(kind, []).append(Foresight(*means))
    return table


def _of_seed(measured: Mapping[str, Any], kind: str, rung: int, seed: int) -> Foresight:
    exponents = [exponent for exponent, _ in measured["configurations"]]
    known = [
        (_score(trial, kind, rung), trial["final"], exponents[TrialId.parse(key).number])
        for key, trial in measured["trials"].items()
        if TrialId.parse(key).replicate == seed and trial["final"] is not None
    ]
    scores, finals, of_them = (list(column) for column in zip(*known, strict=True))
    return foresight(scores, finals, of_them)


def arrival(configurations: int, trunks: bool, order: random.Random) -> list[int]:
    """Return the configurations in a random order: each by itself, or all points of an exponent side by side."""
    if not trunks:
        return order.sample(range(configurations), configurations)
    firsts = range(0, configurations, len(POINTS))
    return [first + i for first in order.sample(firsts, len(firsts)) for i in range(len(POINTS))]


def leaders(crowd: Sequence[int], share: float) -> dict[int, int]:
    """Return for each trial of a crowd the first that has the same history up to a share of the budget."""
    history = {k: (k // len(POINTS), min(POINTS[k % len(POINTS)], share)) for k in crowd}
    return {k: next(other for other in crowd if history[other] == history[k]) for k in crowd}


def simulate(
    measured: Mapping[str, Any],
    kind: str,
    stopping: Stopping,
    trunks: bool = True,
    orders: int = ORDERS,
    at_once: int = AT_ONCE,
) -> dict[str, float]:
    """Replay halving over sweeps of all configurations under one seed, in random orders, so many trials at once.

    trunks: whether all decay points of an exponent arrive together, as a sweep proposes them.
    Returns how often the eventual best was stopped, how much worse the best survivor ended (mean, most), and the work
    as a share of training everything, probes included.
    """
    lost, regrets, work = [], [], []
    rungs = [round(share * measured["steps"]) for share in stopping.rungs]
    probe = PROBE_SHARE if kind in ("probe", "cooldown") else 0.0
    for seed in range(SEEDS):
        trials = {
            TrialId.parse(key).number: t
            for key, t in measured["trials"].items()
            if TrialId.parse(key).replicate == seed
        }
        ended = {k: t["final"] for k, t in trials.items() if t["final"] is not None}
        best = min(ended, key=lambda k: ended[k])
        for order in range(orders):
            queue = arrival(len(trials), trunks, random.Random(f"{seed} {order}"))
            rule, survivors, spent = Halving(stopping), set(trials), 0.0
            for begin in range(0, len(queue), at_once):
                crowd = queue[begin : begin + at_once]
                for share, rung in zip(stopping.rungs, rungs, strict=True):
                    here = [k for k in crowd if k in survivors and trials[k]["ended"] >= rung]
                    leader = leaders(crowd, share)
                    rule.enter((rung, k, _score(trials[k], kind, rung), leader[k]) for k in here)
                    for k in here:
                        spent += probe * share
                        if rule.reason(rung, k):
                            survivors.discard(k)
                            spent += rung / measured["steps"] - trials[k]["ended"] / measured["steps"]
            lost.append(best not in survivors)
            left = [ended[k] for k in survivors if k in ended]
            regrets.append(min(left) - ended[best])
            whole = sum(t["ended"] for t in trials.values()) / measured["steps"]
            work.append(1 + spent / whole)
    return {
        "lost": statistics.fmean(lost),
        "regret": statistics.fmean(regrets),
        "most": max(regrets),
        "work": statistics.fmean(work),
    }


def _score(trial: Mapping[str, Any], kind: str, rung: int) -> float:
    score = trial["scores"].get(f"{kind} {rung}")
    return math.inf if score is None else score


PLANS = {"at 10, 25, 50 %": (0.1, 0.25, 0.5), "at 5, 10, 25, 50 %": (0.05, 0.1, 0.25, 0.5)}


def tables(measured: Mapping[str, Any]) -> str:
    """Return one net's results as Markdown."""
    head = f"| score | {' | '.join(f'{share:.0%}' for share in RUNGS)} |\n|---|{'---|' * len(RUNGS)}\n"
    rows = "\n".join(f"| {kind} | {' | '.join(map(str, each))} |" for kind, each in foresights(measured).items())
    names = ["trials come", "rungs", "score", "best stopped", "survivor worse by, mean", "most", "work"]
    halved = f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n"
    for come, trunks in (("in trunks", True), ("one by one", False)):
        for name, rungs in PLANS.items():
            for kind in KINDS:
                found = simulate(measured, kind, Stopping(rungs=rungs, reduction=2), trunks)
                halved += (
                    f"| {come} | {name} | {kind} | {found['lost']:.1%} | {found['regret']:.4f} | {found['most']:.4f} "
                    f"| {found['work']:.0%} |\n"
                )
    ends = [trial["final"] for trial in measured["trials"].values()]
    whole = f"{len(ends)} trials of {measured['steps']:,} steps, of which {ends.count(None)} diverged"
    return f"### {measured['net']}\n\n{whole}; program {measured['program']}.\n\n{head}{rows}\n\n{halved}"


def report(all_measured: Sequence[Mapping[str, Any]], surroundings: str) -> str:
    """Return the report as Markdown; `surroundings` name machine, versions and command."""
    nets = "\n".join(tables(measured) for measured in all_measured)
    exponents, low, high = all_measured[0]["configurations"], *NETS["names"][2][:2]
    return f"""# {date.today()}: what a trial is worth before its end

{surroundings}

Each configuration (13 exponents, on the names network {low:g} ... {high:g}, by {len(POINTS)} decay points at
{", ".join(f"{point:.0%}" for point in POINTS)} of the budget, a fall by ten; SGD, batch 32; {SEEDS} seeds:
{len(exponents)} configurations a seed) trains to its end and is scored on the way by

- *value*: the validation loss there;
- *probe*: that of a branch after {PROBE_SHARE:.0%} as many steps at a tenth of the rate as it has had so far;
- *cooldown*: that of a branch whose rate falls in a line to the schedule's last rate in as many steps;
- *average*: that of a moving average of the weights, a tenth of the steps so far wide.

The first table of a net has three numbers for each score and rung, each the mean over the seeds, of trials that end:
its rank correlation (Spearman) with the final loss; the optimum by the score minus the optimum at the end, in decades
of the rate; the regret of the top one, the final loss of the trial with the best score minus the lowest. The second
replays successive halving (the better half goes on; {ORDERS} random orders a seed, {AT_ONCE} trials at a time): how
often the configuration that would have ended best was stopped, how much worse the best survivor ended, and the steps
trained as a share of training everything, probes included, sharing not. Trials come in trunks, all decay points of an
exponent side by side, as a sweep proposes them, or one by one; those of one history count once at a rung.

{nets}
## What this does not show

Other optimizers, schedules without a fall, longer budgets, models beyond some ten thousand parameters. Diverged trials
are out of the correlations, which any score would lift. A best that was stopped matters little where others end as
well, and much where not: see the columns beside it. Scores are compared among trials of one budget. A sweep of fewer
exponents loses its best more often, since fewer are compared. Hopeless trials, which end whatever their rank, end here
by their rank.
"""


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
