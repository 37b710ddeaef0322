"""Update-to-data ratios against numpy and the lecture that made them, in cohorts and in anybody's loop."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core.measures.ratios import RatioMeter, between, log_ratio, median, sample_steps, summary
from espalier.core.optimizers import SGD
from espalier.core.programs.vmap import VmapProgram
from espalier.core.rows import seeded
from espalier.core.task import Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_ratio_is_the_log_of_two_standard_deviations_with_bessels_correction() -> None:
    change_NP, theta_NP = normal(4, 31) * 1e-3, normal(4, 31, seed=1)
    found = log_ratio(change_NP, theta_NP).numpy()
    for n in range(4):
        change, theta = (np.std(tensor[n].double().numpy(), ddof=1) for tensor in (change_NP, theta_NP))
        assert found[n] == pytest.approx(math.log10(change / theta), abs=1e-6)


@given(lanes=st.integers(1, 9), size=st.integers(2, 300), seed=st.integers(0, 99))
def test_the_ratios_of_a_lane_do_not_depend_on_the_lanes_beside_it(lanes: int, size: int, seed: int) -> None:
    """Bit for bit, one lane alone included: a parameter of ones that has barely moved shows every bit."""
    change_NP = normal(lanes, size, seed=seed) * 1e-3
    theta_NP = 1 + change_NP
    together = log_ratio(change_NP, theta_NP)
    for lane in range(lanes):
        assert torch.equal(log_ratio(change_NP[[lane]], theta_NP[[lane]])[0], together[lane])


def test_no_change_gives_minus_infinity_and_a_constant_parameter_infinity() -> None:
    assert log_ratio(torch.zeros(1, 5), normal(1, 5)).item() == -math.inf
    assert log_ratio(normal(1, 5), torch.zeros(1, 5)).item() == math.inf


def first_ratios(task: Task, lr: float, program: VmapProgram) -> list[float]:
    """Return the update ratios of step 0, one for each tensor, as the training function reports them."""
    trial = Trial("t", 0, 1, Hyperparameters(lr=lr), reports=1)
    structure = Structure(SGD(), "constant", 7, "float64")
    *_, end = Cohort(CohortSetup(task, task.data(), structure, [trial], 1, program)).train()
    step, *ratios = end.ratios[0]
    assert step == 0
    return list(ratios[: len(ratios) // 2])


@cache
def in_float64(task: Task) -> VmapProgram:
    """Return a program for all examples of a test: making one takes longer than its step."""
    return VmapProgram(task, SGD(), torch.float64)


@given(lr=st.floats(1e-5, 1e-3), factor=st.floats(1e-2, 1))
def test_at_step_0_of_plain_sgd_the_ratio_moves_by_the_log_of_the_ratio_of_two_rates(
    small_tasks: Mapping[str, Task], lr: float, factor: float
) -> None:
    """To 2e-4 alone, since the parameter is read after the update."""
    task = small_tasks["names"]
    high, low = (first_ratios(task, rate, in_float64(task)) for rate in (lr, lr * factor))
    moved = [b - a for a, b in zip(high, low, strict=True)]
    assert moved == pytest.approx([math.log10(factor)] * 3, abs=2e-4)


def test_the_ratio_of_plain_sgd_at_step_0_is_the_rate_times_the_gradients_ratio(
    small_tasks: Mapping[str, Task],
) -> None:
    """The update is the true step lr * gradient, and the gradient's own ratio stands beside it."""
    task = small_tasks["names"]
    trial = Trial("t", 0, 1, Hyperparameters(lr=0.01), reports=1)
    *_, end = Cohort(CohortSetup(task, task.data(), Structure(SGD(), "constant", 7, "float64"), [trial], 1)).train()
    _, *ratios = end.ratios[0]
    updates, gradients = ratios[:3], ratios[3:]
    assert updates == pytest.approx([gradient - 2 for gradient in gradients], abs=1e-9)


def test_ratios_are_taken_at_equal_shares_of_the_budget(small_tasks: Mapping[str, Task]) -> None:
    """For parameters of two or more axes alone; none where none are wanted, or where the model has none."""

    def sampled(task: str, samples: int) -> Event:
        trial = Trial("t", 0, 40, Hyperparameters(lr=0.01), reports=3)
        structure = Structure(SGD(), "constant", 7)
        *_, end = Cohort(
            CohortSetup(small_tasks[task], small_tasks[task].data(), structure, [trial], 1, ratio_samples=samples)
        ).train()
        return end

    end = sampled("names", 10)
    assert [row[0] for row in end.ratios] == list(range(0, 40, 4))
    assert {len(row) for row in end.ratios} == {1 + 2 * len(("C", "W1", "W2"))}
    assert sampled("names", 0).ratios == []
    assert sampled("thermometer", 10).ratios == []


