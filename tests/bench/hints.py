"""Does `from:` help, and what does it cost where the other sweep misleads? A replay over tables of whole trainings.

    python -m tests.bench.hints FOLDER [--repetitions 10] [--only KIND] > REPORT.md

FOLDER: of tables, as `python -m tests.bench.tables --all FOLDER` makes them. Each search is replayed by itself and with
what a sweep over another table has found. Where it misleads, the other is the same table with its rates a decade off.
Where it had another budget, the other is of trainings a third as long: such tables are made in FOLDER/shorter, by two
minutes of a core.
"""

import argparse
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import InMemoryStorage

from espalier.sweeps.running.machine import allocate
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.taken import Taken
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.thaw.hints import Hint
from espalier.sweeps.thaw.space import DECADES, Number, Space
from espalier.sweeps.thaw.thaw import Thaw
from tests.bench.search.clock import Finish, regret
from tests.bench.search.pieces import ByPieces, Piece, Problem
from tests.bench.search.product import Product, Sweep
from tests.bench.search.table import Table
from tests.bench.search.thawing import Thawing
from tests.bench.truths import TRUTHS, make_all, shorter

HELPFUL = (
    ("names-sgd-step-1", "names-sgd-step-0"),
    ("names-bn-sgd-step-1", "names-sgd-step-0"),
    ("names-adamw-wsd", "names-adamw-linear"),
    ("names-adamw-linear", "names-adamw-wsd"),
    ("transformer-adamw-wsd", "names-adamw-wsd"),
    ("fashion-sgd-step", "names-sgd-momentum-step"),
    ("digits-momentum-cosine", "names-sgd-momentum-step"),
)
"""A sweep, and the one that it takes from: another seed, another schedule, another model, other data."""
MISLEADING = tuple(dict.fromkeys(target for target, _ in HELPFUL))
KINDS = ("that helps", "of shorter trainings", "that misleads")
SHORTER = 3
"""How many times as short trainings are of another budget."""
OFF = (1.0, -1.0)
"""By how many decades the rates of a sweep are wrong that misleads."""
BUDGETS: Mapping[str, Sequence[float]] = {"thaw": (1.5, 3, 6), "tpe": (4, 8, 16)}
"""In full trainings, by sampler."""
SOURCE = 6.0
LEAST = 1e-3
"""Regrets below it count as it: half of what another seed changes."""


@dataclass(frozen=True)
class Case:
    """A sweep over a table, with what another has found, None for nothing. off: by how many decades that is wrong."""

    table: Table
    other: Table | None = None
    off: float = 0.0


class Noted(Thawing):
    """A search whose ends are kept."""

    def __init__(self, problem: Problem, ends: list[tuple[float, float]]):
        super().__init__(problem)
        self.ends = ends

    def tell(self, piece: Piece, value: float) -> None:
        """Take what a piece came to."""
        if piece.kind == "branch" and math.isfinite(value):
            self.ends.append((piece.exponent, value))
        super().tell(piece, value)


class Hinted(Thawing):
    """A search with the ends of another."""

    def __init__(self, problem: Problem, ends: Sequence[tuple[float, float]]):
        super().__init__(problem)
        low, high = problem.decays
        space = Space([Number(*problem.exponents, DECADES)], decay=problem.decays, decays=int(low < high))
        self.search = Thaw(space, problem.budget, problem.seed, hints=[Hint((rate,), value) for rate, value in ends])


def thaw(case: Case, budget: float, seed: int) -> float:
    """Return the regret of a search by pieces."""
    ends: list[tuple[float, float]] = []
    if case.other:
        ByPieces(lambda problem: Noted(problem, ends)).replay(case.other, SOURCE, 1, seed + 1000)
    low, high = float(case.table.exponents[0]), float(case.table.exponents[-1])
    there = [(rate + case.off, value) for rate, value in ends if low <= rate + case.off <= high]
    method = ByPieces(lambda problem: Hinted(problem, there)) if there else ByPieces(Thawing)
    return regret(method.replay(case.table, budget, 1, seed), budget, case.table.best)


class Shifted(SweepStore):
    """A store from which sweeps take trials whose rates are wrong. off: by how many decades."""

    off = 0.0
    within = (-math.inf, math.inf)

    def taken(self, spec: SweepSpec, facts: Mapping[str, object]) -> Taken | None:
        """Return what a sweep takes."""
        taken = super().taken(spec, facts)
        if taken is None:
            return None
        low, high = self.within
        moved = [({**point, "lr_exponent": point["lr_exponent"] + self.off}, value) for point, value in taken.trials]
        return replace(taken, trials=[each for each in moved if low <= each[0]["lr_exponent"] <= high])


