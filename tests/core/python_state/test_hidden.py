"""A loss that depends on Python's state trains by plain PyTorch, says why, and each trial has that state for itself."""

import copy
import cProfile
import dataclasses
import functools
import io
import itertools
import math
import os
import pstats
import random
import re
import sys
import threading
import time
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core import checkpoint
from espalier.core.checks import preflight
from espalier.core.checks.checkup import check_up
from espalier.core.errors import BadInput, Differs
from espalier.core.optimizers import SGD, Adam
from espalier.core.programs import PROGRAMS, probe
from espalier.core.programs.choose import choose, why_hidden
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.probe import TaskProbe
from espalier.core.programs.steps import autograd
from espalier.core.programs.task_functions import TaskFunctions
from espalier.core.python_state import detect
from espalier.core.python_state.encoding import Unwritable, decoded, encoded
from espalier.core.task import Batch, Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Scored
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

F = nn.functional
STEPS, BATCH = 60, 16
PLAIN_SGD = Structure(SGD(momentum=False, decay=False), "constant", BATCH)
COUNTS: dict[str, Any] = {"n": 0, "nested": {"deep": [0]}}
SEEN: list[float] = []


class Base(Task):
    """A small perceptron; a subclass says what is added to its loss."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def data(self) -> Data:
        x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
        y = (x[:, :1] * x[:, 1:2]).sin()
        return Data((x[:192], y[:192]), (x[192:], y[192:]))

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        return {"loss": F.mse_loss(model(batch[0]), batch[1])}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + self.share(model))

    def share(self, model: nn.Module) -> Any:
        return 0.0


class Attribute(Base):
    def __init__(self) -> None:
        self.n = 0

    def share(self, model: nn.Module) -> float:
        self.n += 1
        return min(1.0, self.n / 200_000)


class ClassAttribute(Base):
    calls = 0

    def share(self, model: nn.Module) -> float:
        type(self).calls += 1
        return self.calls / 100


class OverTheClass(Base):
    """Counts in an attribute of its own that begins as the class's."""

    n = 0

    def share(self, model: nn.Module) -> float:
        self.n += 1
        return self.n / 100


class NestedDictionary(Base):
    def __init__(self) -> None:
        self.stats: dict[str, Any] = {"a": {"b": [0, 0]}}

    def share(self, model: nn.Module) -> float:
        self.stats["a"]["b"][1] += 1
        return self.stats["a"]["b"][1] / 100


class Global(Base):
    def share(self, model: nn.Module) -> float:
        COUNTS["n"] += 1
        return COUNTS["n"] / 100


class NestedGlobal(Base):
    def share(self, model: nn.Module) -> float:
        COUNTS["nested"]["deep"][0] += 1
        return COUNTS["nested"]["deep"][0] / 100


class GrowingList(Base):
    def share(self, model: nn.Module) -> float:
        SEEN.append(1.0)
        return len(SEEN) / 100


class OfTheModule(Base):
    def share(self, model: nn.Module) -> float:
        model.calls = getattr(model, "calls", 0) + 1  # type: ignore[assignment]
        return model.calls / 100  # type: ignore[operator]


class Meter:
    def __init__(self) -> None:
        self.value = 0.0

    def more(self) -> float:
        self.value += 0.01
        return self.value


class OfAnObject(Base):
    def __init__(self) -> None:
        self.meter = Meter()

    def share(self, model: nn.Module) -> float:
        return self.meter.more()


def _closure() -> Callable[[], float]:
    count = 0

    def more() -> float:
        nonlocal count
        count += 1
        return count / 100

    return more


class Closure(Base):
    def __init__(self) -> None:
        self.more = _closure()

    def share(self, model: nn.Module) -> float:
        return self.more()


class Default(Base):
    def share(self, model: nn.Module, seen: list[int] = []) -> float:  # noqa: B006 - the fault
        seen.append(1)
        return len(seen) / 100


class Average(Base):
    """A moving average of what it sees, kept as a tensor that is no buffer."""

    def __init__(self) -> None:
        self.mean = torch.zeros(())

    def share(self, model: nn.Module) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1
        return self.mean


class InPlace(Average):
    def share(self, model: nn.Module) -> Tensor:
        self.mean += 0.01
        return self.mean.clone()


class Window(Base):
    def __init__(self) -> None:
        self.last: deque[float] = deque([0.0], maxlen=5)

    def share(self, model: nn.Module) -> float:
        self.last.append(self.last[-1] + 0.01)
        return self.last[0]


class OwnGenerator(Base):
    def __init__(self) -> None:
        self.random = random.Random(3)

    def share(self, model: nn.Module) -> float:
        return self.random.random()


class TorchGenerator(Base):
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(3)

    def share(self, model: nn.Module) -> Tensor:
        return torch.rand((), generator=self.generator)


class Hook(Base):
    """A forward hook that counts."""

    def model(self) -> nn.Module:
        model = super().model()
        model.register_forward_hook(self.count)
        return model

    def __init__(self) -> None:
        self.n = 0

    def count(self, *_: Any) -> None:
        self.n += 1

    def share(self, model: nn.Module) -> float:
        return self.n / 100


class Counted(Base):
    """Counts in a Counter, and in a dictionary that makes its own entries."""

    def __init__(self) -> None:
        self.counter: Counter[str] = Counter()
        self.sums: defaultdict[str, float] = defaultdict(float)

    def share(self, model: nn.Module) -> float:
        self.counter["calls"] += 1
        self.sums["share"] += 0.001
        return self.counter["calls"] / 100 + self.sums["share"]


