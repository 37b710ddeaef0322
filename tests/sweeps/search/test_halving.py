"""Successive halving: the rule beside Optuna's own, the referee of a cohort, and what a sweep makes of both."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import SuccessiveHalvingPruner

from espalier.core.errors import BadInput
from espalier.core.training.events import Event, Reported, Scored
from espalier.sweeps.cohorts import scoring
from espalier.sweeps.running.board import Board
from espalier.sweeps.running.referee import Referee
from espalier.sweeps.search.halving import Entry, Halving
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.spec.stopping import Stopping
from tests.sweeps.made import end, report, spec_with

RUNG = 10


# --- the rule ---------------------------------------------------------------------------------------------------------


@given(scores=st.lists(st.integers(0, 999), min_size=1, max_size=40, unique=True), reduction=st.integers(2, 4))
def test_the_rule_is_that_of_optuna_where_the_crowd_divides_evenly(scores: list[int], reduction: int) -> None:
    """Optuna rounds the number that goes on down, this rule up; both are asynchronous: who comes early has it easy."""
    pruner = SuccessiveHalvingPruner(min_resource=RUNG, reduction_factor=reduction, min_early_stopping_rate=0)
    study = optuna.create_study(pruner=pruner)
    rule = Halving(Stopping(reduction=reduction, least=2))
    for number, score in enumerate(scores):
        trial = study.ask()
        trial.report(score, RUNG)
        pruned = trial.should_prune()
        rule.enter([(RUNG, number, float(score), number)])
        if (number + 1) % reduction == 0:
            assert bool(rule.reason(RUNG, number)) == pruned
        study.tell(trial, score)


@given(
    scores=st.lists(st.floats(0, 10) | st.just(math.inf), min_size=1, max_size=30),
    stopping=st.builds(Stopping, reduction=st.floats(1.1, 8), least=st.integers(2, 9)),
    order=st.randoms(use_true_random=False),
)
def test_the_best_share_goes_on_in_any_order(scores: list[float], stopping: Stopping, order: random.Random) -> None:
    entries: list[Entry] = [(RUNG, k, score, k) for k, score in enumerate(scores)]
    rule, shuffled = Halving(stopping), Halving(stopping)
    rule.enter(entries)
    for entry in order.sample(entries, len(entries)) + entries[:3]:  # one that is said twice changes nothing
        shuffled.enter([entry])
    reasons = [rule.reason(RUNG, k) for k in range(len(scores))]
    assert reasons == [shuffled.reason(RUNG, k) for k in range(len(scores))]
    on = [k for k, reason in enumerate(reasons) if not reason]
    if len(scores) < stopping.least:
        assert len(on) == len(scores)
    assert len(on) >= len(scores) / stopping.reduction, "of equal scores all go on"
    stopped = [score for k, score in enumerate(scores) if k not in on]
    assert all(score > scores[k] for score in stopped for k in on)
    assert all(sum(other < score for other in scores) >= len(scores) / stopping.reduction for score in stopped)


def test_a_score_of_no_number_is_the_worst() -> None:
    rule = Halving(Stopping(reduction=2, least=2))
    rule.enter([(RUNG, 0, math.nan, 0), (RUNG, 1, 7.0, 1)])
    assert rule.reason(RUNG, 0)
    assert not rule.reason(RUNG, 1)


@pytest.mark.parametrize("rungs", [[], [0.5, 0.1], [0.1, 0.1], [0.0], [1.0], [-0.1, 0.5]])
def test_rungs_that_are_no_rising_shares_are_refused(rungs: list[float]) -> None:
    with pytest.raises(BadInput, match=r"stopping\.rungs: rungs are shares of the budget between 0 and 1, rising"):
        spec_with(stopping={"rungs": rungs})


@pytest.mark.parametrize(
    ("stopping", "words"),
    [
        ({"reduction": 1}, "stopping.reduction: input should be greater than 1"),
        ({"score": "luck"}, "stopping.score: "),
        ({"rung": [0.1]}, "stopping.rung: unknown field; did you mean 'rungs'"),
        ({"least": 1}, "stopping.least"),
        ({"probe": 0}, "stopping.probe"),
        ({"probe_share": 0}, "stopping.probe_share"),
        ({"probe": 0.1, "probe_share": 0.5}, "stopping: probe 0.1 and probe_share 0.5 exclude each other"),
    ],
)
def test_a_wrong_field_of_stopping_is_refused(stopping: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as refusal:
        spec_with(stopping=stopping)
    assert words in str(refusal.value)


def test_a_third_goes_on_and_in_a_sweep_of_an_earlier_version_the_better_half() -> None:
    assert Stopping().reduction == 3
    spec = spec_with(stopping={})
    earlier = {"rungs": [0.1, 0.25, 0.5], "reduction": 2.0, "least": 4, "score": "average", "probe": 0.02}
    stored = make_spec({**spec.model_dump(mode="json"), "stopping": earlier}, stored=True)
    assert stored.stopping
    assert stored.stopping.reduction == 2


def test_a_probe_is_a_share_of_the_rung_and_in_a_spec_of_an_earlier_version_of_the_budget() -> None:
    budget = {"steps": 1000, "batch_size": 11}
    spec = spec_with(stopping={"score": "probe"}, budget=budget)
    assert [scoring(spec).copy_steps(rung) for rung in (100, 500)] == [20, 100]
    earlier = {"rungs": [0.1, 0.25, 0.5], "reduction": 2.0, "least": 4, "score": "probe", "probe": 0.02}
    stored = make_spec({**spec.model_dump(mode="json"), "stopping": earlier}, stored=True)
    assert [scoring(stored).copy_steps(rung) for rung in (100, 500)] == [20, 20]
    assert make_spec(stored.model_dump(mode="json")) == stored


def test_rungs_lie_within_the_budget_however_short() -> None:
    assert Stopping(rungs=(0.001, 0.5, 0.999)).steps(4) == (1, 2, 3)
    assert Stopping(rungs=(0.1, 0.25)).steps(2) == (1,)
    with pytest.raises(BadInput, match="a trial of one step has no rungs"):
        spec_with(stopping={}, budget={"steps": 1, "batch_size": 11})


# --- the referee ------------------------------------------------------------------------------------------------------


STOPPING = Stopping(rungs=(0.25, 0.5), reduction=2, least=2)


def board(*entries: Entry) -> Board:
    """A board with the scores of an earlier driver."""
    rule = Halving(STOPPING)
    rule.enter(entries)
    return Board(rule)


def referee(judge: Board | None = None, replicates: int = 1, mode: str = "min") -> Referee:
    sign = 1.0 if mode == "min" else -1.0
    return Referee(STOPPING.steps(40), "valid_loss", sign, replicates, (judge or Board(Halving(STOPPING, sign))).judge)


def score(member: str, value: float, step: int = 10, leader: str = "") -> Scored:
    values = {"valid_loss": value} if math.isfinite(value) else {}
    return Scored(member, step, values, "average", leader)


def test_the_worse_half_of_a_cohort_stops_and_is_told_so_once() -> None:
    judge = referee()
    crowd = [score(f"{k}/0", loss) for k, loss in enumerate((2.0, 5.0, 3.0, 4.0))]
    stopped = judge.rule(crowd)
    assert set(stopped) == {"1/0", "3/0"}
    assert stopped["1/0"] == f"ranked 4 of 4 by {STOPPING.score} at step 10 (5), the best 2 go on"
    assert judge.rule(crowd) == {}


@given(
    scores=st.lists(st.floats(1, 9, allow_nan=False) | st.just(math.nan), min_size=2, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_what_is_decided_on_a_batch_does_not_depend_on_its_order(scores: list[float], order: random.Random) -> None:
    """Those that diverged, and those that fell behind, are no exception."""
    lives: list[list[Event]] = [[score(f"{k}/0", value)] for k, value in enumerate(scores)]
    lives += [[end("8/0", 7, 9.0, "diverged")], [said("9/0", 10, "healthy", 1.0)]]
    lives += [[said("10/0", step, "collapsed", 2.3) for step in (10, 20)]]
    shuffled = [life.copy() for life in lives]
    mixed: list[Event] = []
    while any(shuffled):
        mixed.append(order.choice([life for life in shuffled if life]).pop(0))
    assert referee().rule(mixed) == referee().rule(event for life in lives for event in life)


def of_one_trunk(first: int, loss: float, branches: int = 4) -> list[Scored]:
    return [score(f"{trial}/0", loss, leader=f"{first}/0") for trial in range(first, first + branches)]


def test_branches_that_share_their_trunk_count_as_one() -> None:
    """Else two trunks of four would be a crowd of eight, and the one of them would stop whole at once."""
    judge = referee(Board(Halving(Stopping(rungs=(0.25, 0.5), reduction=2, least=3))))
    assert judge.rule([*of_one_trunk(0, 2.0), *of_one_trunk(4, 3.0)]) == {}
    stopped = judge.rule(of_one_trunk(8, 4.0))
    assert set(stopped) == {f"{trial}/0" for trial in range(8, 12)}
    assert set(stopped.values()) == {_reason(3, 3, 4.0, 2)}


def test_branches_that_diverged_in_their_trunk_count_as_one() -> None:
    judge = referee()
    lost = [end(f"{trial}/0", 7, 9.0, "diverged", leader="0/0") for trial in range(4)]
    assert judge.rule([*lost, score("4/0", 2.0)]) == {}
    assert judge.rule([score("5/0", 3.0)]) == {}, "the second of three"
    assert judge.rule([score("6/0", 4.0)]) == {"6/0": _reason(3, 4, 4.0, 2)}


def test_where_the_metric_is_to_grow_the_lower_half_stops() -> None:
    stopped = referee(mode="max").rule([score("0/0", 0.5), score("1/0", 0.9)])
    assert list(stopped) == ["0/0"]
    assert "(0.5)" in stopped["0/0"]


def test_a_trial_is_scored_by_the_mean_of_its_replicates_and_stops_whole() -> None:
    judge = referee(replicates=2)
    assert judge.rule([score("0/0", 1.0), score("1/0", 3.0), score("1/1", 3.0)]) == {}, "trial 0 is not complete"
    assert set(judge.rule([score("0/1", 9.0)])) == {"0/0", "0/1"}


def test_a_probe_that_diverged_is_the_worst() -> None:
    assert set(referee().rule([score("0/0", math.nan), score("1/0", 9.0)])) == {"0/0"}


def test_a_trial_that_diverged_counts_at_the_rungs_it_did_not_reach() -> None:
    """Else the better half of those that are left would go."""
    judge = referee()
    assert judge.rule([end("0/0", 7, 9.0, "diverged"), score("1/0", 3.0), score("2/0", 4.0)]) == {}
    late = referee()
    assert late.rule([end("0/0", 30, 9.0, "diverged")]) == {}
    assert late.own == {}


def test_the_other_seeds_of_a_trial_that_diverged_end_too() -> None:
    assert referee(replicates=2).rule([end("4/1", 7, 9.0, "diverged")]).keys() == {"4/0", "4/1"}


def said(member: str, step: int, verdict: str, train_loss: float = 2.0, rate: float = 0.1) -> Reported:
    values = {"valid_loss": 3.0, "train_loss": train_loss, "lr": rate}
    return replace(report(member, step, 3.0), verdict=verdict, evidence="it was seen", values=values)


@pytest.mark.parametrize("verdict", ["diverged", "collapsed"])
def test_a_hopeless_verdict_that_holds_ends_a_trial_whatever_its_rank(verdict: str) -> None:
    judge = referee()
    judge.rule([said("1/0", 10, "healthy", 1.0)])
    assert judge.rule([said("0/0", 10, verdict)]) == {}, "a run may pass through the loss of a constant guess"
    assert judge.rule([said("0/0", 20, verdict)]) == {"0/0": f"{verdict} at step 20: it was seen"}


def test_where_no_trial_has_left_the_loss_of_a_constant_guess_none_is_hopeless() -> None:
    """A plateau at the beginning is the model's; the rule of the ranks tells who leaves it late."""
    judge = referee()
    late = [said(f"{trial}/0", step, "collapsed", 2.3 - 0.001 * trial) for step in (10, 20, 30) for trial in range(3)]
    assert judge.rule(late) == {}
    assert judge.rule([said("2/0", 34, "healthy", 1.5)]) == {}
    assert judge.rule([said("0/0", 36, "collapsed", 2.3)]) == {}, "in one report alone others were ahead"
    assert list(judge.rule([said("0/0", 38, "collapsed", 2.3)])) == ["0/0"]


