"""Schedules against PyTorch's own, against published tables, and as columns that do not depend on their neighbours."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from core.schedule import Schedule, constant, cosine, step_decay, warmed


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rates(schedule: Schedule, steps: int) -> list[float]:
    """Return the rate of the first lane at every step of a budget."""
    return [schedule(step / steps)[0].item() for step in range(steps)]


def rates_of_pytorch(
    lr: float, steps: int, scheduler: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    running = scheduler(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        running.step()
    return found


budgets = st.integers(1, 120)


@given(steps=budgets, data=st.data(), factor=st.sampled_from((0.1, 0.3, 0.5)))
def test_step_decay_is_pytorchs_multi_step(steps: int, data: st.DataObject, factor: float) -> None:
    """A decay at m / budget falls on step m exactly, for every m and every budget."""
    milestones = data.draw(st.lists(st.integers(1, steps), max_size=4, unique=True).map(sorted))
    points_KP = double(*(m / steps for m in milestones)).reshape(1, -1)
    ours = rates(step_decay(double(0.7), points_KP, double(factor)), steps)
    assert ours == pytest.approx(
        rates_of_pytorch(0.7, steps, lambda o: lr_scheduler.MultiStepLR(o, milestones, factor))
    )


@given(steps=budgets, floor=st.sampled_from((0.0, 0.1, 0.9)))
def test_cosine_is_pytorchs_cosine_annealing(steps: int, floor: float) -> None:
    ours = rates(cosine(double(0.7), double(floor), double(0)), steps)
    theirs = rates_of_pytorch(0.7, steps, lambda o: lr_scheduler.CosineAnnealingLR(o, steps, eta_min=0.7 * floor))
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(steps=st.integers(2, 120), data=st.data())
def test_warm_up_is_pytorchs_lambda_of_a_ramp(steps: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, steps))
    ours = rates(warmed(constant(double(0.7)), double(length / steps)), steps)
    theirs = rates_of_pytorch(0.7, steps, lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, step / length)))
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours[0] == 0


def test_no_warm_up_leaves_the_rate_alone() -> None:
    schedule = cosine(double(0.7, 0.3), double(0, 0.2), double(0, 0))
    assert all(torch.equal(warmed(schedule, double(0, 0))(u), schedule(u)) for u in (0.0, 0.1, 0.9))


def test_cosine_gives_the_published_table() -> None:
    """From 2 to .01 at p = 0, .25, .5, .75, 1 (fastai course, part 2, lesson 9)."""
    schedule = cosine(double(2), double(0.005), double(0))
    table = [schedule(p)[0].item() for p in (0, 0.25, 0.5, 0.75, 1)]
    assert table == pytest.approx([2, 1.708571, 1.005, 0.301429, 0.01], abs=5e-7)


def test_cosine_waits_for_its_start_and_ends_at_its_floor() -> None:
    """A cosine that starts after warm-up spends its whole half period on what is left."""
    schedule = cosine(double(1), double(0.2), double(0.5))
    assert [round(schedule(u)[0].item(), 12) for u in (0, 0.5, 0.75, 1)] == [1, 1, 0.6, 0.2]


def test_a_decay_point_at_the_beginning_decays_the_first_step_and_one_at_infinity_never_comes() -> None:
    points_KP = double(0, math.inf).reshape(1, 2)
    assert rates(step_decay(double(1), points_KP, double(0.1)), 3) == [0.1, 0.1, 0.1]


def test_decay_points_may_come_in_any_order_and_twice() -> None:
    forward, backward, twice = (double(*points).reshape(1, -1) for points in ((0.2, 0.6), (0.6, 0.2), (0.2, 0.2, 0.6)))
    one = rates(step_decay(double(1), forward, double(0.5)), 10)
    assert rates(step_decay(double(1), backward, double(0.5)), 10) == one
    assert rates(step_decay(double(1), twice, double(0.5)), 10)[5] == one[5] / 2


numbers = st.floats(1e-6, 10)
shares = st.floats(0, 0.99)
lanes = st.lists(st.tuples(numbers, shares, shares, shares, shares), min_size=2, max_size=9)


@given(columns=lanes, at=st.lists(st.floats(0, 1), min_size=1, max_size=70), data=st.data())
def test_the_rates_of_a_lane_do_not_depend_on_the_lanes_beside_it(
    columns: Sequence[tuple[float, ...]], at: list[float], data: st.DataObject
) -> None:
    """Bit for bit, for every schedule, over any number of steps at once."""

    def table(rows: Sequence[tuple[float, ...]], u: Tensor) -> Tensor:
        peak_K, floor_K, warmup_K, first_K, second_K = (double(*column) for column in zip(*rows, strict=True))
        points_KP = torch.stack([first_K, second_K], 1)
        every = [constant(peak_K), step_decay(peak_K, points_KP, floor_K), cosine(peak_K, floor_K, warmup_K)]
        return torch.stack([warmed(schedule, warmup_K)(u) for schedule in every])

    k = data.draw(st.integers(0, len(columns) - 1))
    together = table(columns, double(*at)[:, None].expand(len(at), len(columns)))[:, :, k]
    for s, u in enumerate(at):
        assert torch.equal(table([columns[k]], double(u)[:, None])[:, 0, 0], together[:, s])
