"""Cohorts asked for: each trial once, branches beside their trunk, structures apart."""

from collections import Counter
from pathlib import Path

import pytest

from tests.sweeps.made import spec_with
from tests.sweeps.search.desk import BRANCHED, STRUCTURED, Desk, finish

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")


def test_every_trial_is_given_out_exactly_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=11))
    seen = finish(desk.search)
    assert sorted(trial.number for cohort in seen for trial in cohort) == list(range(11))
    assert desk.states() == {"COMPLETE": 11}
    assert desk.search.next_cohort() is None


def test_no_more_cohorts_train_at_once_than_are_wanted(tmp_path: Path) -> None:
    search = Desk(tmp_path, spec_with(trials=12), cohorts=2, cohort_trials=2).search
    first, second = search.next_cohort(), search.next_cohort()
    assert first and second
    assert search.next_cohort() is None
    assert not search.exhausted
    search.cohort_over(first.id)
    third = search.next_cohort()
    assert third
    assert len({first.id, second.id, third.id}) == 3


def test_a_cohort_has_as_many_trials_as_wanted_and_the_last_has_the_rest(tmp_path: Path) -> None:
    assert list(map(len, finish(Desk(tmp_path, spec_with(trials=10), cohort_trials=4).search))) == [4, 4, 2]


def test_the_branches_of_a_trunk_share_all_but_the_decay_points(tmp_path: Path) -> None:
    space = BRANCHED.space.model_dump() | {"momentum": {"low": 0, "high": 0.9}, "scale": {"low": 0.1, "high": 1}}
    desk = Desk(tmp_path, spec_with(space=space, trials=16), cohort_trials=8)
    points = {trial.number: trial.point for cohort in finish(desk.search) for trial in cohort}
    trunks = [[points[4 * trunk + branch] for branch in range(4)] for trunk in range(4)]
    for trunk in trunks:
        shared = [{name: value for name, value in point.items() if name != "decay_points"} for point in trunk]
        assert all(point == shared[0] for point in shared)
        assert len({tuple(point["decay_points"]) for point in trunk}) == 4
    assert len({(trunk[0]["lr_exponent"], trunk[0]["momentum"], trunk[0]["scale"]) for trunk in trunks}) == 4


def test_a_trunk_may_lie_in_two_cohorts(tmp_path: Path) -> None:
    points = {t.number: t.point for c in finish(Desk(tmp_path, BRANCHED, cohort_trials=3).search) for t in c}
    for trunk in range(4):
        assert len({points[4 * trunk + branch]["lr_exponent"] for branch in range(4)}) == 1


def test_structural_choices_part_cohorts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STRUCTURED, cohort_trials=10)
    seen = finish(desk.search)
    for cohort in seen:
        assert len({(trial.point["scale"], trial.point["batch_size"]) for trial in cohort}) == 1
    asked_together = [{number // 10 for trial in cohort for number in [trial.number]} for cohort in seen]
    structures = Counter(
        (min(batch), cohort[0].point["scale"], cohort[0].point["batch_size"])
        for batch, cohort in zip(asked_together, seen, strict=True)
    )
    assert set(structures.values()) == {1}
    assert len(structures) > 4
    assert desk.states() == {"COMPLETE": 20}


def test_the_cohort_of_a_trial_stands_in_its_attributes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STRUCTURED, cohort_trials=10)
    suggestion = desk.search.next_cohort()
    assert suggestion
    of_cohort = [t.number for t in desk.trials if t.user_attrs.get("cohort") == suggestion.id]
    assert of_cohort == [trial.number for trial in suggestion.trials]
    assert all("cohort" in trial.user_attrs for trial in desk.trials)
