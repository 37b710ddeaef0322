"""A study taken up after its process died anywhere."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from espalier.core.training.events import Scored
from espalier.sweeps.search.rule import stopping_rule
from tests.sweeps.made import end, life, report, spec_with
from tests.sweeps.search.desk import BRANCHED, STRUCTURED, Desk, assert_inside, finish, loss_of
from tests.tiers import examples

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")


def assert_whole(desk: Desk) -> None:
    """Hold a study to what was asked for: every trial once, none running, each outcome as it was first told."""
    wanted = desk.spec.trials_wanted
    trials = desk.trials
    assert [trial.number for trial in trials] == list(range(wanted))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    for trial in trials:
        point = desk.spec.space.resolve(trial.params)
        assert_inside(point, desk.spec)
        if trial.state == TrialState.COMPLETE:
            assert trial.value == loss_of(point)


def work(desk: Desk, moves: int, dies_asking: int | None = None) -> bool:
    """Let a process make so many moves (a cohort given out, an event told) and die. Return whether the sweep ended."""
    search, feeds = desk.take_up(), {}
    asked = itertools.count()
    ask = search.record.study.ask

    def mortal_ask(*arguments: Any) -> Any:
        if next(asked) == dies_asking:
            raise KeyboardInterrupt
        return ask(*arguments)

    search.record.study.ask = mortal_ask
    for _ in range(moves):
        suggestion = search.next_cohort()
        if suggestion:
            ended = {t.number for t in desk.trials if t.state.is_finished()}
            alive = [t for t in suggestion.trials if suggestion.resume_from or t.number not in ended]
            assert alive == list(suggestion.trials)
            lives = [life(t.number, loss_of(t.point)) for t in alive]
            feeds[suggestion.id] = [event for story in itertools.zip_longest(*lives) for event in story if event]
        elif not feeds:
            break
        else:
            cohort = next(iter(feeds))
            search.take_events([feeds[cohort].pop(0)])
            if not feeds[cohort]:
                search.cohort_over(cohort)
                del feeds[cohort]
    if search.exhausted and not feeds:
        search.settle(everything=True)
        return True
    return False


@examples(15)  # each writes some hundred lines to the disk
@given(
    st.sampled_from(["tpe", "random", "qmc"]),
    st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 9)), max_size=6),
    st.booleans(),
)
def test_a_sweep_that_dies_anywhere_ends_with_exactly_the_trials_asked_for(
    tmp_path_factory: pytest.TempPathFactory, sampler: str, deaths: list[tuple[int, int | None]], branched: bool
) -> None:
    space = BRANCHED.space.model_dump() if branched else STRUCTURED.space.model_dump()
    spec = spec_with(space=space, search={"sampler": sampler, "seed": 2}, trials=9)
    desk = Desk(tmp_path_factory.mktemp("deaths"), spec)
    for moves, dies_asking in deaths:
        try:
            work(desk, moves, dies_asking)
        except KeyboardInterrupt:
            continue
    assert work(desk, 1000)
    assert_whole(desk)
    assert desk.states() == {"COMPLETE": 9}


@pytest.mark.parametrize("dies_asking", range(6))
def test_a_grid_that_dies_while_it_asks_still_gives_each_point_once(dies_asking: int, tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": [-3, -2, -1], "scale": [0.1, 1.0]}, search={"sampler": "grid"}, trials=6)
    desk = Desk(tmp_path, spec, cohort_trials=6)
    with pytest.raises(KeyboardInterrupt):
        work(desk, 1, dies_asking)
    assert work(desk, 1000)
    assert_whole(desk)
    assert len({tuple(trial.params.values()) for trial in desk.trials}) == 6


def test_a_trial_that_was_asked_for_but_not_yet_in_a_cohort_is_given_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=3))
    desk.search.record.study.ask(desk.search.asker.domains)
    assert "cohort" not in desk.trials[0].user_attrs
    search = desk.take_up()
    seen = finish(search)
    assert sorted(t.number for cohort in seen for t in cohort) == [0, 1, 2]
    assert_whole(desk)


@pytest.mark.parametrize("known", range(3))
def test_a_trial_that_died_while_it_was_sampled_is_sampled_to_the_end(known: int, tmp_path: Path) -> None:
    desk = Desk(tmp_path, STRUCTURED)
    names = list(desk.search.asker.domains)[:known]
    trial = desk.search.record.study.ask({name: desk.search.asker.domains[name] for name in names})
    finish(desk.take_up())
    assert_whole(desk)
    kept = desk.trials[0].params
    assert {name: kept[name] for name in names} == trial.params


def test_the_branches_asked_for_after_an_interruption_still_share_their_trunk(tmp_path: Path) -> None:
    desk = Desk(tmp_path, BRANCHED, cohort_trials=8)
    with pytest.raises(KeyboardInterrupt):
        work(desk, 1, dies_asking=6)
    assert [trial.number for trial in desk.trials] == list(range(6))
    assert work(desk, 1000)
    assert_whole(desk)
    for trunk in range(4):
        of_trunk = desk.trials[4 * trunk : 4 * trunk + 4]
        assert len({trial.params["lr_exponent"] for trial in of_trunk}) == 1
        assert len({trial.params["decay_point"] for trial in of_trunk}) == 4


def test_a_resumed_search_does_not_repeat_its_first_draws(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=12, search={"sampler": "random"}), cohorts=1)
    while not work(desk, 30):  # more than a cohort, so that each process ends one and dies in the next
        pass
    assert_whole(desk)
    assert len({trial.params["lr_exponent"] for trial in desk.trials}) == 12


def test_an_interrupted_cohort_without_a_checkpoint_begins_again_with_what_it_had_not_finished(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4))
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear([*life(1, 1.0), report("2/0", 10, 1.0)])
    desk.settle()
    again = desk.take_up().next_cohort()
    assert again
    assert (again.id, again.resume_from) == (suggestion.id, None)
    assert [t.number for t in again.trials] == [0, 2, 3]
    points = {t.number: t.point for t in suggestion.trials}
    assert {t.number: t.point for t in again.trials} == {n: points[n] for n in (0, 2, 3)}


def test_an_interrupted_cohort_with_a_checkpoint_takes_all_its_trials_along(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4))
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear(life(1, loss_of(suggestion.trials[1].point)))
    desk.settle()
    desk.checkpoints[suggestion.id] = "/the/checkpoint"
    search = desk.take_up()
    again = search.next_cohort()
    assert again == replace(suggestion, resume_from="/the/checkpoint")
    before = len(desk.events)
    search.take_events(life(1, 99.0)[-1:])  # replayed by the cohort: it was told already
    assert len(desk.events) == before
    for trial in again.trials:
        search.take_events(life(trial.number, loss_of(trial.point))[-1:])
    search.settle(everything=True)
    assert_whole(desk)


def test_a_cohort_all_of_whose_trials_ended_is_not_trained_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=8))
    first = desk.search.next_cohort()
    assert first
    for trial in first.trials:
        desk.hear(life(trial.number, 1.0))
    desk.settle()
    search = desk.take_up()
    again = search.next_cohort()
    assert again
    assert {t.number for t in again.trials}.isdisjoint(t.number for t in first.trials)


def test_a_sweep_that_has_ended_has_nothing_to_give(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4))
    finish(desk.search)
    search = desk.take_up()
    assert search.exhausted
    assert search.next_cohort() is None
    assert desk.states() == {"COMPLETE": 4}


def test_a_resumed_sweep_knows_the_scores_and_who_went_on_or_was_stopped(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    scored = [Scored(f"{k}/0", 10, {"valid_loss": 3.0 + k}, "average") for k in range(3)]
    desk.hear([*(report(f"{k}/0", 10, 3.0) for k in range(4)), *scored])
    desk.hear([report("0/0", 20, 2.0), end("2/0", 10, 5.0, "stopped"), end("3/0", 10, 9.0, "diverged")])
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.decided == {(10, 0): "", (10, 2): "evidence of 2/0"}, "trial 1 is to be judged"
    assert rule.board[10] == {0: (3.0, 0), 1: (4.0, 1), 2: (5.0, 2)}


def test_a_stop_of_replicates_is_known_at_the_rung_that_all_of_them_reached(tmp_path: Path) -> None:
    """One of them may have run ahead of the others by then."""
    desk = Desk(tmp_path, spec_with(trials=3, replicates=2, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    scored = [Scored(f"0/{r}", 10, {"valid_loss": 5.0}, "average") for r in range(2)]
    desk.hear([*scored, end("0/0", 17, 5.0, "stopped"), end("0/1", 10, 5.0, "stopped")])
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.decided == {(10, 0): "evidence of 0/0"}
    better = [(10, trial, 1.0, trial) for trial in range(5, 9)]
    assert rule.judge(better, [(10, 0)]) == {(10, 0): "evidence of 0/0"}, "what was decided stays decided"


def test_a_trial_that_diverged_is_the_worst_at_the_rungs_it_did_not_reach_for_a_resumed_sweep_too(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, spec_with(trials=4, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    desk.hear([report("1/0", 10, 3.0), end("1/0", 17, 9.0, "diverged")])
    desk.settle()
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.board == {20: {1: (math.inf, 1)}}


def test_trials_of_one_history_that_diverged_under_a_later_seed_count_as_one_for_a_resumed_sweep_too(
    tmp_path: Path,
) -> None:
    """Their first seeds were stopped for it, and name no leader: only the seed that diverged does."""
    desk = Desk(tmp_path, spec_with(trials=2, replicates=2, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    for trial in range(2):
        ends = [end(f"{trial}/0", 10, 5.0, "stopped"), end(f"{trial}/1", 7, 9.0, "diverged", leader="0/1")]
        desk.hear(ends)
    desk.settle()
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.board == {rung: {0: (math.inf, 0), 1: (math.inf, 0)} for rung in (10, 20)}
