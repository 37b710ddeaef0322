"""Schedules against PyTorch's own, against published tables, and as columns that do not depend on their neighbours."""

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from espalier.core.errors import BadInput
from espalier.core.schedules.constant import constant
from espalier.core.schedules.for_torch import torch_scheduler
from espalier.core.schedules.phases import combined
from espalier.core.schedules.registry import SCHEDULES, build
from espalier.core.schedules.schedule import RateFunction
from espalier.core.schedules.shapes import SHAPES, anneal, fall
from espalier.core.schedules.step import step_decay
from espalier.core.schedules.warmup import warmed


def cosine(peak_K: Tensor, floor_K: Tensor, start_K: Tensor) -> RateFunction:
    return fall("cosine", peak_K, floor_K, start_K)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rates(schedule: RateFunction, steps: int) -> list[float]:
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


PHASES = ((0.6, "exponential", 0.1, 1.0), (0.3, "sqrt", 1.0, 0.2), (0.1, "polynomial", 0.2, 0.0))
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
        numbers = {"lr": peak_K, "points": points_KP, "decay_factor": floor_K, "floor": floor_K + 1e-3}
        numbers |= {"power": peak_K, "div": 1 + peak_K, "warmup": warmup_K, "budget": 100 * peak_K.ceil() + 1}
        return torch.stack([build(kind, numbers, PHASES)(u) for kind in SCHEDULES])

    k = data.draw(st.integers(0, len(columns) - 1))
    together = table(columns, double(*at)[:, None].expand(len(at), len(columns)))[:, :, k]
    for s, u in enumerate(at):
        assert torch.equal(table([columns[k]], double(u)[:, None])[:, 0, 0], together[:, s])


# --- shapes, and phases of them ---------------------------------------------------------------------------------------

PUBLISHED = {  # from 2 to .01 at p = 0, .25, .5, .75, 1 (fastai course, part 2, lesson 9)
    "linear": (2, 1.5025, 1.005, 0.5075, 0.01),
    "cosine": (2, 1.708571, 1.005, 0.301429, 0.01),
    "exponential": (2, 0.53183, 0.141421, 0.037606, 0.01),
    "constant": (2, 2, 2, 2, 2),
}


@pytest.mark.parametrize("shape", PUBLISHED)
def test_a_shape_gives_the_published_table(shape: str) -> None:
    table = [anneal(shape, 2, 0.01, p).item() for p in (0, 0.25, 0.5, 0.75, 1)]
    assert table == pytest.approx(PUBLISHED[shape], abs=5e-7)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "constant"])
@given(start=st.floats(0.01, 10), end=st.floats(0.01, 10), p=st.lists(st.floats(0, 1), min_size=2))
def test_a_shape_goes_from_its_start_to_its_end_and_never_back(
    shape: str, start: float, end: float, p: list[float]
) -> None:
    way = [anneal(shape, start, end, share).item() for share in (0, *sorted(p), 1)]
    assert way[0] == pytest.approx(start)
    assert way[-1] == pytest.approx(end)
    sign = 1 if end >= start else -1
    assert all(sign * (after - before) >= -1e-12 for before, after in itertools.pairwise(way))


def test_phases_give_the_published_table() -> None:
    """combine([.3, .7], cos .3 -> .6, cos .6 -> .2) of the same course."""
    schedule = combined(double(1), [(0.3, "cosine", 0.3, 0.6), (0.7, "cosine", 0.6, 0.2)])
    table = [schedule(u)[0].item() for u in (0, 0.1, 0.15, 0.3, 0.5, 0.65, 0.9, 1)]
    assert table == pytest.approx([0.3, 0.375, 0.45, 0.6, 0.524698, 0.4, 0.219806, 0.2], abs=5e-7)


def test_phases_whose_shares_add_up_in_floating_point_only_nearly_are_taken() -> None:
    """.6 + .3 + .1 is not 1: the published helper refuses it."""
    schedule = combined(double(2), [(0.6, "linear", 0, 1), (0.3, "constant", 1, 1), (0.1, "linear", 1, 0)])
    assert [round(schedule(u)[0].item(), 9) for u in (0, 0.3, 0.6, 0.75, 0.95, 1)] == [0, 1, 2, 2, 1, 0]