class NumpyGenerator(Base):
    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def share(self, model: nn.Module) -> float:
        return float(self.random.random())


class NumpyState(NumpyGenerator):
    def __init__(self) -> None:
        self.random = np.random.RandomState(3)  # type: ignore[assignment]


class LazyGenerators(Base):
    """Makes its generators in the first step."""

    def share(self, model: nn.Module) -> float:
        if not hasattr(self, "dice"):
            self.dice, self.numpy, self.old = random.Random(1), np.random.default_rng(2), np.random.RandomState(3)
            self.torch = torch.Generator().manual_seed(4)
        drawn = float(torch.rand((), generator=self.torch))
        return self.dice.random() + float(self.numpy.random()) + float(self.old.random_sample()) + drawn


class NumpyNumbers(Base):
    """Keeps an average in a number of numpy's, and counts in an array."""

    def __init__(self) -> None:
        self.mean, self.counts = np.float64(0.0), np.zeros(3, dtype=np.int32)

    def share(self, model: nn.Module) -> float:
        self.counts[1] += 1
        self.mean = 0.9 * self.mean + 0.1 * np.float32(self.counts[1] / 100)
        return float(self.mean) + int(self.counts.sum()) / 200


class Containers(Base):
    """Keeps what it needs in containers that come to be in the first step, others inside of them."""

    def share(self, model: nn.Module) -> float:
        if not hasattr(self, "window"):
            self.window: deque[float] = deque(maxlen=4)
            self.counter: Counter[str] = Counter()
            self.groups: OrderedDict[int, list[Any]] = OrderedDict()
            self.seen = {frozenset([0])}
        self.window.append(len(self.window) / 100)
        self.counter["calls"] += 1
        self.groups.setdefault(self.counter["calls"] // 7, []).append(np.arange(2))
        self.seen.add(frozenset([self.counter["calls"]]))
        return sum(self.window) + len(self.groups) / 50 + len(self.seen) / 100


class Thresholds(Base):
    """Changes nothing but its count till the twentieth step, and much then."""

    def __init__(self) -> None:
        self.n, self.weight, self.table = 0, 1.0, {"of": [1.0, 2.0]}

    def share(self, model: nn.Module) -> float:
        self.n += 1
        if self.n == 20:
            self.weight, self.table["of"][1] = 3.0, 5.0
        return self.weight * self.table["of"][1] / 10


class Past(Base):
    """Looks back at the losses of all of its steps."""

    def __init__(self) -> None:
        self.losses = [torch.ones(()) for _ in range(600)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        loss = super().loss(model, batch) * self.losses[-len(self.losses) // 2]
        self.losses.append(1 + loss.detach())
        return loss


APART = [Attribute, ClassAttribute, OverTheClass, NestedDictionary, Global, NestedGlobal, GrowingList, OfTheModule]
APART += [LazyGenerators]
APART += [OfAnObject, NumpyGenerator, NumpyState, NumpyNumbers, Containers, Thresholds, Past, Counted, Closure, Default]
APART += [Average, InPlace, Window, OwnGenerator, TorchGenerator, Hook]


class Cycle(Base):
    def __init__(self) -> None:
        self.weights = itertools.cycle([0.1, 0.2, 0.3])

    def share(self, model: nn.Module) -> float:
        return next(self.weights)


class Iterators(Base):
    """Takes its weights from iterators of several kinds, one of them built on others."""

    def __init__(self) -> None:
        values = [k / 500 for k in range(500)]
        self.count, self.list, self.range = itertools.count(), iter(values), iter(range(500))
        self.zip = zip(itertools.chain(values, values), enumerate(values), strict=False)

    def share(self, model: nn.Module) -> float:
        pair = next(self.zip)
        return next(self.count) / 100 + next(self.list) + next(self.range) / 300 + pair[0] * pair[1][1]


class Phase(Enum):
    EARLY, LATE = 0.1, 0.9


class Phased(Base):
    """Is in one phase or another, and computes by one function or another."""

    def __init__(self) -> None:
        self.phase, self.function, self.n = Phase.EARLY, math.sin, 0

    def share(self, model: nn.Module) -> float:
        self.n += 1
        if self.n % 15 == 0:
            self.phase = Phase.LATE if self.phase is Phase.EARLY else Phase.EARLY
            self.function = math.cos if self.function is math.sin else math.sin
        return self.phase.value * self.function(0.3)


class Flips(Base):
    def __init__(self) -> None:
        self.phase = Phase.EARLY

    def share(self, model: nn.Module) -> float:
        self.phase = Phase.LATE if self.phase is Phase.EARLY else Phase.EARLY
        return self.phase.value


@dataclass(frozen=True)
class Record:
    n: int = 0
    mean: float = 1.0


class Named(NamedTuple):
    n: int
    mean: float


class Slotted:
    __slots__ = ("n", "tensor")

    def __init__(self, n: int) -> None:
        self.n, self.tensor = n, torch.full((3,), float(n))


class Replaced(Base):
    """Replaces its objects by others in every step."""

    def __init__(self) -> None:
        self.meter, self.record, self.named, self.slotted = Meter(), Record(), Named(0, 1.0), Slotted(0)

    def share(self, model: nn.Module) -> float:
        before, self.meter = self.meter, Meter()
        self.meter.value = before.more()
        self.record = dataclasses.replace(self.record, n=self.record.n + 1, mean=self.record.mean * 0.99)
        self.named = self.named._replace(n=self.named.n + 1, mean=self.named.mean * 0.98)
        self.slotted = Slotted(self.slotted.n + 1)
        return self.meter.value + self.record.mean + self.named.mean + float(self.slotted.tensor.sum()) / 300


class Ways(dict):  # type: ignore[type-arg]
    """A dictionary with an attribute."""

    weight = 0.0


class OddContainers(Base):
    def __init__(self) -> None:
        self.chain, self.ways = ChainMap({"n": 0}, {"top": 100}), Ways(n=0)
        self.bytes, self.partial = bytearray(2), functools.partial(lambda seen: seen, [0])

    def share(self, model: nn.Module) -> float:
        self.chain["n"] += 1
        self.ways["n"] += 1
        self.ways.weight += 0.01
        self.bytes[0] = (self.bytes[0] + 3) % 256
        self.partial()[0] += 1
        numbers = self.chain["n"] + self.ways["n"] + self.bytes[0] + self.partial()[0]
        return numbers / self.chain["top"] / 4 + self.ways.weight


class TakesTurns(Base):
    """Holds one of two fixed networks in its hand, the other in the next step, and knows each by two names."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(9)
            self.active: nn.Module | None = None
            self.networks = [nn.Linear(4, 1), nn.Linear(4, 1)]
        self.active, self.pair = self.networks[0], tuple(self.networks)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert self.active in self.networks
        self.active = self.networks[1] if self.active is self.networks[0] else self.networks[0]
        self.pair = self.pair[1], self.pair[0]
        with torch.no_grad():
            target = self.active(batch[0]) + 2 * self.pair[0](batch[0])
        return super().loss(model, batch) + 0.3 * F.mse_loss(model(batch[0]), target)


class Swaps(Base):
    """Has two fixed networks in a list, first the one, then the other."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(9)
            self.networks = [nn.Linear(4, 1), nn.Linear(4, 1)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        self.networks.reverse()
        with torch.no_grad():
            target = self.networks[0](batch[0])
        return super().loss(model, batch) + 0.3 * F.mse_loss(model(batch[0]), target)


class TwoNames(Base):
    """Keeps a tensor under two names, and a list as well."""

    def __init__(self) -> None:
        self.mean = self.alias = torch.zeros(())
        self.seen = self.list = [0]

    def share(self, model: nn.Module) -> Tensor:
        self.mean.mul_(0.9).add_(0.1)
        self.seen[0] += 1
        return self.alias + self.list[0] / 100


class OwnParameter(Base):
    """Moves a parameter that is not the model's."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(()))

    def share(self, model: nn.Module) -> Tensor:
        with torch.no_grad():
            self.weight += 0.01
        return self.weight.detach().clone()


class CopiesItself(Base):
    """Learns from what the model was some steps ago."""

    def __init__(self) -> None:
        self.teacher: nn.Module | None = None
        self.n = 0

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if self.n % 7 == 0:
            self.teacher = copy.deepcopy(model)
        self.n += 1
        assert self.teacher is not None
        with torch.no_grad():
            before = self.teacher(batch[0])
        return super().loss(model, batch) + 0.3 * F.mse_loss(model(batch[0]), before)


class CopiesItselfAgain(CopiesItself):
    """Likewise; a teacher is there from the begin."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            self.teacher = self.model()


class FromTheBegin(Base):
    """Stays near the weights that a trial begins with, of which it keeps a copy."""

    def __init__(self) -> None:
        self.start: list[Tensor] | None = None

    def share(self, model: nn.Module) -> Any:
        if self.start is None:
            self.start = [parameter.detach().clone() for parameter in model.parameters()]
        return sum((p - start).pow(2).sum() for p, start in zip(model.parameters(), self.start, strict=True))


class FromTheFirstBatch(Base):
    """Standardises by what it has seen first."""

    def __init__(self) -> None:
        self.of_first: dict[str, Tensor] = {}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if not self.of_first:
            self.of_first |= {"mean": batch[0].mean(0), "std": batch[0].std(0)}
        return F.mse_loss(model((batch[0] - self.of_first["mean"]) / self.of_first["std"]), batch[1])


class SeenOnce(Base):
    """Counts what is different, which the same batch is no more the second time."""

    def __init__(self) -> None:
        self.seen: set[float] = set()
        self.fixed: frozenset[float] = frozenset()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        self.seen.add(round(float(batch[0][0, 0]), 4))
        self.fixed |= {round(float(batch[0][1, 1]), 4)}
        return super().loss(model, batch) * (1 + len(self.seen) / 50 + len(self.fixed) / 70)


class NewBuffer(Base):
    """Registers a copy of its first weights, as a buffer, in the first step."""

    def share(self, model: nn.Module) -> Any:
        weight = model[0].weight  # type: ignore[index]
        if "start" not in dict(model.named_buffers()):
            model.register_buffer("start", weight.detach().clone())
        return (weight - model.start).pow(2).sum()


class ActNorm(nn.Module):
    """Sets itself by the first batch that it sees (Glow, arXiv 1807.03039)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift, self.done = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8)), False

    def forward(self, x: Tensor) -> Tensor:
        if not self.done:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.scale.copy_(1 / x.std(0))
            self.done = True
        return (x + self.shift) * self.scale


class SetByTheFirstBatch(Base):
    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), ActNorm(), nn.Tanh(), nn.Linear(8, 1))


class OtherLayers(Base):
    """Bends in another way from a step on."""

    def __init__(self) -> None:
        self.n = 0

    def share(self, model: nn.Module) -> float:
        self.n += 1
        if self.n == 20:
            model[1] = nn.Softsign()  # type: ignore[operator]
        return 0.0


class TwoClosures(Base):
    """Counts in two functions of one kind."""

    def __init__(self) -> None:
        self.first, self.second = _closure(), _closure()

    def share(self, model: nn.Module) -> float:
        self.first()
        return self.first() if self.second() < 0.2 else self.second()


APART += [Cycle, Iterators, Phased, Flips, Replaced, OddContainers, TakesTurns, TwoNames, OwnParameter, CopiesItself]
APART += [CopiesItselfAgain, FromTheBegin, FromTheFirstBatch, NewBuffer, SetByTheFirstBatch, OtherLayers, TwoClosures]
APART += [Swaps]


def _falling() -> Any:
    value = 1.0
    while True:
        value *= 0.99
        yield value


class Generator(Base):
    def __init__(self) -> None:
        self.weights = _falling()

    def share(self, model: nn.Module) -> float:
        return next(self.weights)


class Clock(Base):
    def share(self, model: nn.Module) -> float:
        return 1e-9 * (time.time() % 1)


class System(Base):
    def share(self, model: nn.Module) -> float:
        return os.urandom(1)[0] / 255


class Unseeded(Base):
    def share(self, model: nn.Module) -> float:
        return float(np.random.default_rng().random())


class Environment(Base):
    def share(self, model: nn.Module) -> float:
        os.environ["ESPALIER_TEST_CALLS"] = str(int(os.environ.get("ESPALIER_TEST_CALLS", "0")) + 1)
        return int(os.environ["ESPALIER_TEST_CALLS"]) / 100


class AFile(Base):
    def share(self, model: nn.Module) -> float:
        with open(__file__) as file:
            return len(file.readline()) / 1000


CONTEXT: ContextVar[int] = ContextVar("calls", default=0)


class Context(Base):
    def share(self, model: nn.Module) -> float:
        CONTEXT.set(CONTEXT.get() + 1)
        return CONTEXT.get() / 100


class Local(Base):
    def __init__(self) -> None:
        self.local = threading.local()

    def share(self, model: nn.Module) -> float:
        self.local.n = getattr(self.local, "n", 0) + 1
        return self.local.n / 100


SHARED = [Generator, Clock, System, Unseeded, Environment, AFile, Context, Local]


class Flip(Base):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        return F.mse_loss(model(-x if random.random() < 0.1 else x), y)


class Mixup(Base):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        share = float(np.random.beta(0.4, 0.4))
        return F.mse_loss(model(share * x + (1 - share) * x.flip(0)), share * y + (1 - share) * y.flip(0))


SEEDED = [Flip, Mixup]


class Constant(Base):
    """Keeps what it has made once, and what is the same each time: no state that decides anything."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.last: Tensor | None = None
        self.names = {"a": [1, 2, 3]}

    def share(self, model: nn.Module) -> Tensor:
        if self.mask is None:
            self.mask = torch.linspace(0, 0.1, 4)
        self.last = self.mask * 2
        return self.last.sum()


class InABuffer(Base):
    def model(self) -> nn.Module:
        model = super().model()
        model.register_buffer("calls", torch.zeros(()))
        return model

    def share(self, model: nn.Module) -> Tensor:
        if model.training:
            model.calls += 1  # type: ignore[operator]
        return (model.calls / 100).clamp(max=1)  # type: ignore[operator,return-value]


FREE = [Base, Constant, InABuffer]
AT_TIMES = [SeenOnce]  # apart as well, though the first look does not see it


def trials(count: int = 3) -> list[Trial]:
    return [Trial(str(k), k % 2, STEPS, Hyperparameters(lr=0.05 / (k + 1)), 3) for k in range(count)]


def ends(task: Task, of: list[Trial], program: str = "plain", **more: Any) -> dict[str, Event]:
    cohort = Cohort(CohortSetup(task, task.data(), PLAIN_SGD, of, 8, program, **more))
    return {event.trial: event for event in cohort.train() if isinstance(event, Ended)}


def by_pytorch(task: Task, trial: Trial) -> list[float]:
    """Train as a person's own loop would, in a fresh process of the task; return the loss of every step."""
    data = task.data()
    with torch.random.fork_rng():
        torch.manual_seed(trial.seed)
        model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.hyper.lr)
    order, losses = task.order(trial.seed, len(data.train[0]), BATCH), []
    for step in range(trial.steps):
        loss = task.loss(model.train(), tuple(t[order(step, step + 1)[0]] for t in data.train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def reset_globals() -> None:
    COUNTS.update(n=0, nested={"deep": [0]})
    SEEN.clear()
    ClassAttribute.calls = 0
    Default.share.__defaults__ = ([],)  # type: ignore[attr-defined]


def batch_of(task: Task) -> Batch:
    return tuple(tensor[:BATCH] for tensor in task.data().train)


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.sampled(16)
@pytest.mark.parametrize("make", [*APART, *SHARED, *SEEDED])
def test_a_loss_with_state_in_python_trains_by_plain_and_says_why(make: type[Base]) -> None:
    reset_globals()
    task = make()
    name, why = choose(task, batch_of(task), 8, work=10**7)
    assert name == "plain"
    assert why.startswith("one lane at a time: ") and "loss()" in why and "\n" not in why
    for wanted in ("vmap", "native", "compiled", "captured"):
        assert choose(task, batch_of(task), 8, wanted)[0] == "plain"
        with pytest.raises(BadInput, match=r"loss\(\)"):
            Cohort(CohortSetup(task, task.data(), Structure(batch_size=BATCH), trials(), 8, wanted))


@pytest.mark.parametrize("make", FREE)
def test_a_loss_without_state_in_python_may_be_written_down(make: type[Base]) -> None:
    task = make()
    assert why_hidden(task, batch_of(task)) == ""
    assert choose(task, batch_of(task), 8, work=10**7)[0] == "native"


def test_the_sentence_names_what_is_counted_and_what_to_do_instead() -> None:
    said = why_hidden(Attribute(), batch_of(Attribute()))
    assert said == "loss() counts its calls in self.n; keep the count in a buffer, or take `step`"
    reset_globals()
    assert "COUNTS" in why_hidden(Global(), batch_of(Global()))
    assert "model.calls" in why_hidden(OfTheModule(), batch_of(OfTheModule()))
    assert why_hidden(Flip(), batch_of(Flip())) == "loss() draws from Python's random"
    assert why_hidden(Mixup(), batch_of(Mixup())) == "loss() draws from numpy.random"
    assert "the clock (time.time)" in why_hidden(Clock(), batch_of(Clock()))


@pytest.mark.parametrize("make", [*APART, *SEEDED])
def test_looking_for_state_moves_none(make: type[Base]) -> None:
    reset_globals()
    task = make()
    states = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state()

    def looks() -> str:
        return re.sub(" at 0x[0-9a-f]+", "", str(vars(task)) + str((COUNTS, SEEN)))  # an iterator may be another one

    before = looks()
    PlainProgram(task, SGD()).hidden(batch_of(task), task.data().valid)
    assert looks() == before
    assert random.getstate() == states[0]
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


class TakesWholeBatches(Attribute):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, tuple(tensor.reshape(BATCH, -1) for tensor in batch))


@pytest.mark.parametrize("make", [Attribute, FromTheBegin, Mixup, TakesWholeBatches, Base])
def test_a_slow_loss_is_looked_at_with_few_examples_and_shows_the_same(
    make: type[Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = why_hidden(make(), batch_of(make()))
    sizes = list[int]()

    def counted(functions: TaskFunctions, rows: Any, batch: Batch, *more: Any) -> Any:
        sizes.append(batch[0].shape[1])
        return autograd(functions, rows, batch, *more)

    monkeypatch.setattr(probe, "autograd", counted)
    task = make()
    looked = TaskProbe(TaskFunctions(task), slow_s=0.0)
    assert looked.hidden(batch_of(task), task.data().valid).reason == reason
    assert sizes[0] == BATCH and probe.FEW_OF_SLOW in sizes
    assert getattr(task, "n", 0) == 0 and getattr(task, "start", None) is None


def test_a_first_call_that_takes_long_makes_no_loss_slow() -> None:
    """As the first call in a process does, which imports and compiles."""
    for times, step_s in (
        (itertools.chain([0.0, 1.0], itertools.count(1.0, 0.001)), 0.001),
        (itertools.count(0.0, 1.0), 1.0),
    ):
        looked = TaskProbe(TaskFunctions(Base()), clock=functools.partial(next, times))
        looked.hidden(batch_of(Base()), Base().data().valid)
        assert looked.step_s == pytest.approx(step_s)


def test_the_check_says_it() -> None:
    task = Attribute()
    found = check_up(task, Structure(batch_size=BATCH), Hyperparameters(lr=0.1), STEPS, [-2.0, -1.0, 0.0])
    states = [finding for finding in found.findings if finding.what == "state"]
    assert [state.level for state in states] == ["warn"] and "self.n" in states[0].sentence
    free = check_up(Base(), Structure(batch_size=BATCH), Hyperparameters(lr=0.1), STEPS, [-2.0, -1.0, 0.0])
    assert {finding.what: finding.level for finding in free.findings}["state"] == "pass"


# --- and trained ------------------------------------------------------------------------------------------------------


@pytest.mark.sampled(6)
@pytest.mark.parametrize("make", [*APART, *AT_TIMES])
def test_each_trial_has_its_own_state_as_if_it_trained_alone(make: type[Base]) -> None:
    reset_globals()
    expected = {}
    for trial in trials():
        reset_globals()
        expected[trial.id] = by_pytorch(make(), trial)
    reset_globals()
    task = make()
    for trial_ends in (ends(task, trials(), curve_points=STEPS), ends(task, trials(), curve_points=STEPS)):
        for name, losses in expected.items():
            assert [loss for _, loss in trial_ends[name].curve] == pytest.approx(losses, rel=1e-5)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("make", [*APART, *AT_TIMES])
def test_a_branch_and_a_resumed_run_have_the_state_of_the_trial(make: type[Base], tmp_path: Any) -> None:
    def made(of: list[Trial]) -> Cohort:
        reset_globals()
        task = make()
        return Cohort(
            CohortSetup(task, task.data(), Structure(SGD(), "step", BATCH), of, 8, "plain", curve_points=STEPS)
        )

    points = [(), (0.5,), (0.7,)]
    of = [Trial(str(k), 0, STEPS, Hyperparameters(lr=0.05, decay_points=p), 3) for k, p in enumerate(points)]
    together = {e.trial: e for e in made(of).train() if isinstance(e, Ended)}
    for trial in of:
        alone = next(e for e in made([trial]).train() if isinstance(e, Ended))
        assert together[trial.id].curve == alone.curve
    cohort = made(of)
    while cohort.lane_steps < 70:
        cohort.turn(10)
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    resumed = made(of)
    resumed.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    list(resumed.train())
    assert {e.trial: e.curve for e in resumed.ended} == {name: e.curve for name, e in together.items()}


@pytest.mark.parametrize("make", SEEDED)
def test_random_and_numpy_are_drawn_from_seed_and_step(make: type[Base]) -> None:
    task = make()
    random.seed(os.getpid())
    np.random.seed(os.getpid())
    first = ends(task, trials(4), curve_points=STEPS)
    random.random()
    np.random.random()
    again = ends(make(), list(reversed(trials(4))), curve_points=STEPS)
    assert {name: e.curve for name, e in first.items()} == {name: e.curve for name, e in again.items()}
    assert first["0"].curve != first["1"].curve


class DrawsEverywhere(Base):
    """Draws from Python and numpy in its first weights and in its validation too."""

    def model(self) -> nn.Module:
        model = super().model()
        with torch.no_grad():
            model[0].weight.mul_(0.5 + random.random()).add_(float(np.random.randn()))  # type: ignore[union-attr,operator]
        return model

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        return {"loss": F.mse_loss(model(batch[0]), batch[1]) * (1 + random.random() + np.random.rand())}


@pytest.mark.parametrize("program", ["plain", "vmap", "native"])
def test_weights_and_validations_are_drawn_from_seed_and_step(program: str) -> None:
    task = DrawsEverywhere()
    first = ends(task, trials(4), program)
    random.random()
    np.random.random()
    again = ends(DrawsEverywhere(), list(reversed(trials(4))), program)
    reports = [{name: e.reports for name, e in each.items()} for each in (first, again)]
    assert reports[0] == reports[1]
    assert len({v["valid_loss"] for _, v in first["0"].reports}) == 3


class CountsValidations(Base):
    def __init__(self) -> None:
        self.n = 0

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        self.n += 1
        return {"loss": F.mse_loss(model(batch[0]), batch[1]), "draw": torch.tensor(random.random())}


@pytest.mark.parametrize("program", ["plain", "vmap", "native"])
def test_metrics_with_state_are_called_and_not_written_down(program: str) -> None:
    end = ends(CountsValidations(), trials(1), program)["0"]
    assert len({values["valid_draw"] for _, values in end.reports}) == 3


# --- the clock --------------------------------------------------------------------------------------------------------


class Annealed(Base):
    def loss(self, model: nn.Module, batch: Batch, step: Tensor) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + (step / 40).clamp(max=1))


class Shared(Base):
    def loss(self, model: nn.Module, batch: Batch, step: Tensor, share: Tensor) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + share + 0 * step)


class ByName(Base):
    def loss(self, model: nn.Module, batch: Batch, share: Any) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + share)


class FromNothing(Base):
    """Its weight is zero at the first step."""

    def loss(self, model: nn.Module, batch: Batch, step: Tensor) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (step / 40).clamp(max=1)


def test_a_loss_that_begins_at_zero_is_no_loss_that_cannot_fall() -> None:
    assert preflight.check(FromNothing(), BATCH).first_loss == 0
    found = check_up(FromNothing(), Structure(batch_size=BATCH), Hyperparameters(lr=0.1), STEPS, [-2.0, -1.0, 0.0])
    assert found.passed
    assert ends(FromNothing(), trials(1), "native")["0"].status == "complete"


class NoMetrics(Annealed):
    metrics = Task.metrics


CLOCKED = [(Annealed, lambda s: min(1, s / 40)), (Shared, lambda s: s / STEPS), (ByName, lambda s: s / STEPS)]


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "compiled"])
@pytest.mark.parametrize(("make", "weight"), CLOCKED)
def test_a_loss_gets_the_step_and_the_share_in_every_program(
    make: type[Base], weight: Callable[[int], float], program: str
) -> None:
    class Told(Base):
        def __init__(self) -> None:
            self.n = -1

        def share(self, model: nn.Module) -> float:
            self.n += 1
            return weight(self.n)

    for trial in trials():
        expected = by_pytorch(Told(), trial)
        found = ends(make(), trials(), program, curve_points=STEPS)[trial.id]
        assert [loss for _, loss in found.curve] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "compiled"])