def test_a_trial_that_falls_back_to_the_loss_of_a_constant_guess_is_hopeless_without_others() -> None:
    judge = referee()
    events = [said("0/0", 10, "healthy", 1.0), said("0/0", 20, "collapsed", 2.3), said("0/0", 30, "collapsed", 2.3)]
    assert list(judge.rule(events)) == ["0/0"]


def test_no_trial_has_collapsed_while_its_rate_still_rises() -> None:
    judge = referee()
    judge.rule([said("1/0", 10, "healthy", 1.0)])
    rates = {10: 0.01, 15: 0.02, 20: 0.03, 25: 0.04, 30: 0.04}
    assert judge.rule([said("0/0", step, "collapsed", 2.3, rate) for step, rate in rates.items()]) == {}
    assert list(judge.rule([said("0/0", 35, "collapsed", 2.3, 0.03)])) == ["0/0"]


@pytest.mark.parametrize("verdict", ["frozen", "hot", "catapult", "healthy"])
def test_no_other_verdict_ends_a_trial(verdict: str) -> None:
    assert referee().rule([said("0/0", step, verdict) for step in (10, 20, 30)]) == {}


def test_a_verdict_before_the_first_rung_or_between_others_ends_nothing() -> None:
    assert referee().rule([said("0/0", 5, "collapsed"), said("0/0", 10, "collapsed")]) == {}
    steps = [(10, "collapsed"), (20, "healthy"), (30, "collapsed")]
    assert referee().rule([said("0/0", step, verdict) for step, verdict in steps]) == {}