@given(shares=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_any_number_of_phases_joins_without_a_jump(shares: list[int]) -> None:
    """Of phases that begin where the one before ended, at every join, from both sides."""
    rates_ = [0.1 + i % 3 for i in range(len(shares) + 1)]
    whole = sum(shares)
    phases = [(share / whole, "cosine", *rates_[i : i + 2]) for i, share in enumerate(shares)]
    schedule = combined(double(1), phases)
    for i in range(len(shares)):
        end = sum(shares[: i + 1]) / whole
        for u in (end - 1e-9, min(1.0, end + 1e-9)):
            assert schedule(u)[0].item() == pytest.approx(rates_[i + 1], abs=1e-6)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([], "there are none"),
        ([(0.3, "linear", 1, 0), (0.3, "linear", 1, 0)], "add up to 0.6"),
        ([(1.0, "sine", 1, 0)], "unknown shape 'sine'; did you mean 'cosine'"),
        ([(1.0, "exponential", 1, 0)], "positive multiples"),
        ([(0.0, "linear", 1, 0), (1.0, "linear", 1, 0)], "a share of 0"),
        ([(1.0, "linear", 1)], "is no phase"),
    ],
)
def test_phases_that_make_no_schedule_are_refused(phases: list[tuple[float, str, float, float]], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        combined(double(1), phases)


# --- every kind beside its counterpart in PyTorch, as a scheduler of PyTorch ------------------------------------------


def rates_of(config: dict[str, object], lr: float, steps: int) -> list[float]:
    return rates_of_pytorch(lr, steps, lambda o: torch_scheduler({"steps": steps} | config, o))


def sequence(optimizer: torch.optim.Optimizer, warm: int, steps: int) -> lr_scheduler.LRScheduler:
    """Warm-up, a plateau, a linear fall, of PyTorch's parts."""
    start = math.ceil(0.8 * steps - 1e-9)
    parts: list[lr_scheduler.LRScheduler] = [
        lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / warm)),
        lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps - start),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [start])


COUNTERPARTS = {
    "constant": lambda o, n: lr_scheduler.ConstantLR(o, 1.0),
    "linear": lambda o, n: lr_scheduler.LinearLR(o, 1.0, 0.2, n),
    "cosine": lambda o, n: lr_scheduler.CosineAnnealingLR(o, n, 0.2 * 0.7),
    "exponential": lambda o, n: lr_scheduler.ExponentialLR(o, 0.2 ** (1 / n)),
    "polynomial": lambda o, n: lr_scheduler.PolynomialLR(o, n, 3.0),
    "onecycle": lambda o, n: lr_scheduler.OneCycleLR(o, 0.7, n, cycle_momentum=False),
}
CONFIGS: dict[str, dict[str, object]] = {
    "constant": {},
    "linear": {"floor": 0.2},
    "cosine": {"floor": 0.2},
    "exponential": {"floor": 0.2},
    "polynomial": {"power": 3.0},
    "onecycle": {},
}


@pytest.mark.parametrize("kind", COUNTERPARTS)
@given(steps=st.integers(4, 150))
def test_a_kind_is_its_counterpart_in_pytorch(kind: str, steps: int) -> None:
    ours = rates_of({"kind": kind} | CONFIGS[kind], 0.7, steps)
    theirs = rates_of_pytorch(0.7, steps, lambda o: COUNTERPARTS[kind](o, steps))
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(steps=st.integers(10, 150), top=st.floats(0.2, 0.8), div=st.floats(2, 50))
def test_a_one_cycle_with_other_numbers_is_pytorchs_too(steps: int, top: float, div: float) -> None:
    config = {"kind": "onecycle", "decay_points": [top], "div": div, "floor": 1 / (div * 100)}
    theirs = rates_of_pytorch(
        0.7,
        steps,
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.7, steps, pct_start=top, div_factor=div, final_div_factor=100, cycle_momentum=False
        ),
    )
    assert rates_of(config, 0.7, steps) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_the_one_cycle_of_fastai_is_its_combined_cosine() -> None:
    """SchedCos of fastai written out: start + (1 + cos(pi * (1 - pos))) * (end - start) / 2, in two pieces."""

    def piece(start: float, end: float, pos: float) -> float:
        return start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2

    steps, high = 40, 0.7
    expected = [
        piece(high / 25, high, (s / steps) / 0.25)
        if s / steps < 0.25
        else piece(high, high / 1e5, (s / steps - 0.25) / 0.75)
        for s in range(steps)
    ]
    assert rates_of({"kind": "onecycle-fastai"}, high, steps) == pytest.approx(expected, rel=1e-9)