def test_a_validation_by_the_loss_gets_the_steps_that_were_trained(program: str) -> None:
    found = ends(NoMetrics(), trials(1), program)["0"]
    task = Annealed()
    cohort = Cohort(CohortSetup(task, task.data(), PLAIN_SGD, trials(1), 1))
    end = next(event for event in cohort.train() if isinstance(event, Ended))
    plain = {step: values["valid_loss"] for step, values in end.reports}
    for step, values in found.reports:
        assert values["valid_loss"] == pytest.approx(plain[step] * (1 + min(1, step / 40)), rel=1e-4)


# --- while it trains --------------------------------------------------------------------------------------------------


class Drifts(Base):
    """Somebody changes what the loss looks at, long after a step was written down."""

    weight = 1.0

    def share(self, model: nn.Module) -> float:
        return self.weight


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name not in ("plain", "compiled")])
def test_a_program_whose_steps_are_pytorchs_no_more_is_found_out(program: str) -> None:
    task = Drifts()
    cohort = Cohort(CohortSetup(task, task.data(), Structure(batch_size=BATCH), trials(), 8, program))
    cohort.comparison.due, cohort.comparison.every = [0], 20
    for _ in range(3):
        cohort.turn(10)
    task.weight = 1.01
    with pytest.raises(Differs, match="by PyTorch"):
        list(cohort.train())


