"""Events told to the search: what becomes of trials, replicates and branches."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from espalier.core.training.events import Forked, Scored, Started
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.trial_events import Fork, Outcome, Report, Start
from tests.sweeps.made import end, life, report, spec_with
from tests.sweeps.search.desk import BRANCHED, Desk, finish, loss_of


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A sweep of six trials in one cohort."""
    return Desk(tmp_path, spec_with(trials=6), cohort_trials=6)


def test_a_complete_trial_has_its_last_value_and_its_reports(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear(life(2, 7.5))
    desk.settle()
    trial = desk.trials[2]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 7.5)
    assert trial.intermediate_values == {10: 7.5, 20: 7.5, 30: 7.5, 40: 7.5}
    assert trial.user_attrs["status"] == "complete"
    assert trial.user_attrs["verdict"] == "healthy"
    assert desk.states() == {"COMPLETE": 1, "RUNNING": 5}


def test_a_diverged_trial_is_a_failed_one_that_says_why(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([report("3/0", 10, 2.0), end("3/0", 17, 9.0, "diverged")])
    desk.settle()
    trial = desk.trials[3]
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert trial.intermediate_values == {10: 2.0}
    said = {name: trial.user_attrs[name] for name in ("status", "verdict", "evidence")}
    assert said == {"status": "diverged", "verdict": "diverged", "evidence": "evidence of 3/0"}
    assert desk.search.record.results()[3].state == "diverged"


def test_a_stopped_trial_is_a_pruned_one_with_the_values_it_reported(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([report("1/0", 10, 3.0), report("1/0", 20, 2.0), end("1/0", 20, 2.0, "stopped")])
    desk.settle()
    trial = desk.trials[1]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {10: 3.0, 20: 2.0}
    assert desk.search.record.results()[1].state == "stopped"


def test_a_trial_of_several_replicates_is_told_once_by_their_mean(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=3, replicates=3))
    finish(desk.search, lambda number, loss: life(number, 2.0, replicates=3))
    assert desk.states() == {"COMPLETE": 3}
    for trial in desk.trials:
        assert (trial.value, trial.user_attrs["spread"]) == (3.0, 1.0)
        assert trial.intermediate_values[20] == 3.0


def test_a_replicate_that_diverges_fails_its_trial(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=1, replicates=2))
    desk.search.next_cohort()
    desk.hear([end("0/0", 40, 1.0), end("0/1", 3, 9.0, "diverged")])
    desk.settle()
    assert desk.trials[0].state == TrialState.FAIL
    assert desk.trials[0].user_attrs["status"] == "diverged"


def test_another_objective_is_told_for_what_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=2, objective={"metric": "valid_accuracy", "mode": "max"}))
    desk.search.next_cohort()
    for number in range(2):
        values = {"valid_accuracy": 0.5 + number / 4}
        desk.hear([report(f"{number}/0", 40, 1.0, **values)])
        desk.hear([end(f"{number}/0", 40, 1.0, values=values)])
    desk.settle()
    assert [trial.value for trial in desk.trials] == [0.5, 0.75]
    study = SweepStore.open(desk.journal).find("warm").study
    assert (study.direction.name, study.best_trial.number) == ("MAXIMIZE", 1)


