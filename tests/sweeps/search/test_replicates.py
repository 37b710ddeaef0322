"""What became of a trial, out of the events of its replicates."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from espalier.core.training.events import Event, Forked, Started, TrialId
from espalier.sweeps.search import attributes
from espalier.sweeps.search.replicates import Replicates, averaged, value_to_beat
from espalier.sweeps.search.trial_events import Outcome, Report, Score
from espalier.sweeps.search.trial_record import TrialRecord
from tests.sweeps.made import end, life, report

FINITE = st.floats(-1e6, 1e6)


def told(count: int, events: Sequence[Event]) -> list[Report | Score | Outcome]:
    """Return what the events of replicates are merged into."""
    replicates = Replicates(4, count)
    return [said for event in events if (said := replicates.merge(event)) is not None]


def test_the_story_of_one_replicate_is_its_own() -> None:
    *reports, outcome = told(1, life(4, 2.5))
    assert [said.step for said in reports] == [10, 20, 30, 40]
    assert all(said.values == {"valid_loss": 2.5, "train_loss": 3.5} for said in reports)
    assert reports[0].curve == [(9, 4.5), (10, 3.5)]
    assert isinstance(outcome, Outcome)
    assert (outcome.trial, outcome.status, outcome.step, outcome.verdict) == (4, "complete", 40, "healthy")
    assert outcome.values == {"valid_loss": 2.5, "train_loss": 3.5}
    assert len(outcome.replicates) == 1


def test_a_story_of_several_replicates_has_their_mean_and_their_spread() -> None:
    *reports, outcome = told(3, life(4, 2.0, replicates=3))
    assert len(reports) == 4
    for said in (*reports, outcome):
        assert said.values["valid_loss"] == 3.0
        assert said.values["valid_loss_std"] == statistics.stdev([2.0, 3.0, 4.0])
        assert said.values["train_loss"] == 4.0
    assert reports[0].curve == [(9, 5.0), (10, 4.0)]


@given(st.lists(FINITE, min_size=2, max_size=5), st.randoms())
def test_the_order_in_which_replicates_deliver_does_not_change_a_bit(losses: list[float], order: random.Random) -> None:
    events = [report(f"4/{r}", 10, loss) for r, loss in enumerate(losses)]
    ends = [end(f"4/{r}", 10, loss) for r, loss in enumerate(losses)]
    first = told(len(losses), events + ends)
    order.shuffle(events)
    order.shuffle(ends)
    assert told(len(losses), events + ends) == first


def test_a_training_loss_that_one_replicate_has_not_reported_has_no_mean() -> None:
    events = [report("4/0", 10, 1.0), replace(report("4/1", 10, 2.0), curve=[(10, 4.0)])]
    (said,) = told(2, events)
    assert isinstance(said, Report)
    assert (said.values["valid_loss"], said.curve) == (1.5, [(10, 3.0)])
    (said,) = told(2, [events[0], replace(events[1], curve=[])])
    assert isinstance(said, Report) and said.curve == []


def test_numbers_whose_sum_is_none_have_a_mean_and_a_spread() -> None:
    assert averaged([{"a": 1.7e308}, {"a": 1.7e308}]) == {"a": pytest.approx(1.7e308), "a_std": 0.0}
    both = averaged([{"a": 1.7e308}, {"a": -1.7e308}])
    assert both["a"] == 0.0 and math.isfinite(both["a_std"])


def test_a_report_waits_for_the_last_replicate() -> None:
    replicates = Replicates(4, 2)
    assert replicates.merge(report("4/0", 10, 1.0)) is None
    assert replicates.merge(report("4/0", 20, 1.0)) is None
    said = replicates.merge(report("4/1", 10, 2.0))
    assert isinstance(said, Report)
    assert (said.step, said.values["valid_loss"]) == (10, 1.5)


def test_an_event_heard_twice_does_not_count_twice() -> None:
    replicates = Replicates(4, 2)
    assert [replicates.merge(report("4/0", 10, 1.0)) for _ in range(3)] == [None] * 3
    assert [replicates.merge(end("4/0", 40, 1.0)) for _ in range(3)] == [None] * 3
    assert isinstance(replicates.merge(end("4/1", 40, 2.0)), Outcome)


@pytest.mark.parametrize("diverged", [0, 1, 2])
def test_a_diverged_replicate_makes_the_trial_diverged(diverged: int) -> None:
    ends = [end(f"4/{r}", 40, 2.0 + r) for r in range(3)]
    ends[diverged] = end(f"4/{diverged}", 17, 9.0, "diverged")
    (outcome,) = told(3, ends)
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.step, outcome.verdict) == ("diverged", 17, "diverged")
    assert outcome.evidence == f"evidence of 4/{diverged}"
    assert len(outcome.replicates) == 3


def test_a_stopped_replicate_makes_the_trial_stopped_unless_one_diverged() -> None:
    (outcome,) = told(2, [end("4/0", 40, 1.0), end("4/1", 20, 1.0, "stopped")])
    assert (outcome.status, outcome.step) == ("stopped", 20)
    (outcome,) = told(2, [end("4/0", 30, 1.0, "stopped"), end("4/1", 20, 1.0, "diverged")])
    assert (outcome.status, outcome.step) == ("diverged", 20)


def test_the_members_of_an_outcome_stand_in_the_order_of_their_seeds() -> None:
    ends = [end(f"4/{r}", 40, float(r)) for r in range(12)]
    (outcome,) = told(12, ends[::-1])
    assert isinstance(outcome, Outcome)
    assert [member.trial_id for member in outcome.replicates] == [TrialId(4, r) for r in range(12)]


@pytest.mark.parametrize("event", [Started("4/0", 0), Forked("4/0", 3, "2/0")])
def test_a_start_and_a_fork_are_no_news_of_a_story(event: Event) -> None:
    assert Replicates(4, 1).merge(event) is None


def test_a_trial_that_ends_before_its_first_report_has_no_values() -> None:
    event = end("4/0", 0, 1.0, "diverged", values={})
    (outcome,) = told(1, [event])
    assert outcome.values == {}


def test_values_that_are_not_finite_are_left_out() -> None:
    event = end("4/0", 3, 1.0, "diverged", values={"valid_loss": 2.0, "train_loss": float("inf")})
    (outcome,) = told(1, [event])
    assert outcome.values == {"valid_loss": 2.0}


@given(st.lists(FINITE, min_size=1, max_size=6))
def test_means_and_spreads_are_those_of_the_textbook(values: list[float]) -> None:
    found = averaged([{"a": value} for value in values])
    assert found["a"] == statistics.fmean(values)
    assert ("a_std" in found) is (len(values) > 1)
    if len(values) > 1:
        assert found["a_std"] == statistics.stdev(values)


def test_only_what_all_replicates_have_is_averaged() -> None:
    assert set(averaged([{"a": 1.0, "b": 2.0}, {"a": 3.0}])) == {"a", "a_std"}
    assert averaged([]) == {}


def test_a_trial_is_as_well_as_the_worst_of_its_replicates() -> None:
    ends = [
        end("0/0", 40, 1.0, verdict="healthy"),
        end("0/1", 40, 1.0, verdict="collapsed", evidence="it sits at a guess"),
        end("0/2", 40, 1.0, verdict="hot"),
    ]
    replicates = Replicates(0, 3)
    (outcome,) = [told for told in map(replicates.merge, ends) if told]
    assert isinstance(outcome, Outcome) and (outcome.verdict, outcome.evidence) == ("collapsed", "it sits at a guess")


def test_what_is_to_beat_is_the_better_of_a_guess_and_the_untrained_model_in_the_mean() -> None:
    members = [
        end("0/0", 40, 2.0, baselines={"guess": {"valid_loss": 2.3}, "before": {"valid_loss": 2.5}}),
        end("0/1", 40, 2.0, baselines={"guess": {}, "before": {"valid_loss": 2.1}}),
    ]
    assert value_to_beat(members, "valid_loss", "min") == pytest.approx(2.2)
    assert value_to_beat(members, "valid_loss", "max") == pytest.approx(2.3)
    assert value_to_beat(members, "valid_accuracy", "max") is None
    assert value_to_beat([*members, end("0/2", 40, 2.0)], "valid_loss", "min") is None
    assert value_to_beat([], "valid_loss", "min") is None


def test_the_evidence_names_a_metric_that_was_no_number() -> None:
    (outcome,) = [t for t in map(Replicates(0, 1).merge, [end("0/0", 40, 1.0, missing={"valid_auc": [10]})]) if t]
    assert isinstance(outcome, Outcome)
    assert outcome.evidence == "evidence of 0/0; valid_auc was no number in 1 of 1 reports"


def test_a_trial_without_a_value_has_no_spread() -> None:
    """Replicates of a diverged trial end with losses of any size: their spread says nothing."""
    states = {TrialState.COMPLETE: 0.5, TrialState.PRUNED: None}
    for state, spread in states.items():
        trial = create_trial(state=state, value=1.0 if spread else None, user_attrs={attributes.SPREAD: 0.5})
        assert TrialRecord(trial).spread == spread