def test_cohorts_that_share_a_board_are_judged_together() -> None:
    shared = board((10, 9, 1.5, 9))
    first, second = referee(shared), referee(shared)
    assert first.rule([score("0/0", 2.0)]) == {"0/0": _reason(2, 2, 2.0, 1)}
    assert second.rule([score("1/0", 1.0)]) == {}
    assert second.rule([score("2/0", 1.7)]) == {"2/0": _reason(3, 4, 1.7, 2)}


def test_a_board_that_forgot_is_told_again() -> None:
    judge = referee(board())
    judge.rule([score("0/0", 2.0)])
    judge.ask = board().judge
    assert judge.rule([score("1/0", 3.0)]) == {"1/0": _reason(2, 2, 3.0, 1)}


def test_what_was_decided_once_holds_for_a_trial_that_is_scored_again() -> None:
    """A worker died after the word was given; in the meantime others have been scored, and the ranks are others."""
    shared = board()
    assert referee(shared).rule([score("0/0", 2.0)]) == {}
    assert referee(shared).rule([score("1/0", 3.0)]) == {"1/0": _reason(2, 2, 3.0, 1)}
    others = [score(f"{k}/0", loss) for k, loss in ((2, 1.0), (3, 1.1), (4, 9.0), (5, 9.1), (6, 9.2))]
    referee(shared).rule(others)
    assert referee(shared).rule([score("0/0", 2.0)]) == {}
    assert referee(shared).rule([score("1/0", 3.0)]) == {"1/0": _reason(2, 2, 3.0, 1)}
    assert shared.rule.reason(10, 1) == "", "else this proves nothing"


def _reason(rank: int, of: int, value: float, kept: int) -> str:
    return f"ranked {rank} of {of} by {Stopping().score} at step 10 ({value:g}), the best {kept} go on"


@given(cut=st.integers(0, 8), order=st.randoms(use_true_random=False))
def test_a_resumed_referee_says_what_the_uninterrupted_one_says(cut: int, order: random.Random) -> None:
    events = [score(f"{k}/{r}", 1.0 + k * 7 % 5 + r, step) for step in (10, 20) for k in range(4) for r in range(2)]
    events += [said("2/0", 20, "healthy", 1.0), said("1/0", 20, "collapsed"), said("1/1", 20, "collapsed")]
    events = [*order.sample(events, len(events)), said("1/0", 30, "collapsed"), said("1/1", 30, "collapsed")]
    whole = referee(replicates=2)
    expected = [whole.rule([event]) for event in events]

    def resumed(events: Sequence[Event]) -> list[dict[str, str]]:
        judge = referee(replicates=2)
        first = [judge.rule([event]) for event in events[:cut]]
        again = referee(replicates=2)
        again.load_state(judge.state())
        return first + [again.rule([event]) for event in events[cut:]]

    assert resumed(events) == expected
