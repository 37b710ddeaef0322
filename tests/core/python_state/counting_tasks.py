"""Tasks that keep something in Python in an ordinary way: counters, averages, generators of numbers."""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from espalier.core.task import Batch
from tests.core.python_state.stateful import Base

COUNTS: dict[str, Any] = {"n": 0, "nested": {"deep": [0]}}
SEEN: list[float] = []


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


COUNTING = [Attribute, ClassAttribute, OverTheClass, NestedDictionary, Global, NestedGlobal, GrowingList, OfTheModule]
COUNTING += [LazyGenerators]
COUNTING += [
    OfAnObject,
    NumpyGenerator,
    NumpyState,
    NumpyNumbers,
    Containers,
    Thresholds,
    Past,
    Counted,
    Closure,
    Default,
]
COUNTING += [Average, InPlace, Window, OwnGenerator, TorchGenerator, Hook]


def reset_globals() -> None:
    COUNTS.update(n=0, nested={"deep": [0]})
    SEEN.clear()
    ClassAttribute.calls = 0
    Default.share.__defaults__ = ([],)  # type: ignore[attr-defined]
