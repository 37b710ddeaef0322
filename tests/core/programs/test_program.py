"""The two programs: what they draw, what they measure, what they record, and which of them a task is given."""

import itertools
from collections.abc import Callable, Mapping
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from espalier.core.optimizers import SGD, Adam
from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import COMPILE_FROM, choose, why_not
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.vmap import VmapProgram
from espalier.core.rows import part, seeded
from espalier.core.task import Batch, Data, Task
from espalier.core.tasks.thermometer import Thermometer

every_program = pytest.mark.parametrize(
    "program", [pytest.param(name, marks=[pytest.mark.slow] if name == "compiled" else []) for name in PROGRAMS]
)


class Small(Task):
    """A regression in three dimensions; what is odd about it comes with `middle`."""

    def __init__(self, middle: Callable[[], nn.Module] = nn.Tanh):
        self.middle = middle

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 5), self.middle(), nn.Linear(5, 1))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        x_BF, y_B1 = batch
        return ((model(x_BF) - y_B1) ** 2).mean()

    def data(self) -> Data:
        x_NF = torch.randn(41, 3, generator=torch.Generator().manual_seed(0))
        y_N1 = x_NF.sum(1, keepdim=True)
        return Data((x_NF[:30], y_N1[:30]), (x_NF[30:], y_N1[30:]))


@lru_cache
def steps_down(width: int) -> Tensor:
    return torch.ones(width, width).tril()


class Keeps(nn.Module):
    """Keeps tensors that it makes in its first pass, as models do with masks and tables of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: Tensor | None = None
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if self.weights is None:
            self.weights = 1 + torch.arange(x.shape[-1], device=x.device) / 10
        width = x.shape[-1]
        if width not in self.tables:
            self.tables[width] = torch.full((width,), 0.5)
        return (torch.tanh(x) * self.weights + self.tables[width]) @ steps_down(width)


class Asks(nn.Module):
    """Decides by the number in a tensor, which a batched program has many of."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean().item() > 0 else -x


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


