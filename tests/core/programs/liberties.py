"""Tasks that do to their batch, their model and their parameters what a person may do."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from espalier.core.task import Batch, Data, Task

F = nn.functional


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 1))


class Base(Task):
    """A small regression whose model is `net`; a subclass does something to it that a person may do."""

    def model(self) -> Any:
        return perceptron()

    def data(self) -> Data:
        x = torch.randn(240, 6, generator=torch.Generator().manual_seed(0))
        y = (x[:, :1] * x[:, 1:2]).sin()
        return Data((x[:192].clone(), y[:192].clone()), (x[192:].clone(), y[192:].clone()))

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        return F.mse_loss(model(batch[0]), batch[1])

    def metrics(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        return {"loss": F.mse_loss(model(batch[0]), batch[1])}


# --- the batch --------------------------------------------------------------------------------------------------------


class ChangesItsBatch(Base):
    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        batch[0].mul_(2)
        batch[1].clamp_(-0.5, 0.5)
        return super().loss(model, batch)


class NormalisesInPlace(Base):
    def metrics(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        x, y = batch
        x -= x.mean(0)
        x *= 2
        return {"loss": F.mse_loss(model(x), y)}


class InPlaceLayer(Base):
    def model(self) -> Any:
        return nn.Sequential(nn.ReLU(inplace=True), perceptron())


# --- what a function knows of the model -------------------------------------------------------------------------------


def closing(make: Callable[[], nn.Module], forward: Callable[[Any, Tensor], Tensor]) -> Any:
    """Return a module whose forward pass is a function that knows the module itself, and no copy."""
    module = make()
    module.forward = lambda x: forward(module, x)
    return module


class Parts(nn.Module):
    def __init__(self, **parts: nn.Module | nn.Parameter):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class ClosedForward(Base):
    def model(self) -> Any:
        return closing(
            lambda: Parts(a=nn.Linear(6, 4), b=nn.Linear(4, 1)),
            lambda m, x: m.b(torch.tanh(m.a(x)) + m.a.weight.mean()),
        )


class ClosedRecurrence(Base):
    def model(self) -> Any:
        return closing(
            lambda: Parts(r=nn.LSTM(2, 8, batch_first=True), l=nn.Linear(8, 1)),
            lambda m, x: m.l(m.r(x.view(-1, 3, 2))[0][:, -1]),
        )


class ClosedAttention(Base):
    def model(self) -> Any:
        return closing(
            lambda: Parts(i=nn.Linear(2, 4), r=nn.TransformerEncoderLayer(4, 2, 8, 0.0), l=nn.Linear(4, 1)),
            lambda m, x: m.l(m.r(m.i(x.view(-1, 3, 2).swapaxes(0, 1)))[-1]),
        )


class ClosedHook(Base):
    def model(self) -> Any:
        model = perceptron()
        model[1].register_forward_hook(lambda module, given, out: out * (1 + model[0].weight.mean()))
        return model


class Tied(Base):
    def model(self) -> Any:
        model = closing(
            lambda: Parts(a=nn.Linear(6, 6), b=nn.Linear(6, 6), c=nn.Linear(6, 1)),
            lambda m, x: m.c(torch.tanh(m.b(torch.tanh(m.a(x))))),
        )
        model.b.weight = model.a.weight
        return model


class Caches(Base):
    """Keeps tables that it makes when they are first wanted, for each size of a batch."""

    def model(self) -> Any:
        class Cached(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = perceptron()
                self.tables: dict[int, Tensor] = {}
                self.scale: Tensor | None = None

            def forward(self, x: Tensor) -> Tensor:
                if len(x) not in self.tables:
                    self.tables[len(x)] = torch.linspace(0, 1, len(x))[:, None]
                if self.scale is None:
                    self.scale = torch.full((6,), 0.5)
                return self.net(x * self.scale) + self.tables[len(x)]

        return Cached()


# --- what a loss does to parameters -----------------------------------------------------------------------------------


class MeanTeacher(Base):
    def model(self) -> Any:
        student = perceptron()
        return Parts(student=student, teacher=copy.deepcopy(student).requires_grad_(False))

    def follow(self, student: Any, teacher: Any) -> None:
        with torch.no_grad():
            for theirs, own in zip(student.parameters(), teacher.parameters(), strict=True):
                own.mul_(0.9).add_(theirs, alpha=0.1)

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        self.follow(model.student, model.teacher)
        out = model.student(batch[0])
        return F.mse_loss(out, batch[1]) + 0.5 * F.mse_loss(out, model.teacher(batch[0]))

    def metrics(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        return super().metrics(model.teacher, batch)


class MeanTeacherByData(MeanTeacher):
    def follow(self, student: Any, teacher: Any) -> None:
        for theirs, own in zip(student.parameters(), teacher.parameters(), strict=True):
            own.data.mul_(0.9).add_(theirs.data, alpha=0.1)


class MeanTeacherByStateDict(MeanTeacher):
    def follow(self, student: Any, teacher: Any) -> None:
        theirs, own = student.state_dict(), teacher.state_dict()
        teacher.load_state_dict({name: 0.9 * own[name] + 0.1 * theirs[name] for name in own})


class Clamps(Base):
    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        for parameter in model.parameters():
            parameter.data.clamp_(-0.2, 0.2)
        return super().loss(model, batch)


class MaxNorm(Base):
    """Its embedding shortens its own rows whenever they are looked up."""

    def model(self) -> Any:
        return closing(
            lambda: Parts(e=nn.Embedding(10, 6, max_norm=0.5), l=nn.Linear(6, 1)),
            lambda m, x: m.l(m.e((x[:, 0] * 3).long().clamp(-4, 4) + 5) + x),
        )


class Freezes(Base):
    """Trains its head alone for some steps."""

    def loss(self, model: Any, batch: Batch, step: Tensor) -> Tensor:  # type: ignore[override]
        for parameter in model[0].parameters():
            parameter.requires_grad_(bool(step >= 15))
        return super().loss(model, batch)


class FreezesOnce(Base):
    """Likewise; what it set stays so in the steps between."""

    def loss(self, model: Any, batch: Batch, step: Tensor) -> Tensor:  # type: ignore[override]
        if int(step) in (0, 15):
            for parameter in model[0].parameters():
                parameter.requires_grad_(int(step) == 15)
        return super().loss(model, batch)


class FreezesForGood(Base):
    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        model[0].weight.requires_grad_(False)
        return super().loss(model, batch)


class OldWeightNorm(Base):
    def model(self) -> Any:
        with pytest.warns(FutureWarning, match="weight_norm"):
            return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 10)), nn.Tanh(), nn.Linear(10, 1))


# --- gradients --------------------------------------------------------------------------------------------------------


class BackwardHook(Base):
    def model(self) -> Any:
        model = perceptron()
        model[2].register_full_backward_hook(lambda module, given, out: (given[0] * 0.1,))
        return model


class TensorHook(Base):
    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        inner = model[1](model[0](batch[0]))
        inner.register_hook(lambda grad: grad * 0.1)
        return F.mse_loss(model[2](inner), batch[1])


class Penalty(Base):
    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        out = model(batch[0])
        grads = torch.autograd.grad(out.sum(), list(model.parameters()), create_graph=True)
        return F.mse_loss(out, batch[1]) + 1e-3 * sum(grad.pow(2).sum() for grad in grads)


class ByACopy(Base):
    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        with torch.no_grad():
            was = copy.deepcopy(model)(batch[0])
        return F.mse_loss(model(batch[0]), batch[1] + 0.1 * was)


class LargeState(Base):
    def __init__(self) -> None:
        self.counts = torch.zeros(200_000)

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        self.counts[7] += 1
        return super().loss(model, batch) * (1 + self.counts[7] / 50)


class Remembers(Base):
    """Looks at what it put out a step ago."""

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        out = model(batch[0])
        before = torch.zeros_like(out) if self.last is None else self.last
        if model.training:
            self.last = out.detach()
        return F.mse_loss(out, batch[1]) + 0.1 * (out - before).pow(2).mean()


class Averages(Base):
    """Keeps an average of the model's weights beside it, and validates by that."""

    def __init__(self) -> None:
        self.average: Any = None

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        if model.training and self.average is None:
            self.average = torch.optim.swa_utils.AveragedModel(model)
        elif model.training:
            self.average.update_parameters(model)
        return super().loss(model, batch)

    def metrics(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        return super().metrics(self.average or model, batch)


class Adversary(Base):
    """Trains a second network, with an optimizer of its own."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.critic = nn.Linear(1, 1)
        self.optimizer = torch.optim.SGD(self.critic.parameters(), lr=0.1, momentum=0.9)

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        out = model(batch[0])
        if model.training:
            self.optimizer.zero_grad()
            F.mse_loss(self.critic(out.detach()), batch[1]).backward()
            self.optimizer.step()
        return F.mse_loss(out, batch[1]) + 0.1 * self.critic(out).pow(2).mean()


class LazyAdversary(Adversary):
    """Likewise; both come to be in the first step."""

    def __init__(self) -> None:
        self.critic: Any = None

    def loss(self, model: Any, batch: Batch, *clock: Tensor) -> Tensor:
        if self.critic is None:
            Adversary.__init__(self)
        return super().loss(model, batch)


def subclasses(of: type[Task]) -> list[type[Task]]:
    return [each for direct in of.__subclasses__() for each in (direct, *subclasses(direct))]


TASKS = [Base, *subclasses(Base)]
