"""References: what an untuned run gets, beside the search and outside of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from espalier.core.training.events import Started
from espalier.sweeps.cohorts import hyperparameters, replicates, structure, task_options
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import TrialEnded, TrialStarted
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.references import REFERENCES, is_affordable, reference, reference_spec, wanted_references
from espalier.sweeps.results.reference_result import ReferenceResult, reference_lines
from espalier.sweeps.running.messages import TaskError, Turn
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.running.reference_runs import ReferenceRuns
from espalier.sweeps.search.cohort_plan import CohortPlan
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import end, life, report, spec_with
from tests.sweeps.search.desk import Desk, loss_of

ASKED = spec_with(references=True)
NAMES = [each.name for each in REFERENCES]


def desk_with(folder: Path, cohorts: int = 2) -> Desk:
    """Return a sweep that is to train all references."""
    desk = Desk(folder, ASKED, cohorts=cohorts)
    desk.search.record.study.set_user_attr("references", NAMES)
    desk.take_up()
    return desk


def give_out(desk: Desk) -> list[CohortPlan]:
    """Train whatever is given out, one cohort after the other; return the plans."""
    plans: list[CohortPlan] = []
    while (plan := desk.search.next_cohort()) is not None:
        plans.append(plan)
        for trial in plan.trials:
            desk.hear(life(trial.number, loss_of(trial.point)))
        desk.search.cohort_over(plan.id)
    return plans


# --- what they are ---------------------------------------------------------------------------------------------------


def test_they_have_the_task_the_budget_and_the_seed_of_the_trials_and_nothing_of_the_search() -> None:
    space = {"lr_exponent": {"low": -3, "high": -1}, "scale": [0.1, 1.0], "seed": 7, "momentum": 0.5, "batch_size": [4]}
    spec = spec_with(space=space, stopping={}, replicates=3, confirm=2, task_options={}, trials=50)
    for each in REFERENCES:
        own = reference_spec(spec, each)
        point = own.space.resolve({})
        (trial,) = replicates(own, each.number, point)
        assert (trial.seed, trial.steps, trial.reports) == (7, spec.budget.steps, spec.budget.reports)
        assert trial.rungs == ()
        assert structure(own, point).batch_size == spec.budget.batch_size
        assert task_options(own, point) == {}
        assert hyperparameters(own, point).lr == pytest.approx(each.lr, rel=1e-15)
        assert not own.search.asks_late


def test_the_first_is_adamw_at_a_thousandth_with_a_cosine() -> None:
    own = reference_spec(ASKED, reference("adamw"))
    assert (own.optimizer.kind, own.schedule.kind, own.space.lr_exponent) == ("adamw", "cosine", -3.0)


def test_one_that_the_sweep_is_anyway_is_not_run_twice() -> None:
    same = {"optimizer": "adamw", "schedule": "cosine"}
    assert [each.name for each in wanted_references(spec_with(**same, space={"lr_exponent": -3}))] == NAMES[1:]
    assert [each.name for each in wanted_references(spec_with(**same))] == NAMES
    assert wanted_references(spec_with(references=False)) == []


def test_by_themselves_only_those_are_trained_that_take_three_hundredths_of_the_work() -> None:
    adamw, free = reference("adamw"), reference("schedule-free-sgd")
    assert [is_affordable(adamw, 10, n * 10, plain=False) for n in (33, 34)] == [False, True]
    assert [is_affordable(free, 10, n * 10, plain=False) for n in (666, 667)] == [False, True]
    assert [is_affordable(free, 10, n * 10, plain=True) for n in (33, 34)] == [False, True]


# --- when they train -------------------------------------------------------------------------------------------------


def test_they_are_given_out_when_every_trial_has_been_and_have_no_number_in_the_study(tmp_path: Path) -> None:
    desk = desk_with(tmp_path)
    plans = give_out(desk)
    assert [plan.reference for plan in plans] == [""] * (len(plans) - 3) + NAMES
    assert all(trial.number < 0 for plan in plans[-3:] for trial in plan.trials)
    assert [trial.number for trial in desk.trials] == list(range(ASKED.trials))
    assert desk.search.exhausted


def test_a_core_that_is_free_takes_one_while_others_still_train(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, cohorts=3)
    plans = [desk.search.next_cohort() for _ in range(3)]
    assert [plan.reference for plan in plans if plan] == ["", "", "adamw"]


def test_those_that_ended_before_a_crash_are_not_trained_again(tmp_path: Path) -> None:
    desk = desk_with(tmp_path)
    desk.search.record.add_reference(ReferenceResult("adamw", "AdamW", "complete", 2.0, reports={10: 2.5}))
    desk.take_up()
    assert [plan.reference for plan in give_out(desk) if plan.reference] == NAMES[1:]
    (result,) = desk.search.record.references
    assert (result.value, result.reports) == (2.0, {10: 2.5})


def test_a_sweep_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with())
    assert desk.search.record.references_left() == []
    assert not any(plan.reference for plan in give_out(desk))


def test_one_whose_worker_died_is_given_out_again(tmp_path: Path) -> None:
    desk = desk_with(tmp_path)
    plan = desk.search.next_cohort()
    while plan and not plan.reference:
        for trial in plan.trials:
            desk.hear(life(trial.number, loss_of(trial.point)))
        desk.search.cohort_over(plan.id)
        plan = desk.search.next_cohort()
    assert plan
    desk.search.cohort_again(plan.id, {}, "folder")
    assert desk.search.next_cohort() == replace(plan, attempt=1)


# --- what comes of them ----------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> ReferenceRuns:
    desk = desk_with(tmp_path)
    record = SweepStore.open(desk.journal).find("warm")
    recorder = Recorder("sqlite:///unused", record.id, "warm", tmp_path, SendPolicy(first_wait_s=1e6))
    return ReferenceRuns(record, Tracking(recorder, record, ASKED, tmp_path), Progress.of(record.id, ASKED, 0.0))


def plan_of(name: str) -> CohortPlan:
    return next(plan for plan in desk_plans() if plan.reference == name)


def desk_plans() -> list[CohortPlan]:
    from espalier.sweeps.search.search import reference_plan

    return [reference_plan(ASKED, each) for each in REFERENCES]


def test_its_reports_and_its_end_are_recorded_and_stored(runs: ReferenceRuns) -> None:
    events = [Started("-1/0", 0), report("-1/0", 20, 3.0), end("-1/0", 40, 2.5, reports=[(40, {"valid_loss": 2.5})])]
    runs.take_turn(plan_of("adamw"), Turn("node", True, events))
    (result,) = runs.record.references
    assert (result.name, result.state, result.value, result.reports) == ("adamw", "complete", 2.5, {40: 2.5})
    records = [line.record for line in runs.tracking.recorder.spool.lines_of([-1])]
    first, last = records[0], records[-1]
    assert isinstance(first, TrialStarted) and isinstance(last, TrialEnded)
    assert first.tags["espalier.reference"] == "adamw"
    assert not runs.progress.notes


def test_its_failure_is_one_note_and_fails_nothing(runs: ReferenceRuns) -> None:
    turn = Turn("node", True, error=TaskError("ModuleNotFoundError: No module named 'schedulefree'", ""))
    for _ in range(2):
        runs.take_turn(plan_of("schedule-free-sgd"), turn)
    assert len(runs.progress.notes) == 1
    assert "No module named 'schedulefree'" in runs.progress.notes[0]
    assert runs.progress.states == {}
    assert [result.state for result in runs.record.references] == ["failed"]


def test_where_more_is_better_the_gains_have_the_other_sign() -> None:
    references = [ReferenceResult("a", "A", "complete", 0.9), ReferenceResult("b", "B", "complete", 0.7)]
    gained, better = reference_lines(references, 0.8, -1.0)
    assert gained == "references: tuning gained 0.10000 over B (0.70000)"
    assert better.startswith("references: A, untuned, is 0.10000 better than the best trial (0.90000)")