class Sums(nn.Module):
    """Does what core.native has no counterpart of."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


def one_batch(task: Task, lanes: int | None = None) -> Batch:
    batch = tuple(tensor[:7] for tensor in task.data().train)
    return batch if lanes is None else tuple(tensor.expand(lanes, *tensor.shape).clone() for tensor in batch)


# --- which program ---------------------------------------------------------------------------------------------------


def test_a_task_that_can_run_in_many_lanes_does(small_tasks: Mapping[str, Task]) -> None:
    for task in [*small_tasks.values(), Small()]:
        assert choose(task, one_batch(task), 8) == ("vmap", "many lanes")
        assert why_not("vmap", task, one_batch(task)) is None


@pytest.mark.parametrize(
    "middle, reason",
    [(nn.Dropout, "random"), (lambda: nn.Dropout(0.2), "random"), (Asks, r"\.item\(\)"), (Branches, "control flow")],
    ids=("dropout", "little dropout", "item", "a branch on a tensor"),
)
def test_a_model_that_cannot_run_under_vmap_runs_one_lane_at_a_time_and_says_why(
    middle: Callable[[], nn.Module], reason: str
) -> None:
    task = Small(middle)
    name, why = choose(task, one_batch(task), 8)
    assert name == "plain"
    assert why.startswith("one lane at a time, since the model cannot run under vmap (it ")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(why)
    assert "\n" not in why and len(why) < 300 and "vmap:" not in why and "http" not in why


def test_one_lane_is_plain_and_a_named_program_is_taken() -> None:
    task = Small(nn.Dropout)
    assert choose(task, one_batch(task), 1) == ("plain", "one lane")
    for name in ("plain", "vmap"):
        assert choose(task, one_batch(task), 8, name) == (name, "as the spec says")
    assert choose(task, one_batch(task), 8, "compiled")[0] == "plain", "a wish that cannot be had"
    assert choose(Small(), one_batch(Small()), 8, "compiled") == ("compiled", "as the spec says")


def test_long_work_is_compiled_and_short_work_is_not(small_tasks: Mapping[str, Task]) -> None:
    """Where there is no machine code of our own: else that is taken, which is faster and compiled sooner."""
    for task in small_tasks.values():
        assert choose(task, one_batch(task), 8, work=COMPILE_FROM)[0] == "native"
        assert choose(task, one_batch(task), 8, "vmap", work=COMPILE_FROM)[0] == "vmap"
    task = Small(Sums)
    batch = one_batch(task)
    assert choose(task, batch, 8, work=COMPILE_FROM - 1)[0] == "vmap"
    name, why = choose(task, batch, 8, work=COMPILE_FROM)
    assert name == "compiled" and why.startswith("1,000,000 steps of trials ahead; there is no machine code for it")
    assert choose(task, batch, 1, work=COMPILE_FROM)[0] == "plain"
    assert choose(Small(nn.Dropout), one_batch(Small()), 8, work=COMPILE_FROM)[0] == "plain"


def test_what_cannot_be_compiled_is_not_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Small()
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert why_not("compiled", task, one_batch(task)) == "there is no C++ compiler here: install g++"
    said = ("vmap", "many lanes; they cannot be compiled (there is no C++ compiler here: install g++)")
    assert choose(task, one_batch(task), 8, work=COMPILE_FROM) == said
    assert choose(task, one_batch(task), 8, "compiled") == said
    monkeypatch.undo()
    assert "random" in str(why_not("compiled", Small(nn.Dropout), one_batch(Small())))


def test_choosing_changes_neither_the_generator_nor_the_data(small_tasks: Mapping[str, Task]) -> None:
    task, state = small_tasks["names with BatchNorm"], torch.get_rng_state()
    batch = one_batch(task)
    kept = [tensor.clone() for tensor in batch]
    choose(task, batch, 8)
    choose(Small(nn.Dropout), one_batch(Small()), 8)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, batch, kept))


# --- a fresh lane ----------------------------------------------------------------------------------------------------


@every_program
def test_a_fresh_lane_has_the_weights_that_its_seed_draws(program: str, small_tasks: Mapping[str, Task]) -> None:
    """Whatever was drawn before, and whatever lanes were made before it."""
    task = small_tasks["names with BatchNorm"]
    made = PROGRAMS[program](task, Adam())
    with seeded(5):
        expected = task.model()
    torch.manual_seed(99)
    made.fresh_row(4)
    row = made.fresh_row(5)
    theta, buffers = part(row, "theta."), part(row, "buffer.")
    assert list(theta) == [name for name, _ in expected.named_parameters()]
    assert all(torch.equal(theta[name], tensor) for name, tensor in expected.named_parameters())
    for slot in ("mean", "square"):
        zeros = part(row, f"slot.{slot}.")
        assert list(zeros) == list(theta) and not any(tensor.any() for tensor in zeros.values())
    assert len(row) == 3 * len(theta) + len(buffers) and len(buffers) == 2
    assert all(torch.equal(buffers[name], tensor) for name, tensor in expected.named_buffers())


def test_frozen_parameters_are_kept_and_not_trained() -> None:
    class Frozen(Small):
        def model(self) -> nn.Module:
            model = super().model()
            model.get_parameter("0.weight").requires_grad_(False)
            return model

    for name in PROGRAMS:
        program = PROGRAMS[name](Frozen(), SGD())
        row = program.fresh_row(1)
        assert program.parameters.count == 5 + 5 + 1
        with seeded(1):
            assert torch.equal(row["buffer.0.weight"], Frozen().model().get_parameter("0.weight"))
        rows = {key: tensor.expand(program.min_width, *tensor.shape) for key, tensor in row.items()}
        _, grads, after = program.gradients(rows, one_batch(Frozen(), program.min_width), (1, 0))
        assert {key: grad.shape for key, grad in grads.items()} == {k: t.shape for k, t in part(rows, "theta.").items()}
        assert torch.equal(after["0.weight"][0], row["buffer.0.weight"])


# --- a step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_name", ("names", "names with BatchNorm", "thermometer"))
def test_both_programs_give_the_same_step(task_name: str, small_tasks: Mapping[str, Task]) -> None:
    task = small_tasks[task_name]
    plain, vmap = (PROGRAMS[name](task, SGD(), torch.float64) for name in ("plain", "vmap"))
    row = plain.fresh_row(3)
    batch = tuple(t.double() if t.is_floating_point() else t for t in one_batch(task, 2))
    rows = {name: tensor.expand(2, *tensor.shape) for name, tensor in row.items()}
    for ours, theirs in zip(vmap.gradients(rows, batch), plain.gradients(rows, batch), strict=True):
        pairs = zip(ours.values(), theirs.values(), strict=True) if isinstance(ours, dict) else [(ours, theirs)]
        for a, b in pairs:
            torch.testing.assert_close(a[:1], b[:1], rtol=1e-10, atol=1e-13)


@every_program
def test_a_gradient_leaves_parameters_buffers_and_batch_as_they_were(
    program: str, small_tasks: Mapping[str, Task]
) -> None:
    task = small_tasks["names with BatchNorm"]
    made = PROGRAMS[program](task, SGD())
    rows = {name: torch.stack([tensor, tensor]) for name, tensor in made.fresh_row(0).items()}
    batch = one_batch(task, 2)
    tensors = [*rows.values(), *batch]
    kept = [tensor.clone() for tensor in tensors]
    _, _, after = made.gradients(rows, batch)
    assert all(map(torch.equal, tensors, kept))
    assert not any(torch.equal(after[name][0], tensor[0]) for name, tensor in part(rows, "buffer.").items())


@pytest.mark.parametrize("program", ("native", "vmap", "captured"))
def test_a_program_may_be_given_batches_of_other_sizes_and_data_that_lie_otherwise(program: str) -> None:
    """What was written down for the first must not serve the second."""
    task = Small()
    made, plain, train = PROGRAMS[program](task, SGD()), PlainProgram(task, SGD()), task.data().train
    turned = tuple(tensor.T.contiguous().T for tensor in train)
    c = torch.tensor([0.1, 0.0, 0.0])[:, None, None]
    for data, size in itertools.product((train, turned), (7, 4, 7)):
        ours, theirs = ({name: t[None].clone() for name, t in plain.fresh_row(1).items()} for _ in range(2))
        index = torch.arange(5, 5 + size)[None]
        found, _ = made.step(ours, data, index, c, (0, 0))
        wanted, _ = plain.step(theirs, train, index, c, (0, 0))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_batched_step_has_one_row_to_spare() -> None:
    program = VmapProgram(Thermometer(), SGD())
    widths = [program.width(lanes) for lanes in range(1, 200)]
    assert widths == list(range(2, 201))
    assert [PlainProgram(Thermometer(), SGD()).width(lanes) for lanes in (1, 2)] == [1, 2]


# --- a validation ----------------------------------------------------------------------------------------------------


class Seen(list[int]):
    """What a test hears of calls: a program that writes a function down takes back what that leaves in a plain list."""


class Measured(Small):
    """Measures more than its loss, in batches of a size of its own; a metric in which every example counts alike."""

    def __init__(self, size: int | None, middle: Callable[[], nn.Module] = nn.Tanh):
        super().__init__(middle)
        self.evaluation_batch_size = size
        self.sizes = Seen()

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        assert not model.training and not torch.is_grad_enabled()
        self.sizes.append(len(batch[0]))
        return {"loss": self.loss(model, batch), "first": batch[0][:, 0].mean()}


@every_program
def test_a_model_may_keep_tensors_from_one_pass_to_the_next(program: str) -> None:
    steps_down.cache_clear()
    task, plain = Small(Keeps), PROGRAMS["plain"](Small(Keeps), SGD())
    made, data = PROGRAMS[program](task, SGD()), task.data()
    if isinstance(made, NativeProgram):
        assert made.why_not(data.train, 4) is None
    index, c = torch.arange(4)[None], torch.full((3, 1, 1), 0.1)
    rows, expected = ({name: tensor[None].clone() for name, tensor in made.fresh_row(1).items()} for _ in range(2))
    for size in (4, 3, 4):  # what is written down for one size must not stand in the way of another
        loss, _ = made.step(rows, data.train, index[:, :size], c, (0, 0))  # first, while nothing is kept yet
        wanted, _ = plain.step(expected, data.train, index[:, :size], c, (0, 0))
        torch.testing.assert_close(loss[:1], wanted, rtol=1e-5, atol=1e-6)
    row = {name: tensor[0] for name, tensor in rows.items()}
    assert made.evaluate(row, data.valid)["loss"] == pytest.approx(plain.evaluate(row, data.valid)["loss"], rel=1e-5)


@every_program
@pytest.mark.parametrize("size, sizes", [(None, [11]), (11, [11]), (4, [4, 4, 3]), (1, [1] * 11)])
def test_a_metric_is_the_mean_over_all_examples_whatever_the_batches(
    program: str, size: int | None, sizes: list[int]
) -> None:
    task = Measured(size)
    made, valid = PROGRAMS[program](task, SGD()), task.data().valid
    found = made.evaluate(made.fresh_row(2), valid)
    if program == "native":  # it is asked once to be written down and once to be compared with, for each size
        assert set(task.sizes) == set(sizes)
        task.sizes.clear()
        assert made.evaluate(made.fresh_row(2), valid) == found and not task.sizes
    else:
        assert task.sizes == sizes
    with seeded(2):
        model = task.model()
    assert found == pytest.approx(
        {"loss": task.loss(model, valid).item(), "first": valid[0][:, 0].mean().item()}, rel=1e-6
    )


class Spread(Measured):
    """A metric that is no mean over examples: it hangs on how many are looked at at once."""

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return {"loss": self.loss(model, batch), "spread": model(batch[0]).std()}


@every_program
@pytest.mark.parametrize("size", [None, 800, 600, 300])
def test_every_program_validates_as_many_examples_at_once_as_the_task_says(program: str, size: int | None) -> None:
    task, x_NF = Spread(size), torch.randn(1000, 3, generator=torch.Generator().manual_seed(1))
    valid = (x_NF * torch.linspace(0, 2, 1000)[:, None], x_NF.sum(1, keepdim=True))
    made, plain = PROGRAMS[program](task, SGD()), PlainProgram(task, SGD())
    row = made.fresh_row(2)
    assert made.evaluate(row, valid) == pytest.approx(plain.evaluate(row, valid), rel=1e-6)


class Noisy(Small):
    """Draws at random wherever it is asked, in a validation too, as the bound of a variational autoencoder does."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, (batch[0] + torch.randn_like(batch[0]), batch[1]))