def test_a_trial_without_the_objective_fails_and_is_not_left_running(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([end("0/0", 40, 1.0, values={"train_loss": 1.0})])
    desk.settle()
    assert desk.trials[0].state == TrialState.FAIL


def test_a_trial_whose_objective_is_no_number_at_its_end_fails_and_says_so(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([end("0/0", 40, 1.0, values={"train_loss": 1.0})])
    desk.settle()
    row = desk.search.record.results()[0]
    assert (row.state, row.evidence) == ("failed", "valid_loss was no number at step 40")


def test_a_trial_stopped_before_its_first_report_is_pruned_at_what_it_was_worth(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4, stopping={"rungs": [0.25, 0.5]}))
    desk.search.next_cohort()
    scores = [Scored("1/0", step, {"valid_loss": 5.0 - step}, "average") for step in (1, 2)]
    desk.hear([*scores, end("1/0", 2, 3.0, "stopped")])
    desk.settle()
    assert (desk.trials[1].state, desk.trials[1].intermediate_values) == (TrialState.PRUNED, {2: 3.0})


def test_what_a_cohort_says_of_its_failure_is_the_evidence_of_its_trials(desk: Desk) -> None:
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.search.cohort_failed(suggestion.id, "IndexError: Target -1 is out of bounds (mine.py, line 7)")
    desk.search.cohort_over(suggestion.id)
    desk.settle()
    assert {row.evidence for row in desk.search.record.results()} == {
        "IndexError: Target -1 is out of bounds (mine.py, line 7)"
    }


def test_a_cohort_that_failed_for_good_fails_the_trials_it_had_not_finished(desk: Desk) -> None:
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear([*life(0, 1.0), report("1/0", 10, 2.0)])
    desk.search.cohort_failed(suggestion.id)
    desk.settle()
    assert desk.states() == {"COMPLETE": 1, "FAIL": 5}
    assert {t.user_attrs["status"] for t in desk.trials[1:]} == {"failed"}
    assert [row.state for row in desk.search.record.results()] == ["complete"] + ["failed"] * 5


def test_a_trial_that_fails_before_anything_was_heard_of_it_begins_with_its_point(desk: Desk) -> None:
    """Its worker died at its first steps: the record still has what it was to be trained with."""
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear([Started("0/0", 0)])
    desk.events += desk.search.fail([0, 1], "Segmentation fault", 137)
    assert [(start.trial, start.params) for start in desk.of(Start)] == [
        (number, desk.search.point_of(number)) for number in (0, 1)
    ]
    assert [(type(event), event.trial) for event in desk.events] == [
        (Start, 0),
        (Outcome, 0),
        (Start, 1),
        (Outcome, 1),
    ]


def test_the_run_of_a_trial_stands_in_its_attributes_whenever_it_becomes_known(desk: Desk) -> None:
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.runs[0] = "known before the end"
    desk.hear(life(0, 1.0))
    desk.hear(life(1, 1.0))
    desk.search.settle(desk.runs)
    desk.runs[1] = "known after the end"
    desk.hear(life(2, 1.0))
    desk.settle()
    assert [t.user_attrs.get("mlflow_run") for t in desk.trials[:2]] == ["known before the end", "known after the end"]
    desk.runs |= {0: "another", 2: "known after it was told"}
    desk.search.settle(desk.runs)
    assert [t.mlflow_run for t in desk.search.record.results()[:3]] == [
        "another",
        "known after the end",
        "known after it was told",
    ]


def test_what_happens_to_a_trial_is_listened_to_once_and_in_order(desk: Desk) -> None:
    desk.search.next_cohort()
    fork = Forked("5/0", 20, "2/0")
    desk.hear([*life(2, 1.0), fork, *life(5, 2.0)[3:]])
    (start,), (fork,) = desk.of(Start), desk.of(Fork)
    assert (start.trial, start.params) == (2, desk.search.point_of(2))
    assert (fork.trial, fork.trunk, fork.parted_from, fork.step) == (5, 2, 2, 20)
    assert [(said.trial, said.step) for said in desk.of(Report)] == [(2, s) for s in (10, 20, 30, 40)] + [
        (5, s) for s in (30, 40)
    ]
    assert [said.trial for said in desk.of(Outcome)] == [2, 5]


def test_a_branch_is_paired_with_the_trunk_it_was_proposed_for_whether_or_not_it_leaves_it(tmp_path: Path) -> None:
    """It may be stopped on the way; and after a warm-up's first step trunks part that have nothing else in common."""
    desk = Desk(tmp_path, spec_with(trials=6, space={"decay_points": {"branches": 3}}), cohort_trials=6)
    desk.search.next_cohort()
    forks = [Forked(f"{trial}/0", step, "0/0") for trial, step in ((3, 1), (1, 20))]
    desk.hear([*(Started(f"{trial}/0", 0) for trial in range(6)), *forks])
    assert [start.trunk for start in desk.of(Start)] == [None, 0, 0, None, 3, 3]
    assert [(fork.trial, fork.trunk) for fork in desk.of(Fork)] == [(3, None), (1, 0)]


def test_where_no_trunks_are_proposed_the_one_that_was_shared_is_told(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([Forked(f"{trial}/0", step, "0/0") for trial, step in ((3, 1), (1, 20))])
    assert [(fork.trial, fork.trunk) for fork in desk.of(Fork)] == [(3, None), (1, 0)]


def test_replayed_events_of_an_ended_trial_change_nothing(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([*life(0, 1.0), *life(1, 2.0)])
    desk.settle()
    before, heard = desk.trials, len(desk.events)
    desk.hear([*life(0, 5.0), *life(1, 5.0)[-1:]])
    desk.settle()
    assert desk.trials == before
    assert len(desk.events) == heard


def test_replayed_reports_of_a_running_trial_change_nothing_in_the_storage(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear(life(0, 1.0)[:3])
    before = desk.trials
    desk.hear(life(0, 1.0)[:3])
    assert desk.trials == before
    desk.hear(life(0, 1.0)[1:])
    desk.settle()
    assert desk.trials[0].intermediate_values == {10: 1.0, 20: 1.0, 30: 1.0, 40: 1.0}


def test_the_table_has_every_trial_with_its_whole_point(tmp_path: Path) -> None:
    desk = Desk(tmp_path, BRANCHED)
    points = {t.number: t.point for cohort in finish(desk.search) for t in cohort}
    for row in desk.search.record.results():
        assert row.params == points[row.number]
        assert row.value == loss_of(row.params)
        assert row.reports == dict.fromkeys((10, 20, 30, 40), row.value)
        assert row.duration_s is not None