@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name not in ("plain", "compiled")])
def test_comparing_changes_no_number_and_rounding_is_no_difference(program: str, optimizer: Any) -> None:
    def curves(at_every_stretch: bool) -> dict[str, Any]:
        task = Base()
        of = [*trials(), *(Trial(f"{lr}", 0, STEPS, Hyperparameters(lr=lr), 3) for lr in (3.0, 1e12))]
        cohort = Cohort(CohortSetup(task, task.data(), Structure(optimizer, "constant", BATCH), of, 8, program))
        if at_every_stretch:
            cohort.comparison.due, cohort.comparison.every = [0], 0
        return {e.trial: (e.status, e.curve, e.reports) for e in cohort.train() if isinstance(e, Ended)}

    assert str(curves(True)) == str(curves(False))


# --- any task at all --------------------------------------------------------------------------------------------------

PLACES = ("attribute", "class", "module", "global", "item", "list")


@given(place=st.sampled_from(PLACES), rate=st.sampled_from([1e-6, 0.01, 0.1]), start=st.integers(0, 5))
@settings(suppress_health_check=list(HealthCheck))
def test_wherever_a_counter_lies_the_program_trains_what_was_written(place: str, rate: float, start: int) -> None:
    class Anywhere(Base):
        held: Any = start

        def __init__(self) -> None:
            self.box: Any = {"deep": [start]}
            self.n = start
            self.row = [0.0] * start

        def share(self, model: nn.Module) -> float:
            if place == "attribute":
                self.n += 1
                return self.n * rate
            if place == "class":
                type(self).held += 1
                return type(self).held * rate
            if place == "module":
                model.n = getattr(model, "n", start) + 1  # type: ignore[operator,assignment]
                return model.n * rate  # type: ignore[operator,return-value]
            if place == "global":
                COUNTS["n"] += 1
                return COUNTS["n"] * rate
            if place == "item":
                self.box["deep"][0] += 1
                return self.box["deep"][0] * rate
            self.row.append(0.0)
            return len(self.row) * rate

    reset_globals()
    trial = trials(1)[0]
    expected = by_pytorch(Anywhere(), trial)
    reset_globals()
    Anywhere.held = start
    task = Anywhere()
    program, _ = choose(task, batch_of(task), 8, work=10**7)
    found = ends(task, trials(2), program, curve_points=STEPS)["0"]
    assert [loss for _, loss in found.curve] == pytest.approx(expected, rel=1e-5)