@every_program
def test_what_a_validation_draws_is_a_function_of_seed_and_step(program: str) -> None:
    task = Noisy()
    made, valid = PROGRAMS[program](task, SGD()), task.data().valid
    row = made.fresh_row(0)
    found = {}
    for _ in range(2):
        torch.rand(3)  # whatever was drawn before
        for stream in ((0, 1), (0, 2), (1, 1), (1, 2)):
            found.setdefault(stream, set()).add(made.evaluate(row, valid, stream)["loss"])
    assert all(len(values) == 1 for values in found.values())
    assert len(set.union(*found.values())) == 4


def test_dropout_is_off_in_a_validation_and_on_again_in_the_next_step() -> None:
    task = Measured(None, lambda: nn.Dropout(0.5))
    program = PlainProgram(task, SGD())
    row, valid = program.fresh_row(0), task.data().valid
    step = ({name: tensor[None] for name, tensor in row.items()}, one_batch(task, 1))
    losses = [program.gradients(*step, (0, k))[0].item() for k in range(3)]
    assert len({program.evaluate(row, valid)["loss"] for _ in range(3)}) == 1
    assert [program.gradients(*step, (0, k))[0].item() for k in range(3)] == losses and len(set(losses)) == 3


@every_program
def test_a_validation_leaves_the_lane_as_it_was(program: str, small_tasks: Mapping[str, Task]) -> None:
    task = small_tasks["names with BatchNorm"]
    made = PROGRAMS[program](task, SGD())
    row = made.fresh_row(0)
    kept = {name: tensor.clone() for name, tensor in row.items()}
    made.evaluate(row, task.data().valid)
    assert all(torch.equal(row[name], tensor) for name, tensor in kept.items())