class Stored(Sweep):
    """A replay whose sweep lies in a store beside another."""

    def __init__(self, store: SweepStore, name: str, spec: SweepSpec, table: Table, budget: float):
        super().__init__(spec.model_copy(update={"learn_from": ""}), table, budget, 1)
        shares = allocate(spec, 1, 0)
        self.search = Search(store.create(name, spec, {"created": name}), shares.cohorts, shares.cohort_trials)


def tpe(case: Case, budgets: Sequence[float], seed: int) -> list[float]:
    """Return the regret of Optuna's TPE at each budget: trials of a single branch, trained to their end."""
    store, product = Shifted(InMemoryStorage()), Product("tpe", branches=1, stopping=None)
    store.off, store.within = case.off, (float(case.table.exponents[0]), float(case.table.exponents[-1]))
    fields = product.spec(case.table, seed).model_dump(mode="json")
    if case.other:
        Stored(store, "a", product.spec(case.other, seed + 1000), case.other, max(budgets)).run()
        fields |= {"learn_from": "a"}
    finishes: list[Finish] = Stored(store, "b", make_spec(fields, stored=True), case.table, max(budgets)).run()
    return [regret(finishes, budget, case.table.best) for budget in budgets]


def regrets(sampler: str, case: Case, seed: int) -> list[float]:
    """Return the regret of a sampler at each of its budgets."""
    budgets = BUDGETS[sampler]
    return tpe(case, budgets, seed) if sampler == "tpe" else [thaw(case, budget, seed) for budget in budgets]


def report(
    tables: Mapping[str, Table], short: Mapping[str, Table], repetitions: int, only: str | None = None
) -> Iterable[str]:
    """Yield the lines of the report. short: of shorter trainings. only: one of KINDS."""
    yield "# What `from:` gains, and what it costs where it misleads\n"
    yield (
        f"Median regret over {repetitions} seeds, with what another sweep has found / without, at budgets in full "
        "trainings. The last row of a table is the geometric mean of the ratios. Made by\n"
        f"`python -m tests.bench.hints FOLDER --repetitions {repetitions}`.\n"
    )
    helpful = [(f"{a} from {b}", Case(tables[a], tables[b])) for a, b in HELPFUL]
    misleading = [
        (f"{a} from itself, {off:+g} decade", Case(tables[a], tables[a], off)) for a in MISLEADING for off in OFF
    ]
    other_budget = [(f"{a} from itself, {short[a].steps} steps", Case(tables[a], short[a])) for a in MISLEADING]
    kinds = dict(zip(KINDS, (helpful, other_budget, misleading), strict=True))
    for sampler, budgets in BUDGETS.items():
        plain = {name: _median(sampler, Case(tables[name]), repetitions) for name in MISLEADING}
        for title, cases in kinds.items():
            if only not in (None, title):
                continue
            yield f"## {sampler}, from a sweep {title}\n"
            yield f"| sweep | {' | '.join(f'{budget:g}' for budget in budgets)} |\n|---|{'---|' * len(budgets)}"
            ratios: list[np.typing.NDArray[np.float64]] = []
            for name, case in cases:
                with_it, without = _median(sampler, case, repetitions), plain[name.partition(" ")[0]]
                cells = [f"{a:.4f} / {b:.4f}" for a, b in zip(with_it, without, strict=True)]
                yield f"| {name} | {' | '.join(cells)} |"
                ratios.append(np.log(np.maximum(with_it, LEAST) / np.maximum(without, LEAST)))
            yield f"| ratio | {' | '.join(f'{ratio:.2f}' for ratio in np.exp(np.mean(ratios, 0)))} |\n"


def _median(sampler: str, case: Case, repetitions: int) -> "np.typing.NDArray[np.float64]":
    return np.median([regrets(sampler, case, seed) for seed in range(repetitions)], 0)


def main(say: Callable[[str], None] = print) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--only", choices=KINDS)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")  # Optuna's, of what is experimental
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tables = {name: Table.read(wanted.tables / f"{name}.npz") for name in {n for pair in HELPFUL for n in pair}}
    make_all(wanted.tables / "shorter", 1, {name: shorter(TRUTHS[name], SHORTER) for name in MISLEADING})
    short = {name: Table.read(wanted.tables / "shorter" / f"{name}.npz") for name in MISLEADING}
    for line in report(tables, short, wanted.repetitions, wanted.only):
        say(line)


if __name__ == "__main__":
    main()
