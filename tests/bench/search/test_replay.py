"""The replay of searches counts compute as the engine would train it, and tells a search what the table holds."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from espalier.sweeps.search.cohort_plan import PlannedTrial
from tests.bench.search.measuring import BUDGETS, compute_to_goal, measure
from tests.bench.search.methods import METHODS
from tests.bench.search.peers import Peer
from tests.bench.search.pieces import ByPieces, Piece, Problem
from tests.bench.search.product import Product, Sweep
from tests.bench.search.table import Array, Table

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")
CHEAP = [name for name, method in METHODS.items() if method.dear == 1]


PIECES: tuple[tuple[Literal["trunk", "branch"], tuple[float, float]], ...] = (
    ("trunk", (0.1, 0.5)),
    ("branch", (0.4, 0.8)),
)


def small_table(points: int = 6) -> Table:
    """Return a bowl: the best exponent is -1, the best decay point .7; with one point it has no decays."""
    exponents = np.linspace(-3, 1, 9)
    decays = np.linspace(0.4, 0.9, points) if points > 1 else np.array([1.0])
    final_ED = 2 + (exponents[:, None] + 1) ** 2 + (decays - 0.7)[None] ** 2
    shares = np.arange(1, 21) / 20
    curve_CED = final_ED + (1 - shares)[:, None, None]
    rungs = np.array([0.1, 0.25, 0.5])
    scores: dict[str, Array] = dict.fromkeys(("value", "average"), final_ED + 0.1 * (1 - rungs)[:, None, None])
    return Table("small", exponents, decays, rungs, 1000, final_ED, curve_CED, scores)


def test_a_table_is_bilinear_between_its_cells_and_ends_at_its_rim() -> None:
    table = small_table()
    middle = [table.final(*at) for at in ((-1.5, 0.4), (-1.0, 0.4), (-1.5, 0.5), (-1.0, 0.5))]
    assert table.final(-1.25, 0.45) == pytest.approx(sum(middle) / 4)
    assert table.final(9.0, 2.0) == table.final_ED[-1, -1]
    assert table.score("value", 0.5, -1.0) == table.scores["value"][2, 4, -1], "a trunk knows of no decay point"
    assert table.score("value", 0.5, -1.0, 0.4) == table.scores["value"][2, 4, 0]


def test_where_a_cell_has_no_number_a_trial_diverges() -> None:
    table = small_table()
    table.final_ED[-1] = np.nan
    assert table.final(0.9, 0.5) == math.inf
    assert table.final(0.5, 0.5) < math.inf


def test_trials_that_share_nothing_cost_a_training_each() -> None:
    finishes = Peer("random").replay(small_table(), 5, 1, 0)
    assert [end.compute for end in finishes] == pytest.approx([1, 2, 3, 4, 5])


def test_with_more_workers_the_same_trials_cost_the_same() -> None:
    alone, beside = (Peer("random").replay(small_table(), 8, workers, 0) for workers in (1, 3))
    assert [end.value for end in beside[: len(alone)]] == [end.value for end in alone]
    assert [end.compute for end in beside[: len(alone)]] == pytest.approx([end.compute for end in alone])


def test_a_shared_trunk_counts_once() -> None:
    table = small_table()
    sweep = Sweep(Product("random", stopping=None).spec(table, 3), table, 2.0, 1)
    finishes = sweep.run()
    trials = [sweep.search.point_of(number)["decay_points"][0] for number in range(4)]
    decays = [round(point * table.steps) / table.steps for point in trials]
    assert sweep.account.costs[0] == pytest.approx(max(decays) + sum(1 - decay for decay in decays))
    assert len([end for end in finishes if end.compute <= sweep.account.costs[0] + 1e-9]) == 4


def test_a_trial_without_decay_points_costs_a_training() -> None:
    finishes = Product("tpe", stopping=None).replay(small_table(points=1), 4, 1, 0)
    assert [end.compute for end in finishes] == pytest.approx([1, 2, 3, 4])


def test_halving_stops_the_worst_at_their_rungs_and_optuna_hears_of_it() -> None:
    table = small_table()
    sweep = Sweep(Product("random", branches=1).spec(table, 0), table, 6.0, 1)
    finishes = sweep.run()
    sweep.search.settle(everything=True)
    trials = sweep.search.record.trials()
    assert {round(cost, 9) for cost in sweep.account.costs if cost < 0.999} <= {0.1, 0.25, 0.5}
    assert len([trial for trial in trials if trial.state == "complete"]) == len(finishes)
    assert [trial.state for trial in trials].count("stopped") > 3
    stopped = next(trial for trial in trials if trial.state == "stopped")
    assert stopped.stop_evidence
    assert stopped.scores


class Scripted:
    """Asks for pieces in the order of a list."""

    def __init__(self, pieces: Sequence[Piece]):
        self.left, self.values = list(pieces), list[float]()

    def ask(self) -> Piece | None:
        return self.left.pop(0) if self.left else None

    def tell(self, piece: Piece, value: float) -> None:
        self.values.append(value)


def test_pieces_of_a_trunk_cost_what_it_lacks() -> None:
    table = small_table()
    trunks, branches = ([Piece(kind, -1.0, at) for at in ends] for kind, ends in PIECES)
    search = Scripted([*trunks, *branches])
    problems: list[Problem] = []

    def make(problem: Problem) -> Scripted:
        problems.append(problem)
        return search

    finishes = ByPieces(make).replay(table, 3, 1, 7)
    assert problems == [Problem((-3.0, 1.0), (0.4, 0.9), 3, 1, 7)]
    costs = [0.5 + 0.6, 0.5 + 0.6 + 0.3 + 0.2]
    assert [end.compute for end in finishes] == pytest.approx(costs)
    assert [end.value for end in finishes] == pytest.approx([table.final(-1, 0.4), table.final(-1, 0.8)])
    assert search.values[0] == table.score("average", 0.1, -1.0)


def test_a_branch_begins_no_later_than_its_trunk_is_nor_than_it_says() -> None:
    """From a row that was kept before its decay point it trains the steps between them once more."""
    trunk, early, late = Piece("trunk", 0.0, 0.5), Piece("branch", 0.0, 0.4, 0.375), Piece("branch", 0.0, 0.8, 0.7)
    finishes = ByPieces(lambda problem: Scripted([trunk, early, late])).replay(small_table(), 3, 1, 7)
    assert [end.compute for end in finishes] == pytest.approx([0.5 + 0.625, 0.5 + 0.625 + 0.5])


@pytest.mark.each_value
@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("name", CHEAP)
def test_every_search_finds_a_bowls_ground(name: str, workers: int) -> None:
    measured = measure(METHODS[name], small_table(), workers, 2, most=16)
    medians = dict(zip(BUDGETS, measured["median"], strict=True))
    assert medians[16] < 0.5
    assert medians[16] <= medians[8] <= medians[4]


def test_the_compute_to_the_goal_is_that_from_which_on_it_is_held() -> None:
    assert compute_to_goal([1, 2, 4], [0.1, 0.1, 0.1]) == math.inf


def test_planned_trials_are_those_of_the_product() -> None:
    """Branches of a trunk differ in their decay points alone."""
    table = small_table()
    sweep = Sweep(Product("tpe").spec(table, 0), table, 1.0, 1)
    plan = sweep.search.next_cohort()
    assert plan
    trials: Sequence[PlannedTrial] = plan.trials
    assert len({trial.point["lr_exponent"] for trial in trials}) == 1
    assert len(trials) == 4
