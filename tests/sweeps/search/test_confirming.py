"""Confirmations: the best trials once more under other seeds, when the search has ended."""

from pathlib import Path

import pytest

from espalier.core.training.events import Event
from espalier.sweeps.results.noise import estimate_noise
from espalier.sweeps.results.trial_result import best_trial, searched
from espalier.sweeps.search.trial_events import Start
from tests.sweeps.made import THERMOMETER, end, life, spec_with
from tests.sweeps.search.desk import BRANCHED, Desk, finish, loss_of

CONFIRMED = spec_with(confirm=3)


def unlike(number: int, loss: float) -> list[Event]:
    """Return a trial's events, with a loss that its seed or number has changed a little."""
    return life(number, loss + number / 1000)


def test_the_best_trials_are_trained_once_more_under_seeds_of_their_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CONFIRMED)
    finish(desk.search, unlike)
    trials = desk.search.record.results()
    assert len(trials) == CONFIRMED.trials + 3
    best = sorted(searched(trials), key=lambda t: t.value or 0.0)[:3]
    again = [t for t in trials if t.confirms is not None]
    assert [t.confirms for t in again] == [t.number for t in best]
    assert len({t.params["seed"] for t in trials}) == 4
    for trial, first in zip(again, best, strict=True):
        assert trial.params | {"seed": 0} == first.params
    found, (first, *_) = best_trial(trials, "min"), best
    assert found is not None and found.number == first.number
    noise = estimate_noise(trials, "min")
    assert noise is not None and (noise.degrees, noise.source) == (3, "3 confirmations")


def test_they_are_given_out_when_every_trial_has_ended_and_shared_among_the_cohorts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CONFIRMED, cohorts=2)
    cohorts = finish(desk.search)
    *search, first, second = cohorts
    assert all(trial.confirms is None for trials in search for trial in trials)
    assert [len(first), len(second)] == [2, 1]
    assert all(trial.confirms is not None for trial in [*first, *second])
    assert desk.search.wanted == CONFIRMED.trials + 3


def test_no_sampler_is_asked_for_them(tmp_path: Path) -> None:
    points = []
    for folder, confirm in (("a", 0), ("b", 2)):
        desk = Desk(tmp_path / folder, spec_with(confirm=confirm, search={"sampler": "tpe", "seed": 1}))
        finish(desk.search)
        points.append([t.params for t in searched(desk.search.record.results())])
    assert points[0] == points[1]


def test_of_a_sweep_with_trunks_they_have_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path, BRANCHED.model_copy(update={"confirm": 2}))
    search = desk.search
    while (plan := search.next_cohort()) is not None:
        for trial in plan.trials:
            desk.hear(life(trial.number, loss_of(trial.point)))
        search.cohort_over(plan.id)
    starts = [start for start in desk.of(Start) if start.confirms is not None]
    assert len(starts) == 2
    assert [start.trunk for start in starts] == [None, None]


@pytest.mark.parametrize("replicates", [1, 2])
def test_an_interrupted_confirmation_goes_on_as_one_and_none_is_asked_for_twice(
    tmp_path: Path, replicates: int
) -> None:
    desk = Desk(tmp_path, spec_with(confirm=2, replicates=replicates))

    def train(number: int, loss: float) -> list[Event]:
        return life(number, loss, replicates=replicates)

    while len(desk.trials) < desk.spec.trials + 2:
        plan = desk.search.next_cohort()
        assert plan is not None
        if plan.trials[0].confirms is None:
            for trial in plan.trials:
                desk.hear(train(trial.number, loss_of(trial.point)))
            desk.search.cohort_over(plan.id)
    before = {t.number: t.params for t in desk.search.record.results()}
    search = desk.take_up()
    assert search.wanted == desk.spec.trials + 2
    cohorts = finish(search, train)
    assert sorted(trial.number for trials in cohorts for trial in trials) == [desk.spec.trials, desk.spec.trials + 1]
    assert all(trial.confirms is not None for trials in cohorts for trial in trials)
    assert {t.number: t.params for t in search.record.results()} == before
    assert desk.take_up().next_cohort() is None
    assert desk.search.exhausted


def test_where_fewer_trials_are_complete_only_those_are_confirmed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CONFIRMED)

    def one_completes(number: int, loss: float) -> list[Event]:
        return (
            life(number, loss) if number in (2, 6) else [*life(number, loss)[:-1], end(f"{number}/0", 9, 9, "diverged")]
        )

    finish(desk.search, one_completes)
    assert [t.confirms for t in desk.search.record.results() if t.confirms is not None] == [2]
    assert desk.search.record.wanted() == CONFIRMED.trials + 1


def test_without_a_complete_trial_the_sweep_ends(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CONFIRMED)
    while (plan := desk.search.next_cohort()) is not None:
        desk.search.cohort_failed(plan.id)
    assert desk.search.exhausted
    assert desk.search.record.wanted() == CONFIRMED.trials


def test_the_default_confirms_nothing() -> None:
    assert spec_with(**THERMOMETER).confirm == 0
