"""Valleys: their units, what lies at an edge, where trials diverge, and what else was searched."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.axes import Searched
from espalier.sweeps.answer.valley import Valley
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.answer.valleys import Truth, made_sweep, spec_of, upside_down

TRUTH = Truth(best=-1.0, right=0.3, left=0.2, cliff=5.0, depth=0.1)


def foreign(space: dict[str, Any], **changed: Any) -> SweepSpec:
    return make_spec({"name": "made", "command": ["python", "train.py"], "space": space, **changed})


def trial(number: int, value: float | None, state: str = "complete", **params: Any) -> TrialResult:
    return TrialResult(number, state, value, params, verdict="diverged" if state == "diverged" else "healthy")


def sweep_of(values: dict[float, float], name: str = "lr_exponent", **more: Any) -> list[TrialResult]:
    return [trial(n, loss, **{name: x}, **more) for n, (x, loss) in enumerate(values.items())]


def bowl(exponents: np.ndarray, best: float) -> dict[float, float]:
    return {float(x): 2.3 + 0.2 * (float(x) - best) ** 2 for x in exponents}


def valley(spec: SweepSpec, trials: list[TrialResult]) -> Valley:
    found = answer_of(spec, trials).valley
    assert found is not None
    return found


def test_whoever_wrote_lr_reads_rates_and_whoever_wrote_exponents_reads_exponents() -> None:
    trials = made_sweep(np.random.default_rng(1), TRUTH, "rate", 20, 0.002)
    exponents = valley(spec_of("rate"), trials)
    space = {"lr": {"low": 1e-3, "high": 10**0.5, "log": True}}
    rates = valley(foreign(space), trials)
    assert (exponents.name, exponents.log, rates.name, rates.log) == ("lr_exponent", False, "lr", True)
    assert rates.best_x == pytest.approx(10**exponents.best_x)
    assert rates.se == pytest.approx(exponents.se), "in decades, both"
    assert rates.xs == pytest.approx([10**x for x in exponents.xs])
    assert (rates.mean, rates.low) == (pytest.approx(exponents.mean), pytest.approx(exponents.low))
    assert rates.x_of({"lr_exponent": -2.0}) == pytest.approx(0.01) and exponents.x_of({"lr_exponent": -2.0}) == -2.0


def test_a_metric_to_maximise_is_the_same_upside_down() -> None:
    trials = made_sweep(np.random.default_rng(1), TRUTH, "rate", 20, 0.002)
    low = valley(spec_of("rate"), trials)
    spec = spec_of("rate", objective={"metric": "valid_accuracy", "mode": "max"})
    high = valley(spec, upside_down(trials))
    assert high.best_x == low.best_x and high.within == low.within
    assert high.mean == pytest.approx([-y for y in low.mean])
    assert (high.low, high.high) == (pytest.approx([-y for y in low.high]), pytest.approx([-y for y in low.low]))
    assert [off.cost for off in high.off] == pytest.approx([off.cost for off in low.off])


def test_trials_that_diverged_bound_what_is_off() -> None:
    trials = sweep_of(bowl(np.linspace(-3, -0.5, 16), -1.0))
    trials += [trial(20 + k, None, "diverged", lr_exponent=x) for k, x in enumerate((-0.3, 0.0, 0.4))]
    found = valley(spec_of("rate"), trials)
    assert found.diverged_from == -0.3
    by = {off.factor: off for off in found.off}
    assert by[10.0].diverges and by[10.0].cost is None
    assert by[0.1].cost is not None and by[0.1].cost == pytest.approx(0.2, rel=0.2)


def test_one_diverged_trial_among_many_that_did_not_bounds_nothing() -> None:
    trials = sweep_of(bowl(np.linspace(-3, 0.4, 30), -1.0))
    found = valley(spec_of("rate"), [*trials, trial(40, None, "diverged", lr_exponent=-0.5)])
    assert found.diverged_from is None


def test_what_was_not_tried_has_no_cost() -> None:
    found = valley(spec_of("rate"), sweep_of(bowl(np.linspace(-1.6, -0.6, 14), -1.0)))
    factors = {off.factor for off in found.off}
    assert 10.0 not in factors and 0.1 not in factors and {2.0, 0.5} <= factors
    assert (found.xs[0], found.xs[-1]) == pytest.approx((-1.6, -0.6))
    assert found.at(0.0) is None and found.at(-1.0) is not None


@pytest.mark.parametrize(
    ("best", "edge", "wider"), [(0.6, "high", (-3, 1.5)), (-3.2, "low", (-4, 0.5)), (-1, None, None)]
)
def test_a_best_at_the_end_of_the_range_is_said_to_lie_there(best: float, edge: str | None, wider: Any) -> None:
    found = valley(spec_of("rate"), sweep_of(bowl(np.linspace(-3, 0.5, 20), best)))
    assert (found.edge, found.wider) == (edge, wider)


def test_the_upper_end_is_no_edge_where_trials_diverge_above() -> None:
    trials = sweep_of(bowl(np.linspace(-3, 0.45, 20), 0.6))
    found = valley(spec_of("rate"), [*trials, *(trial(30 + k, None, "diverged", lr_exponent=0.47) for k in range(3))])
    assert found.edge is None


def test_a_share_is_not_to_be_widened_beyond_one() -> None:
    spec = foreign({"dropout": {"low": 0.0, "high": 1.0}})
    found = answer_of(spec, sweep_of(bowl(np.linspace(0, 1, 12), 1.2), "dropout")).slices[0]
    assert found.best_x > 0.9 and found.edge is None


def test_a_list_of_numbers_is_an_axis_whose_next_values_are_what_is_off() -> None:
    spec = foreign({"hidden": [16, 64, 256, 1024]})
    sizes = {16: 3.0, 64: 2.5, 256: 2.4, 1024: 2.6}
    trials = [
        trial(4 * k + j, loss + 0.01 * j, hidden=h) for k, (h, loss) in enumerate(sizes.items()) for j in range(3)
    ]
    answer = answer_of(spec, trials)
    (found,) = answer.slices
    assert answer.valley is found, "no rate was searched: it is the answer's"
    assert found.log and {round(off.x) for off in found.off} == {64, 1024}
    assert "the next higher (1024)" in answer.sentence and "16" not in answer.sentence.split(";")[0]


@pytest.mark.parametrize(
    ("space", "axes", "factors"),
    [
        ({"lr": [0.1, 0.01, 0.001]}, ["lr"], []),
        ({"lr_exponent": [-1, -2]}, [], ["lr_exponent"]),
        ({"lr": {"low": 1e-4, "high": 1.0, "log": True}, "seed": [1, 2, 3]}, ["lr"], []),
        ({"optimizer": ["a", "b", "c"], "flag": [True, False], "depth": [1, 2, 3]}, ["depth"], ["optimizer", "flag"]),
        ({"width": {"low": 3, "high": 3}}, [], []),
    ],
    ids=str,
)
def test_numbers_are_axes_and_other_lists_are_choices(
    space: dict[str, Any], axes: list[str], factors: list[str]
) -> None:
    what = Searched.of(foreign(space).space)
    assert ([axis.name for axis in what.axes], [factor.name for factor in what.factors]) == (axes, factors)


def test_several_decay_points_have_an_axis_each() -> None:
    spec = (
        spec_of("rate", schedule="step")
        if False
        else make_spec(
            {
                "name": "a",
                "task": "names",
                "schedule": "step",
                "space": {"lr_exponent": {"low": -3, "high": 0}, "decay_points": {"low": 0.3, "high": 0.9, "count": 2}},
            }
        )
    )
    what = Searched.of(spec.space)
    assert {axis.name: axis.value({"decay_points": [0.5, 0.8]}) for axis in what.axes if not axis.rate} == {
        "decay_point_1": 0.5,
        "decay_point_2": 0.8,
    }


def test_each_choice_stands_at_its_own_best() -> None:
    spec = foreign({"lr": {"low": 1e-4, "high": 1.0, "log": True}, "optimizer": ["sgd", "adam", "lion"]})
    trials = [
        trial(
            k,
            2.0 + (x + (1 if name == "sgd" else 3)) ** 2 + (0.2 if name == "adam" else 0),
            lr_exponent=x,
            optimizer=name,
        )
        for k, (name, x) in enumerate([("sgd", -1.0), ("sgd", -2.0), ("adam", -3.0), ("adam", -2.0), ("sgd", -0.5)])
    ]
    (found,) = answer_of(spec, [*trials, trial(9, None, "diverged", lr_exponent=0.0, optimizer="lion")]).options
    seen = [(option.option, option.best, option.trials, option.behind) for option in found.options]
    assert seen == [("sgd", 0, 3, 0.0), ("adam", 2, 2, pytest.approx(0.2)), ("lion", None, 1, None)]


def test_what_exists_under_a_condition_only_is_searched_there() -> None:
    space = {
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "optimizer": ["sgd", "adam"],
        "momentum": {"low": 0.0, "high": 0.99, "when": {"optimizer": "sgd"}},
    }
    rng = np.random.default_rng(2)
    trials = []
    for k in range(24):
        kind, x, m = ("sgd", "adam")[k % 2], rng.uniform(-4, 0), rng.uniform(0, 0.99)
        params: dict[str, Any] = {"lr_exponent": float(x), "optimizer": kind}
        loss = 2.0 + 0.1 * (x + (1 if kind == "sgd" else 3)) ** 2 + (0.3 if kind == "adam" else 0.2 * (m - 0.9) ** 2)
        trials.append(TrialResult(k, "complete", float(loss), params | ({"momentum": m} if kind == "sgd" else {})))
    answer = answer_of(foreign(space), trials)
    assert answer.best and answer.best.params["optimizer"] == "sgd"
    assert answer.valley and abs(np.log10(answer.valley.best_x) + 1) < 3 * answer.valley.se
    json.dumps(answer.document(), allow_nan=False)


def test_only_complete_trials_are_points_of_a_valley() -> None:
    trials = sweep_of(bowl(np.linspace(-3, 0.5, 12), -1.0))
    parked = [TrialResult(20 + k, "stopped", None, {"lr_exponent": -2.0}, reports={10: 0.1}) for k in range(5)]
    running = [TrialResult(30, "running", None, {"lr_exponent": -2.0}, reports={10: 0.1})]
    assert valley(spec_of("rate"), [*trials, *parked, *running]).mean == valley(spec_of("rate"), trials).mean


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_trials_have_no_valley(count: int) -> None:
    answer = answer_of(spec_of("rate"), sweep_of(bowl(np.linspace(-3, 0.5, count), -1.0)))
    assert answer.valley is None and answer.slices == [] and len(answer.sentences) >= 1


def test_the_most_important_valley_is_the_first() -> None:
    rng = np.random.default_rng(4)
    space = {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}, "c": {"low": 0.0, "high": 1.0}}
    rows = rng.random((60, 3))
    trials = [
        trial(k, float(5 * (c - 0.5) ** 2 + 0.01 * a), a=a, b=b, c=c) for k, (a, b, c) in enumerate(rows.tolist())
    ]
    answer = answer_of(foreign(space), trials)
    assert next(iter(answer.importance)) == "c" == answer.slices[0].name
    assert sum(answer.importance.values()) == pytest.approx(1.0)
    assert answer_of(foreign({"a": space["a"], "b": space["b"]}), trials).importance == {}


def parked_beside(best: float = -1.0, noise: float = 0.0) -> list[TrialResult]:
    """Return complete trials near the best of a bowl, and parked ones farther off: all scored at 5 %, .3 above the end.

    The parked ones are as a search leaves them: scored higher than the complete ones.
    """
    rng = np.random.default_rng(0)
    ended = sweep_of(bowl(np.linspace(best - 0.4, best + 0.4, 9), best))
    ended = [replace(t, value=(t.value or 0) + noise * rng.standard_normal()) for t in ended]
    scored = [replace(t, scores={50: (t.value or 0) + 0.3}) for t in ended]
    left = [x for x in np.linspace(-2.9, 0.4, 12).tolist() if abs(x - best) > 0.45]
    parked = [TrialResult(20 + k, "stopped", None, {"lr_exponent": x}) for k, x in enumerate(left)]
    return scored + [replace(t, scores={50: 2.6 + 0.2 * (t.params["lr_exponent"] - best) ** 2}) for t in parked]


SCORED = spec_of("rate", budget={"steps": 1000})


def test_where_no_trial_is_complete_the_cost_is_foreseen_from_scores_of_those_that_were_left() -> None:
    found = valley(SCORED, parked_beside())
    by = {off.factor: off for off in found.off}
    assert by[0.1].cost is not None and by[10.0].cost is not None
    for off in (by[0.1], by[10.0]):
        assert off.low is not None and off.high is not None
        assert off.low < 0.2 < off.high, "a decade off costs .2"
        assert off.foreseen >= 1 and off.left == (0.05, 0.05)
    assert (by[2.0].foreseen, by[2.0].left) == (0, None), "measured"
    assert found.measured == pytest.approx((-1.4, -0.6)) and found.xs[0] == pytest.approx(-2.9)


def test_what_is_foreseen_is_less_sure_than_what_is_measured() -> None:
    trials = parked_beside(noise=0.002)
    whole = [
        replace(t, state="complete", value=2.3 + 0.2 * (t.params["lr_exponent"] + 1) ** 2) if t.value is None else t
        for t in trials
    ]
    foreseen, measured = ({off.factor: off for off in valley(SCORED, each).off}[0.1] for each in (trials, whole))
    assert (foreseen.high or 0) - (foreseen.low or 0) > 2 * ((measured.high or 0) - (measured.low or 0))
    assert foreseen.foreseen and not measured.foreseen


def test_a_best_beside_complete_trials_that_all_lie_on_one_side_is_looked_for_there_too() -> None:
    """A search stops what looks worse early. Scores that were as good on the other side widen the interval."""
    ended = [replace(t, scores={50: 2.6}) for t in sweep_of(bowl(np.linspace(-1.0, -0.7, 6), -1.0))]
    parked = [TrialResult(20 + k, "stopped", None, {"lr_exponent": -1.1 - 0.2 * k}, scores={50: 2.6}) for k in range(4)]
    alone, with_parked = valley(SCORED, ended), valley(SCORED, [*ended, *parked])
    assert alone.interval[0] >= -1.0 > with_parked.interval[0]


def test_scores_count_from_the_best_of_their_rung_and_lost_trials_have_none() -> None:
    trials = parked_beside()
    higher = [replace(t, scores={step: score + 5 for step, score in t.scores.items()}) for t in trials]
    assert valley(SCORED, higher).mean == pytest.approx(valley(SCORED, trials).mean)
    lost = [replace(t, state="diverged", verdict="diverged") if t.params["lr_exponent"] < -1.4 else t for t in trials]
    assert 0.1 not in {off.factor for off in valley(SCORED, lost).off}


def test_of_a_metric_to_maximise_what_is_foreseen_is_below() -> None:
    spec = spec_of("rate", budget={"steps": 1000}, objective={"metric": "accuracy", "mode": "max"})
    low, high = (
        parked_beside(),
        [replace(t, scores={step: -score for step, score in t.scores.items()}) for t in upside_down(parked_beside())],
    )
    one, other = valley(SCORED, low), valley(spec, high)
    assert [(off.cost, off.foreseen) for off in other.off] == [
        (pytest.approx(off.cost), off.foreseen) for off in one.off
    ]
    assert other.mean == pytest.approx([-y for y in one.mean])


def test_scores_of_one_trunk_count_once() -> None:
    trials = parked_beside()
    again = [replace(t, number=t.number + 50) for t in trials if t.value is None]
    assert valley(SCORED, [*trials, *again]).mean == valley(SCORED, trials).mean


def test_three_complete_trials_and_what_was_parked_have_a_valley() -> None:
    trials = [t for t in parked_beside() if t.number in (3, 4, 5) or t.value is None]
    found = valley(SCORED, trials)
    assert found.interval[0] <= -1 <= found.interval[1]
