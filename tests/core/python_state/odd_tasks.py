"""Tasks that keep something in Python in an odd way: cycles, iterators, slots, parts that change places."""

import copy
import dataclasses
import functools
import itertools
import math
from collections import ChainMap
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from espalier.core.task import Batch
from tests.core.python_state.counting_tasks import Meter, _closure
from tests.core.python_state.stateful import Base, F


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


ODD = [Cycle, Iterators, Phased, Flips, Replaced, OddContainers, TakesTurns, TwoNames, OwnParameter, CopiesItself]
ODD += [CopiesItselfAgain, FromTheBegin, FromTheFirstBatch, NewBuffer, SetByTheFirstBatch, OtherLayers, TwoClosures]
ODD += [Swaps]