def test_a_score_leaves_the_state_of_the_trial_as_it_is() -> None:
    task = Attribute()
    of = [Trial("0", 0, STEPS, Hyperparameters(lr=0.05), 3, rungs=(20, 40))]
    scored = ends(task, of, scoring=Scoring(("average", "probe"), 5), curve_points=STEPS)["0"]
    alone = ends(Attribute(), [Trial("0", 0, STEPS, Hyperparameters(lr=0.05), 3)], curve_points=STEPS)["0"]
    assert scored.curve == alone.curve


class Phases(Base):
    """Changes nothing till its loss is low: no call at the begin shows that it keeps anything."""

    def __init__(self) -> None:
        self.phase, self.lows = "high", []  # type: ignore[var-annotated]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        loss = super().loss(model, batch)
        if model.training and loss.item() < 0.25:
            self.phase = "low"
            self.lows.append(loss.item())
        return loss * (0.3 if self.phase == "low" else 1.0) * (1 + len(self.lows) / 100)


def test_what_is_kept_from_a_later_step_on_each_trial_has_for_itself(tmp_path: Any) -> None:
    tasks = [Phases() for _ in trials()]
    expected = [by_pytorch(task, trial) for task, trial in zip(tasks, trials(), strict=True)]
    assert 2 < len(tasks[0].lows) < STEPS - 2
    task = Phases()
    for found in (ends(task, trials(), curve_points=STEPS), ends(task, trials(), curve_points=STEPS)):
        for trial, losses in zip(trials(), expected, strict=True):
            assert [loss for _, loss in found[trial.id].curve] == pytest.approx(losses, rel=1e-5)
    assert vars(task) == vars(Phases())
    cohort = Cohort(CohortSetup(task, task.data(), PLAIN_SGD, trials(), 8, "plain", curve_points=STEPS))
    while cohort.lane_steps < STEPS - 10:
        cohort.turn(7)
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    resumed = Cohort(CohortSetup(Phases(), task.data(), PLAIN_SGD, trials(), 8, "plain", curve_points=STEPS))
    resumed.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    list(resumed.train())
    assert {e.trial: e.curve for e in resumed.ended} == {name: e.curve for name, e in found.items()}


