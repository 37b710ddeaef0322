"""Tasks whose state no trial can have for itself, that draw from global generators, or that have no state at all."""

import os
import random
import threading
import time
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from espalier.core.task import Batch
from tests.core.python_state.counting_tasks import COUNTING
from tests.core.python_state.odd_tasks import ODD, SeenOnce
from tests.core.python_state.stateful import Base, F


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


APART = [*COUNTING, *ODD]
FREE = [Base, Constant, InABuffer]
AT_TIMES = [SeenOnce]  # apart as well, though the first look does not see it
