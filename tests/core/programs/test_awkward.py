"""Models of kinds that few write: every program trains them as PyTorch's own loop does, in any company."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.optimizers import SGD, Adam
from espalier.core.order import Order
from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import why_not
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.rows import part, seeded
from espalier.core.task import Batch, Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.core.pytorch import trained_by_pytorch, validation_loss

pytestmark = pytest.mark.each_value

BATCH, STEPS = 4, 12


class Classes(Task):
    """A classification of twelve numbers into five classes, by any model that takes them."""

    def __init__(self, make: Callable[[], nn.Module]):
        self.make = make

    def model(self) -> nn.Module:
        return self.make()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def data(self) -> Data:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(50, 12, generator=generator)
        y = (x[:, :5] + 0.5 * torch.randn(50, 5, generator=generator)).argmax(1)
        return Data((x[:40], y[:40]), (x[40:], y[40:]))


class Scaled(nn.Module):
    """A layer whose outputs are scaled by functions of parameters that are single numbers, or few."""

    def __init__(self, *shape: int):
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.scale = nn.Parameter(torch.zeros(shape))
        self.heat = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * F.softplus(self.scale) * self.heat.exp() + F.logsigmoid(self.heat)


class Replaces(nn.Module):
    """Keeps a running mean in a buffer that it does not write into, but puts another in the place of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.register_buffer("mean", torch.zeros(12))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return self.layer(x - self.mean)


class Grows(nn.Module):
    """Keeps a table in a buffer that grows with what it has seen, as tables of positions do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.register_buffer("table", torch.zeros(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.table) < x.shape[-1]:
            self.table = torch.arange(x.shape[-1], dtype=x.dtype).cos()
        return self.layer(x * self.table)


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 5, bias=False), nn.Linear(12, 5, bias=False)
        self.last.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.add_(1)
        return self.first(x).tanh() + self.last(x)


class Spare(nn.Module):
    """A parameter that no training step makes use of: torch.optim does not decay it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.spare = nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if self.training else self.layer(x) + self.spare(x)


def _norm(weight: bool, bias: bool) -> nn.Module:
    norm = nn.BatchNorm1d(7)
    norm.weight = nn.Parameter(torch.full((7,), 0.5)) if weight else None  # pyright: ignore
    norm.bias = nn.Parameter(torch.full((7,), 0.25)) if bias else None  # pyright: ignore
    return nn.Sequential(nn.Linear(12, 7), norm, nn.Tanh(), nn.Linear(7, 5))


def _few(middle: type[nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(12, 3), middle(), nn.Linear(3, 5))


FUNCTIONS = (nn.Softplus, nn.GELU, nn.ELU, nn.Mish, nn.LogSigmoid)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "a norm with a weight alone": lambda: _norm(True, False),
    "a norm with a bias alone": lambda: _norm(False, True),
    "scales that are single numbers": lambda: Scaled(),
    "scales that are few": lambda: Scaled(5),
    "a buffer that is replaced": Replaces,
    "a buffer that grows": Grows,
    "tied weights": Tied,
    "weights to spare": Spare,
    **{f"three units of {kind.__name__}": _few(kind) for kind in FUNCTIONS},
}


def trials(count: int) -> list[Trial]:
    hypers = [Hyperparameters(lr=0.3 / (k + 1), momentum=0.9, weight_decay=0.1) for k in range(count)]
    return [Trial(str(k), k % 2, STEPS, hyper, 2) for k, hyper in enumerate(hypers)]


def finished(task: Task, of: list[Trial], program: str, **structural: Any) -> dict[str, Any]:
    structure = Structure(batch_size=BATCH, **structural)
    cohort = Cohort(CohortSetup(task, task.data(), structure, of, lanes=len(of), program=program, ratio_samples=3))
    return {event.trial: event.to_json() for event in cohort.train() if isinstance(event, Ended)}


def cases(*programs: str) -> Any:
    """Every model by every program; what is compiled is slow."""
    return pytest.mark.parametrize(
        "program, model",
        [
            pytest.param(*case, marks=[pytest.mark.slow] if case[0] == "compiled" else [])
            for case in itertools.product(programs, MODELS)
        ],
    )


@cases("plain", "native", "vmap", "compiled", "captured")
def test_every_program_trains_it_as_pytorch_does(model: str, program: str) -> None:
    task = Classes(MODELS[model])
    found = finished(task, trials(3), program, dtype="float64")
    for trial in trials(3):
        losses, trained = trained_by_pytorch(task, trial, BATCH, torch.float64)
        last = validation_loss(task, trained, task.data().to("cpu", torch.float64))
        assert found[trial.id]["values"]["valid_loss"] == pytest.approx(last, rel=1e-9)
        assert [loss for _, loss in found[trial.id]["curve"]] == pytest.approx(losses, rel=1e-9)