class Lazy(Base):
    """Draws a mask when it is first wanted, and its inputs at random, so that it trains by plain PyTorch."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if not hasattr(self, "mask"):
            self.mask = torch.rand(4) > 0.3
        return F.mse_loss(model(batch[0] * self.mask + 0.1 * torch.randn(4)), batch[1])


def test_what_is_made_when_first_wanted_comes_back_from_a_checkpoint(tmp_path: Any) -> None:
    def made() -> Cohort:
        return Cohort(CohortSetup(Lazy(), Lazy().data(), PLAIN_SGD, trials(), 8, "plain", curve_points=STEPS))

    calm = made()
    list(calm.train())
    cohort = made()
    while cohort.lane_steps < STEPS + 10:
        cohort.turn(7)
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    resumed = made()
    resumed.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    list(resumed.train())
    assert {e.trial: e.curve for e in resumed.ended} == {e.trial: e.curve for e in calm.ended}


def test_branches_and_probes_have_what_is_kept_from_a_later_step_on() -> None:
    points = [(), (0.8,), (0.9,)]
    rungs = (STEPS // 2,)
    of = [Trial(str(k), 0, STEPS, Hyperparameters(lr=0.05, decay_points=p), 3, rungs) for k, p in enumerate(points)]
    structure, scoring = Structure(SGD(), "step", BATCH), Scoring(("probe",), 5)

    def curves(of: list[Trial]) -> dict[str, Any]:
        task = Phases()
        cohort = Cohort(CohortSetup(task, task.data(), structure, of, 8, "plain", curve_points=STEPS, scoring=scoring))
        events = list(cohort.train())
        scores = {e.trial: e.values for e in events if isinstance(e, Scored)}
        return {e.trial: (e.curve, scores[e.trial]) for e in events if isinstance(e, Ended)}

    together = curves(of)
    for trial in of:
        assert curves([trial])[trial.id] == together[trial.id]


class Opaque(Base):
    """Holds what cannot be looked at."""

    def __init__(self) -> None:
        class Closed:
            @property
            def __dict__(self) -> Any:  # type: ignore[override]
                raise RuntimeError("nobody looks in here")

        self.closed = Closed()


def test_what_cannot_be_looked_at_trains_by_plain() -> None:
    assert why_hidden(Opaque(), batch_of(Opaque())) == (
        "what loss() keeps in Python cannot be looked at (RuntimeError: nobody looks in here)"
    )


def test_a_task_that_raises_has_no_state_to_be_told_of() -> None:
    class Raises(Base):
        def share(self, model: nn.Module) -> float:
            raise RuntimeError("no")

    assert why_hidden(Raises(), batch_of(Raises())) == ""


class Strange(Base):
    """Keeps what no checkpoint takes, from the tenth step on."""

    def __init__(self) -> None:
        self.n, self.what = 0, []  # type: ignore[var-annotated]

    def share(self, model: nn.Module) -> float:
        self.n += 1
        if self.n > 10:
            self.what.append(threading.Lock())
        return self.n / 100


def test_what_no_checkpoint_takes_makes_none() -> None:
    cohort = Cohort(CohortSetup(Strange(), Strange().data(), PLAIN_SGD, trials(1), 1, "plain"))
    while cohort.lane_steps < 8:
        cohort.turn(4)
    assert cohort.writable and cohort.state()
    while cohort.lane_steps < 20:
        cohort.turn(4)
    assert not cohort.writable
    with pytest.raises(Unwritable):
        cohort.state()


LITTLE = st.binary()


@given(
    st.recursive(
        st.sampled_from([None, True, -(3**3000), 1j]) | st.integers() | st.floats(allow_nan=False) | st.text() | LITTLE,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    )
)
def test_what_a_checkpoint_takes_comes_back(value: Any) -> None:
    for each in (value, deque([value], 3), OrderedDict(a=value), np.float32(0.5), np.arange(6, dtype=">i2")[::2]):
        with io.BytesIO() as file:
            torch.save(encoded(each), file)
            file.seek(0)
            again = decoded(torch.load(file, weights_only=True))
        assert type(again) is type(each)
        assert np.array_equal(again, each) if isinstance(each, np.ndarray) else again == each


@pytest.mark.parametrize("what", ["environment", "random", "numpy"])
def test_what_another_thread_does_to_the_process_is_no_state_of_the_loss(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray does while it starts; here just while the one call is watched that tells."""
    clocks = detect.noting_reads

    @contextmanager
    def beside() -> Iterator[list[str]]:
        with clocks() as asked:
            if what == "environment":
                monkeypatch.setenv("SOMEBODY_ELSES", os.environ.get("SOMEBODY_ELSES", "") + "x")
            random.random() if what == "random" else np.random.random()
            yield asked

    monkeypatch.setattr(detect, "noting_reads", beside)
    assert why_hidden(Base(), batch_of(Base())) == ""
    for make, words in ((Environment, "the environment"), (Flip, "Python's random"), (Mixup, "numpy.random")):
        assert words in why_hidden(make(), batch_of(make()))