@given(steps=st.integers(10, 150))
def test_warm_up_stable_decay_is_a_sequence_of_pytorchs(steps: int) -> None:
    """Where a fifth of the budget is a whole number of steps."""
    steps -= steps % 5
    warm = max(1, steps // 10)
    ours = rates_of({"kind": "wsd", "warmup": warm / steps}, 0.7, steps)
    assert ours == pytest.approx(rates_of_pytorch(0.7, steps, lambda o: sequence(o, warm, steps)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("start", [0.5, 0.8])
def test_the_square_root_decay_is_that_of_its_paper(start: float) -> None:
    """1 - sqrt((t - t_start) / (T - t_start)) of the peak (Hägele et al. 2024, equation 1)."""
    steps = 50
    expected = [1 - math.sqrt(max(0.0, s - start * steps) / (steps - start * steps)) for s in range(steps)]
    ours = rates_of({"kind": "wsd-sqrt", "decay_points": [start]}, 1.0, steps)
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_scheduler_keeps_each_groups_own_peak_unless_it_is_given_one() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.01)]
    own = torch_scheduler({"kind": "cosine", "steps": 10}, torch.optim.SGD(groups))
    assert own.get_last_lr() == [0.1, 0.01]
    given_ = torch_scheduler({"kind": "cosine", "steps": 10, "lr_exponent": -2}, torch.optim.Adam(groups))
    assert given_.get_last_lr() == [0.01, 0.01]


def test_a_scheduler_goes_on_where_its_state_was_saved() -> None:
    def make() -> tuple[torch.optim.Optimizer, lr_scheduler.LRScheduler]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
        return optimizer, torch_scheduler({"kind": "onecycle", "steps": 20}, optimizer)

    optimizer, whole = make()
    expected = []
    for _ in range(20):
        expected.append(whole.get_last_lr()[0])
        optimizer.step()
        if whole.last_epoch == 7:
            saved = whole.state_dict(), optimizer.state_dict()
        whole.step()
    optimizer, again = make()
    optimizer.load_state_dict(saved[1])
    again.load_state_dict(saved[0])
    found = []
    for _ in range(7, 20):
        found.append(again.get_last_lr()[0])
        optimizer.step()
        again.step()
    assert found == expected[7:]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"steps": 5}, "schedule.kind: missing"),
        ({"kind": "cosine"}, "schedule.steps: missing"),
        ({"kind": "cosin", "steps": 5}, "unknown kind 'cosin'; did you mean 'cosine'"),
        ({"kind": "cosine", "steps": 0}, "schedule.steps: 0 arrived; give a whole number of at least 1"),
        ({"kind": "cosine", "steps": 5, "flor": 0.1}, "schedule.flor: unknown field; did you mean 'floor'"),
        ({"kind": "cosine", "steps": 5, "power": 2}, "schedule.power: schedule 'cosine' has none"),
        ({"kind": "constant", "steps": 5, "decay_points": [0.5]}, "has no decay points"),
        ({"kind": "step", "steps": 5, "decay_points": [1.5]}, "shares of the budget"),
        ({"kind": "step", "steps": 5, "decay_factor": 2}, "schedule.decay_factor: 2 is no number in"),
        ({"kind": "exponential", "steps": 5, "floor": 0}, "never reaches 0"),
        ({"kind": "phases", "steps": 5}, "schedule.phases"),
        ({"kind": "cosine", "steps": 5, "lr": 1, "lr_exponent": 0}, "keep one of them"),
    ],
)
def test_a_config_that_is_no_schedule_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput) as refusal:
        torch_scheduler(config, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    assert words in str(refusal.value)
