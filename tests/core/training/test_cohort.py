"""The training function's events: what a report carries, how a trial ends, and what stopping does to the others.

What must hold of the numbers, whatever trials train together, stands among the laws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from espalier.core.optimizers import SGD
from espalier.core.programs.program import Program
from espalier.core.programs.vmap import VmapProgram
from espalier.core.task import Batch, Data, Task
from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported, Started
from espalier.core.training.setup import BLOCKS_PER_REPORT, CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

CALM = Hyperparameters(lr=0.1)
STRUCTURE = Structure(SGD(), "step", 7)


@pytest.fixture(scope="session")
def names(small_tasks: Mapping[str, Task]) -> Task:
    return small_tasks["names"]


def cohort(
    task: Task,
    trials: Sequence[Trial],
    lanes: int = 4,
    structure: Structure = STRUCTURE,
    program: str | Program = "vmap",
) -> Cohort:
    return Cohort(CohortSetup(task, task.data(), structure, trials, lanes, program))


def by_trial(events: Sequence[Event]) -> dict[str, list[Event]]:
    return {trial: [e for e in events if e.trial == trial] for trial in sorted({e.trial for e in events})}


def test_a_trial_starts_reports_at_its_steps_and_finishes(names: Task) -> None:
    events = list(cohort(names, [Trial("t", 0, 23, CALM, 4)]).train())
    assert [(e.kind, e.step) for e in events] == [
        ("start", 0),
        ("report", 6),
        ("report", 12),
        ("report", 17),
        ("report", 23),
        ("finish", 23),
    ]
    assert {e.trial for e in events} == {"t"}
    assert (events[-1].status, events[-1].verdict) == ("complete", "collapsed"), "words of random letters teach nothing"
    assert "no better than a constant guess" in events[-1].evidence


def test_a_report_carries_the_losses_the_rate_and_the_ratio(names: Task) -> None:
    hyper = replace(CALM, decay_points=(0.5,))
    reports = [e for e in cohort(names, [Trial("t", 0, 40, hyper, 2)]).train() if isinstance(e, Reported)]
    for report in reports:
        ratios = {"update_ratio", "update_ratio_spread", "update_ratio_trend"}
        assert set(report.values) == {"valid_loss", "train_loss", "lr", *ratios}
        assert [step for step, _ in report.curve] == list(range(report.step - 18, report.step + 1, 2))
        assert report.values["train_loss"] == pytest.approx(sum(loss for _, loss in report.curve) / BLOCKS_PER_REPORT)
    assert [report.values["lr"] for report in reports] == [0.1, pytest.approx(0.01)], "the rate of the last step taken"


def test_the_last_event_tells_the_whole_trial_again(names: Task) -> None:
    *reports, end = [e for e in cohort(names, [Trial("t", 0, 30, CALM, 3)]).train() if not isinstance(e, Started)]
    assert end.curve == [point for report in reports for point in report.curve]
    assert end.ratios == [row for report in reports for row in report.ratios]
    assert end.reports == [(report.step, report.values) for report in reports]
    assert end.values == reports[-1].values


def test_every_metric_of_the_task_is_reported_as_a_validation_metric() -> None:
    class Scored(Thermometer):
        def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            return {"loss": self.loss(model, batch), "worst": (model(batch[0]) - batch[1]).abs().max()}

    trial = Trial("t", 0, 4, Hyperparameters(lr=0.01), 1)
    *_, end = cohort(Scored(), [trial], structure=replace(STRUCTURE, batch_size=11)).train()
    assert set(end.values) == {"valid_loss", "valid_worst", "train_loss", "lr"}


def test_a_cohort_of_no_trials_is_done(names: Task) -> None:
    nobody = cohort(names, [])
    assert nobody.done and list(nobody.train()) == []


def test_a_diverged_trial_ends_with_its_last_finite_numbers(names: Task) -> None:
    """During a warm-up the rate grows until a loss is not finite; the event names the steps that went before it."""
    trial = Trial("t", 0, 60, Hyperparameters(lr=1e38, warmup=0.9), 6)
    events = by_trial(list(cohort(names, [trial, Trial("calm", 0, 60, CALM, 6)]).train()))
    end = events["t"][-1]
    assert (end.kind, end.status, end.verdict) == ("finish", "diverged", "diverged")
    assert f"at step {end.step}" in end.evidence
    assert end.curve[-1][0] == end.step
    assert all(math.isfinite(loss) for _, loss in end.curve)
    assert all(map(math.isfinite, end.values.values()))
    assert events["calm"][-1].status == "complete"


@pytest.mark.parametrize("metric", ("loss", "accuracy"))
def test_a_model_whose_validation_alone_is_not_finite_has_diverged(metric: str) -> None:
    class Blind(Thermometer):
        def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            return {metric: self.loss(model, batch) * math.nan}

    trial = Trial("t", 0, 8, Hyperparameters(lr=0.01), 2)
    events = list(cohort(Blind(), [trial], structure=replace(STRUCTURE, batch_size=11)).train())
    assert [(e.kind, e.step) for e in events] == [("start", 0), ("finish", 4)] and events[-1].status == "diverged"
    assert all(map(math.isfinite, events[-1].values.values()))


@pytest.mark.parametrize("program", ("plain", "native", "vmap"))
def test_what_a_validation_draws_hangs_on_the_seed_of_the_trial_and_its_step(program: str) -> None:
    """Trials of one seed are measured on the same draws, whatever else they differ in."""

    class Draws(Thermometer):
        def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            return {"loss": self.loss(model, batch), "drawn": torch.rand(())}

    trials = [Trial(f"{seed} {lr}", seed, 8, Hyperparameters(lr), 2) for seed in (0, 1, 2) for lr in (0.01, 0.002)]
    events = cohort(Draws(), trials, structure=replace(STRUCTURE, batch_size=11), program=program).train()
    reports = [event for event in events if isinstance(event, Reported)]
    drawn = {(int(e.trial[0]), e.step): e.values["valid_drawn"] for e in reports}
    assert len(set(drawn.values())) == len(drawn) == 6, "another seed, or another step, draws others"
    assert [e.values["valid_drawn"] for e in reports] == [drawn[int(e.trial[0]), e.step] for e in reports]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("lanes", (1, 2, 4))
def test_a_trial_may_be_stopped_wherever_it_is(names: Task, lanes: int) -> None:
    """In a lane, riding a trunk, parked as a branch, or waiting in the queue: it ends once, and the others go on."""
    hypers = [replace(CALM, decay_points=(p / 9,)) for p in (2, 2, 5, 30)]
    trials = [Trial(f"t{k}", k // 4, 9, h, 2) for k, h in enumerate([*hypers, CALM])]
    program = VmapProgram(names, SGD())
    whole = by_trial(list(cohort(names, trials, lanes, program=program).train()))
    for turns in range(5):
        for stopped in trials:
            running = cohort(names, trials, lanes, program=program)
            events = [event for _ in range(turns) for event in running.turn()]
            already = any(e.trial == stopped.id and isinstance(e, Ended) for e in events)
            running.stop(stopped.id, "enough of it")
            events += running.train()
            found = by_trial(events)
            ends = [e for e in found[stopped.id] if isinstance(e, Ended)]
            assert [e.kind for e in ends] == ["finish" if already else "stop"]
            if not already:
                assert (ends[0].status, ends[0].evidence) == ("stopped", "enough of it")
                assert found[stopped.id][-1] is ends[0]
            for other in {t.id for t in trials} - {stopped.id}:
                assert [e for e in found[other] if isinstance(e, Reported | Ended)] == [
                    e for e in whole[other] if isinstance(e, Reported | Ended)
                ]


def test_a_stopped_trial_keeps_what_it_measured(names: Task) -> None:
    running = cohort(names, [Trial("t", 0, 40, CALM, 4)])
    reports = [e for _ in range(2) for e in running.turn() if isinstance(e, Reported)]
    running.stop("t", "rung 1")
    (end,) = running.train()
    assert (end.kind, end.step, end.values) == ("stop", 20, reports[-1].values)
    assert [step for step, _ in end.reports] == [10, 20]


def test_stopping_a_trial_that_is_not_there_stops_nothing(names: Task) -> None:
    running = cohort(names, [Trial("t", 0, 8, CALM, 2)])
    running.stop("another", "enough")
    *_, end = running.train()
    assert isinstance(end, Ended) and end.status == "complete"


def test_the_counts_say_what_was_trained_and_what_was_shared(names: Task) -> None:
    """Three trials of 20 steps that part at 8 and 12 train 20 + 12 + 8 steps."""
    hypers = [replace(CALM, decay_points=points) for points in ((), (8 / 20,), (12 / 20,))]
    running = cohort(names, [Trial(f"t{k}", 0, 20, hyper, 4) for k, hyper in enumerate(hypers)])
    list(running.train())
    assert (running.work.trial_steps, running.lane_steps, running.steps_shared) == (60, 40, 20)


class InTurn(VmapProgram):
    """A program in which a free lane costs nothing."""

    lanes_run_sequentially = True


@pytest.mark.parametrize(("program", "begin_at_once"), [(VmapProgram, 4), (InTurn, 2)])
def test_a_lane_that_costs_nothing_is_kept_for_a_trunks_first_branch(
    names: Task, program: type[VmapProgram], begin_at_once: int
) -> None:
    """So the branches of the first trunks end before the last trunks begin; what the trials report is the same."""
    hypers = [Hyperparameters(lr, (point,)) for lr in (0.1, 0.05, 0.02, 0.01) for point in (0.5, 0.75)]
    trials = [Trial(f"t{k}", 0, 20, hyper, 2) for k, hyper in enumerate(hypers)]
    running = cohort(names, trials, 4, program=program(names, SGD()))
    first = running.turn()
    assert sum(isinstance(event, Started) for event in first) == 2 * begin_at_once
    events = [*first, *running.train()]
    said = [(event.kind, event.trial) for event in events]
    assert (said.index(("finish", "t0")) < said.index(("start", "t7"))) == (program is InTurn)
    plainly = {e.trial: e.values for e in cohort(names, trials, 8).train() if isinstance(e, Ended)}
    assert {e.trial: e.values for e in events if isinstance(e, Ended)} == plainly


def test_no_lane_is_kept_where_no_trials_will_part(names: Task) -> None:
    trials = [Trial(f"t{k}", 0, 20, Hyperparameters(lr), 2) for k, lr in enumerate((0.1, 0.05, 0.02, 0.01))]
    running = cohort(names, trials, 4, program=InTurn(names, SGD()))
    assert [event.trial for event in running.turn() if isinstance(event, Started)] == [trial.id for trial in trials]


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_however_few_lanes_a_trunk_and_its_branches_all_end(names: Task, lanes: int) -> None:
    hypers = [Hyperparameters(lr, (point,)) for lr in (0.1, 0.05) for point in (0.25, 0.5, 0.75)]
    trials = [Trial(f"t{k}", k % 2, 20, hyper, 2) for k, hyper in enumerate(hypers)]
    ended = [
        e.status for e in cohort(names, trials, lanes, program=InTurn(names, SGD())).train() if isinstance(e, Ended)
    ]
    assert ended == ["complete"] * 6


def test_trials_of_another_seed_share_nothing(names: Task) -> None:
    running = cohort(names, [Trial(f"t{seed}", seed, 9, CALM, 2) for seed in range(3)])
    events = by_trial(list(running.train()))
    assert running.steps_shared == 0
    assert len({events[trial][-1].values["valid_loss"] for trial in events}) == 3


def test_more_batch_than_examples_trains_on_all_of_them() -> None:
    task, trial = Thermometer(), Trial("t", 0, 5, Hyperparameters(lr=0.01), 1)
    ends = [
        list(cohort(task, [trial], structure=replace(STRUCTURE, batch_size=size)).train())[-1] for size in (11, 500)
    ]
    assert ends[0] == ends[1]


def test_training_draws_nothing_from_the_global_generator(names: Task) -> None:
    state = torch.get_rng_state()
    list(cohort(names, [Trial("t", 0, 5, CALM, 1)]).train())
    assert torch.equal(torch.get_rng_state(), state)


def test_data_of_single_precision_trains_in_the_precision_of_the_structure() -> None:
    class Half(Thermometer):
        def data(self) -> Data:
            return super().data().to("cpu", torch.float16)

    trial = Trial("t", 0, 5, Hyperparameters(lr=0.001), 1)
    for dtype in ("float32", "float64"):
        running = cohort(Half(), [trial], structure=replace(STRUCTURE, dtype=dtype, batch_size=11))
        list(running.train())
        assert next(iter(running.pool.rows.rows.values())).dtype == getattr(torch, dtype)