def test_what_python_notes_on_a_class_that_is_copied_is_no_state() -> None:
    class Fresh(Attribute):
        """Nothing has copied one of these yet: the first copy sets __slotnames__ on the class."""

    task = Fresh()
    state = PlainProgram(task, SGD()).hidden(*(split[:2] for split in (task.data().train, task.data().valid)))
    assert state.reason and "__slotnames__" not in vars(Fresh)
    copy.copy(task)
    assert "__slotnames__" in vars(Fresh) and state.late() == {}


def test_what_a_snapshot_cannot_keep_apart_is_named() -> None:
    task = Generator()
    hidden = PlainProgram(task, SGD()).hidden(batch_of(task), task.data().valid)
    assert hidden.shared == ["self.weights"] and not hidden.variables and "share self.weights" in hidden.reason


@pytest.mark.parametrize("profiled", ["cProfile", "a function"])
def test_training_can_be_profiled(profiled: str) -> None:
    """A profiler that is on beforehand is on afterwards, and changes neither what is trained nor by what."""
    called = Counter[str]()

    def train() -> list[float]:
        cohort = Cohort(
            CohortSetup(Base(), Base().data(), PLAIN_SGD, trials(3), 3, "vmap")
        )  # which refuses what has hidden state
        return [event.values["valid_loss"] for event in cohort.train() if isinstance(event, Ended)]

    def count(frame: FrameType, event: str, function: Any) -> None:
        called.update([frame.f_code.co_name] if event == "call" else [])

    expected = train()
    if profiled == "cProfile":
        running = cProfile.Profile()
        found = running.runcall(train)
        called.update(name for _, _, name in pstats.Stats(running).stats)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        before = sys.getprofile()
        sys.setprofile(count)
        found = train()
        on = sys.getprofile()
        sys.setprofile(before)
        assert on is count
    assert found == expected and len(found) == 3
    assert {"find_python_state", "first_call", "turn"} <= called.keys()