def test_trials_of_different_lengths_that_share_a_lane_have_the_ratios_of_their_solo_runs(
    small_tasks: Mapping[str, Task],
) -> None:
    """The lane is sampled for both; neither may see the other's samples, in its reports or at its end."""
    task, structure = small_tasks["names"], Structure(SGD(), "constant", 7)
    program = VmapProgram(task, structure.optimizer)
    trials = [Trial(f"{steps}", 0, steps, Hyperparameters(lr=0.01), reports=2) for steps in (20, 200)]

    def said(together: Sequence[Trial]) -> list[Event]:
        cohort = Cohort(CohortSetup(task, task.data(), structure, together, 2, program, ratio_samples=5))
        found = [event for event in cohort.train() if isinstance(event, Reported | Ended)]
        assert cohort.lane_steps == max(trial.steps for trial in together)
        return found

    shared = said(trials)
    for trial in trials:
        alone = said([trial])
        assert [event for event in shared if event.trial == trial.id] == alone
        assert [row[0] for row in alone[-1].ratios] == list(range(0, trial.steps, trial.steps // 5))


def test_no_ratios_are_taken_of_probes(small_tasks: Mapping[str, Task]) -> None:
    """Nobody would read them; those of the trials that they score stay the same."""
    taken: list[int] = []

    class Counting(VmapProgram):
        def ratios(self, before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
            taken.append(len(after[0]))
            return super().ratios(before, after, grads)

    task, structure = small_tasks["names"], Structure(SGD(), "constant", 7)
    trials = [Trial("t", 0, 24, Hyperparameters(lr=0.01), reports=2, rungs=(6, 18))]

    def ends(scoring: Scoring) -> list[Event]:
        taken.clear()
        cohort = Cohort(CohortSetup(task, task.data(), structure, trials, 2, Counting(task, SGD()), scoring=scoring))
        events = list(cohort.train())
        assert cohort.work.probe_steps == 2 * scoring.copy_steps(6) * ("probe" in scoring.kinds)
        return [event for event in events if isinstance(event, Ended)]

    plain = ends(Scoring(("value",)))
    samples = sum(len(end.ratios) for end in plain)
    assert sum(taken) == samples
    assert ends(Scoring(("probe",), 8)) == plain
    assert sum(taken) == samples


@given(values=st.lists(st.floats(), max_size=9))
def test_the_median_is_that_of_the_finite_values(values: Sequence[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    expected = float(np.median(np.array(finite, dtype=np.longdouble))) if finite else math.nan
    assert median(values) == pytest.approx(expected, nan_ok=True)


# --- when they are taken ----------------------------------------------------------------------------------------------


@given(steps=st.integers(1, 5000), samples=st.integers(1, 200), spacing=st.sampled_from(("linear", "log")))
def test_ratios_are_sampled_from_the_first_step_on_and_within_the_run(steps: int, samples: int, spacing: Any) -> None:
    marks = sample_steps(steps, samples, spacing)
    assert list(marks) == sorted(set(marks))
    assert marks[0] == 0 and marks[-1] < steps
    assert len(marks) <= (2 * samples if spacing == "linear" else samples)
    if spacing == "linear" and len(marks) > 1:
        assert len(set(np.diff(marks))) == 1
    if spacing == "log" and samples > 1:
        assert marks[-1] == steps - 1
        early = sum(mark < steps / 10 for mark in marks)
        assert steps < 1000 or samples < 20 or early >= (len(marks) - early) / 2, "dense at the start"


@given(steps=st.integers(1, 500), samples=st.integers(0, 60), cut=st.integers(0, 500), count=st.integers(1, 64))
def test_the_marks_of_a_stretch_are_those_that_lie_in_it(steps: int, samples: int, cut: int, count: int) -> None:
    marks = sample_steps(steps, samples, "log")
    assert list(between(marks, cut, count)) == [mark for mark in marks if cut <= mark < cut + count]


def test_a_trial_may_be_sampled_by_equal_factors(small_tasks: Mapping[str, Task]) -> None:
    trial = Trial("t", 0, 40, Hyperparameters(lr=0.01), reports=3)
    task, structure = small_tasks["names"], Structure(SGD(), "constant", 7)
    cohort = Cohort(CohortSetup(task, task.data(), structure, [trial], 1, ratio_samples=8, ratio_spacing="log"))
    *_, end = cohort.train()
    assert [row[0] for row in end.ratios] == list(sample_steps(40, 8, "log"))
    assert end.tensors == ["C", "W1", "W2"]


# --- what they say together -------------------------------------------------------------------------------------------


@given(
    ratios=st.lists(st.lists(st.floats(-8, 1), min_size=3, max_size=3), min_size=2, max_size=20),
    every=st.integers(1, 50),
)
def test_a_summary_is_numpys(ratios: list[list[float]], every: int) -> None:
    steps = [every * i for i in range(len(ratios))]
    found, table = summary(steps, ratios), np.array(ratios)
    medians = np.median(table, 1)
    assert found.median == pytest.approx(np.median(medians))
    assert found.spread == pytest.approx(np.ptp(np.median(table, 0)))
    slope = np.polyfit(steps, medians, 1)[0]
    assert found.trend == pytest.approx(slope * (steps[-1] - steps[0]), abs=1e-9)


def test_a_summary_leaves_out_what_is_no_number() -> None:
    found = summary([0, 1, 2], [[-math.inf, -2.0], [-3.0, math.inf], [-3.0, -2.0]])
    assert (found.median, found.spread) == (-2.5, 1.0)
    assert all(math.isnan(value) for value in vars(summary([], [])).values())
    assert math.isnan(summary([5], [[-2.0]]).trend)


def test_reports_carry_the_median_the_spread_and_the_trend(small_tasks: Mapping[str, Task]) -> None:
    trial = Trial("t", 0, 40, Hyperparameters(lr=0.1), reports=2)
    task = small_tasks["names"]
    *_, end = Cohort(CohortSetup(task, task.data(), Structure(SGD(), "constant", 7), [trial], 1)).train()
    tensors = len(end.tensors)
    expected = summary([int(row[0]) for row in end.ratios], [row[1 : 1 + tensors] for row in end.ratios])
    assert end.values["update_ratio"] == expected.median
    assert end.values["update_ratio_spread"] == expected.spread
    assert end.values["update_ratio_trend"] == expected.trend


# --- of anybody's loop ------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_meter_measures_the_true_step_of_any_optimizer(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    optimizer = OPTIMIZERS[name](model.parameters())
    expected = []
    with RatioMeter(model, optimizer, every=3) as meter:
        for step in range(8):
            loss = model(normal(6, 5, seed=step)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            before = [p.detach().clone() for p in model.parameters() if p.dim() > 1]
            gradients = [p.grad.clone() for p in model.parameters() if p.dim() > 1 and p.grad is not None]
            optimizer.step()
            if step % 3 == 0:
                after = [p.detach() for p in model.parameters() if p.dim() > 1]
                row = [math.log10((a - b).std() / a.std()) for a, b in zip(after, before, strict=True)]
                expected.append(row + [math.log10(g.std() / a.std()) for g, a in zip(gradients, after, strict=True)])
    assert meter.names == ["0.weight", "2.weight"]
    assert meter.steps == [0, 3, 6]
    found = [update + gradient for update, gradient in zip(meter.update_ratios, meter.gradient_ratios, strict=True)]
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-5)
    assert meter.latest() == pytest.approx(dict(zip(meter.names, expected[-1][:2], strict=True)), abs=1e-5)
    assert meter.summary().median == pytest.approx(np.median(meter.medians()))


def test_a_meter_measures_what_the_training_function_measures(small_tasks: Mapping[str, Task]) -> None:
    """The same network, batches and rate in a plain PyTorch loop."""
    task = small_tasks["names"]
    trial = Trial("t", 3, 10, Hyperparameters(lr=0.1), reports=1)
    structure = Structure(SGD(momentum=False), "constant", 7)
    *_, end = Cohort(CohortSetup(task, task.data(), structure, [trial], 1, "plain", ratio_samples=10)).train()
    with seeded(3):
        model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with RatioMeter(model, optimizer, every=1) as meter:
        for indexes in task.order(3, len(task.data().train[0]), 7)(0, 10):
            optimizer.zero_grad()
            task.loss(model, tuple(tensor[indexes] for tensor in task.data().train)).backward()
            optimizer.step()
    assert meter.names == list(end.tensors)
    assert np.array([row[1:4] for row in end.ratios]) == pytest.approx(np.array(meter.update_ratios), abs=1e-4)


def test_a_closed_meter_measures_no_more_and_leaves_the_optimizer_alone() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = RatioMeter(model, optimizer, every=1)
    assert meter.latest() == {}
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        meter.close()
    assert meter.steps == [0]
    with pytest.raises(ValueError, match="every: 0"):
        RatioMeter(model, optimizer, every=0)