@pytest.mark.sampled(5)
@cases("native", "vmap", "compiled", "captured")
def test_a_lane_has_the_same_bits_in_any_company(model: str, program: str) -> None:
    """The last elements of a tensor go through other code: where a lane has few of them, those are many lanes."""
    task, every = Classes(MODELS[model]), trials(19)
    together = finished(task, every, program)
    for company in ([18], [3, 17], [18, 5, 0], every[1:18:2]):
        some = [trial if isinstance(trial, Trial) else every[trial] for trial in company]
        for name, event in finished(task, some, program).items():
            assert event == together[name], f"trial {name} among {len(some)}"


def test_a_finished_model_has_its_tied_weights_tied_and_every_buffer() -> None:
    task = Classes(Tied)
    for program in map(PROGRAMS.__getitem__, PROGRAMS):
        made = program(task, SGD())
        row = {name: tensor + 1 for name, tensor in made.fresh_row(3).items()}
        model = made.module(row)
        assert isinstance(model, Tied)
        assert model.first.weight is model.last.weight
        assert torch.equal(model.state_dict()["last.weight"], row["theta.first.weight"])
        assert torch.equal(model.seen, row["buffer.seen"])
        assert made.evaluate(row, task.data().valid)["loss"] == pytest.approx(
            task.loss(model.eval(), task.data().valid).item(), rel=1e-6
        )
        assert not any(torch.equal(tensor, part(row, "theta.")["first.weight"]) for tensor in made.model.parameters())


class Doubles(Classes):
    """Its data is in float64, as numpy makes it."""

    def data(self) -> Data:
        return super().data().to("cpu", torch.float64)


def test_data_of_another_type_is_no_reason_against_many_lanes() -> None:
    task = Doubles(MODELS["tied weights"])
    batch = tuple(tensor[:BATCH] for tensor in task.data().train)
    assert why_not("vmap", task, batch) is None
    assert why_not("compiled", task, batch) is None


class InTurn(Classes):
    """Takes its examples in their order, so that the last of them is seen late."""

    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        return lambda first, last: torch.arange(first * batch_size, last * batch_size).view(-1, batch_size) % examples


class Absent(InTurn):
    """One label says that there is none."""

    def data(self) -> Data:
        data = super().data()
        data.train[1][-1] = -1
        return data


class Tokens(InTurn):
    """Looks a row of an embedding up that is not there."""

    def __init__(self) -> None:
        super().__init__(lambda: nn.Sequential(nn.Embedding(6, 5), nn.Flatten(), nn.Linear(60, 5)))

    def data(self) -> Data:
        data = super().data()
        x, y = ((tensor * 2).round().clamp(0, 5).long() for tensor in data.train)
        x[-1, 3] = -1
        return Data((x, y.clamp(0, 4)), (x.clamp(0), y.clamp(0, 4)))


class Beyond(Tokens):
    """Likewise, beyond the last one: in a program of many lanes the first row of the next lane's."""

    def data(self) -> Data:
        data = super().data()
        data.train[0][-1, 3] = 6
        return data


@pytest.mark.parametrize("program", ["plain", "native", "vmap", "captured"])
@pytest.mark.parametrize("task", [Absent(MODELS["tied weights"]), Tokens(), Beyond()])
@pytest.mark.parametrize("count", [1, 4])
def test_an_index_out_of_range_is_refused_by_every_program_in_every_lane(task: Task, program: str, count: int) -> None:
    found = finished(task, trials(count), program)
    assert {end["status"] for end in found.values()} == {"failed"}
    assert all(re.search("out of (range|bounds)", end["evidence"]) for end in found.values())


def test_ratios_at_an_absurd_rate_do_not_end_the_neighbours() -> None:
    task = Classes(MODELS["scales that are few"])
    calm, wild = trials(2)[0], Trial("wild", 0, STEPS, Hyperparameters(lr=1e30), 2)
    found = finished(task, [wild, calm], "native")
    assert found["wild"]["status"] == "diverged"
    assert found["0"] == finished(task, [calm], "native")["0"]


def test_machine_code_takes_ratios_of_any_numbers() -> None:
    task = Classes(MODELS["scales that are few"])
    made, other = NativeProgram(task, SGD()), PROGRAMS["vmap"](task, SGD())
    generator = torch.Generator().manual_seed(0)
    before, after, grads = ([torch.randn(3, 60, generator=generator)] for _ in range(3))
    after[0][0], grads[0][1] = torch.inf, torch.nan
    found, expected = (program.ratios(before, after, grads) for program in (made, other))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("program", ["plain", "native", "vmap"])
def test_adam_with_a_beta_close_to_one_is_that_of_torch(program: str) -> None:
    task, hyper = Classes(lambda: nn.Linear(12, 5)), Hyperparameters(lr=0.01, beta1=0.99999, beta2=0.999999)
    found = finished(task, [Trial("0", 0, STEPS, hyper, 1)], program, optimizer=Adam())["0"]["values"]["valid_loss"]
    data = task.data()
    with seeded(0):
        model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), hyper.lr, (0.99999, 0.999999))
    for indexes in task.order(0, len(data.train[0]), BATCH)(0, STEPS):
        optimizer.zero_grad()
        task.loss(model, tuple(tensor[indexes] for tensor in data.train)).backward()
        optimizer.step()
    with torch.no_grad():
        assert found == pytest.approx(task.loss(model, data.valid).item(), rel=1e-5)
