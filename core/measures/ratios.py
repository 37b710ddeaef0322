"""Update-to-data and gradient-to-data ratios, for the lanes of a cohort and for any PyTorch loop.

N = lanes, P = numbers in one parameter tensor of a lane, S = samples, T = parameter tensors of two or more axes.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from espalier.core.arguments import checked, instance, whole
from espalier.core.measures.verdicts import median
from espalier.core.tensors import as_rows

Spacing = Literal["linear", "log"]


def log_ratio(change_NP: Tensor, theta_NP: Tensor) -> Tensor:
    """Return log10(std(change) / std(parameter)) of each lane's rows of one parameter tensor, (N,) float64.

    Standard deviations have Bessel's correction; the parameter is read after the update (makemore, part 3). No change
    at all gives -inf, a constant parameter +inf or NaN.
    """
    if len(theta_NP) == 1:  # torch sums a single row in another order than one of several
        return _log_ratio(change_NP.repeat(2, 1), theta_NP.repeat(2, 1))[:1]
    return _log_ratio(change_NP, theta_NP)


def _log_ratio(change_NP: Tensor, theta_NP: Tensor) -> Tensor:
    return torch.log10(change_NP.std(1).double() / theta_NP.std(1).double())


Ratio = Callable[[Tensor, Tensor], Tensor]


def step_ratios(
    before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor], ratio: Ratio = log_ratio
) -> Tensor:
    """Return the update ratio, then the gradient ratio, of T parameter tensors (N, P) around a step, (N, 2 T)."""
    update = [ratio(now - then, now) for then, now in zip(before, after, strict=True)]
    gradient = [ratio(grad, now) for grad, now in zip(grads, after, strict=True)]
    return torch.stack([*update, *gradient], 1)


def step_ratios_of_a_lane(before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
    """Return the ratios of one lane's step, (1, 2 T), by operations that can be traced for one lane."""
    return step_ratios(before, after, grads, _log_ratio)


@lru_cache(maxsize=1024)
def sample_steps(steps: int, samples: int, spacing: Spacing = "linear") -> tuple[int, ...]:
    """Return the steps, among `steps`, at which ratios are sampled: about `samples` of them, including the first.

    spacing: "linear" for equal distances; "log" for distances that grow by a factor, dense at the start.

    >>> sample_steps(100, 4), sample_steps(100, 5, "log"), sample_steps(100, 0)
    ((0, 25, 50, 75), (0, 2, 9, 31, 99), ())
    """
    if samples < 1:
        return ()
    if spacing == "linear":
        return tuple(range(0, steps, max(1, steps // samples)))
    if samples == 1:
        return (0,)
    return tuple(sorted({round(steps ** (i / (samples - 1))) - 1 for i in range(samples)}))


def between(marks: Sequence[int], first: int, count: int) -> Sequence[int]:
    """Return the sorted `marks` that lie in first ... first + count - 1."""
    return marks[bisect_left(marks, first) : bisect_left(marks, first + count)]


@dataclass(frozen=True)
class Summary:
    """Update ratios in three numbers, NaN where there is no data.

    median: over tensors, then over samples. spread: decades between the least and the greatest median of a tensor.
    trend: decades by which the median over tensors rises from the first sample to the last, along a fitted line.
    """

    median: float
    spread: float
    trend: float


def summary(steps: Sequence[int], ratios_ST: Sequence[Sequence[float]]) -> Summary:
    """Summarise update ratios (S samples of T tensors), taken at `steps`.

    >>> summary([0, 1, 2], [[-2.0, -3.0], [-2.0, -3.0], [-1.0, -2.0]])
    Summary(median=-2.5, spread=1.0, trend=1.0)
    """
    medians = [median(row) for row in ratios_ST]
    columns = [median(column) for column in zip(*ratios_ST, strict=True)]
    finite = [value for value in columns if math.isfinite(value)]
    points = [(step, value) for step, value in zip(steps, medians, strict=True) if math.isfinite(value)]
    return Summary(median(medians), max(finite) - min(finite) if finite else math.nan, _trend(points))


def _trend(points: Sequence[tuple[int, float]]) -> float:
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return math.nan
    x, y = np.array(points, dtype=np.float64).T
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    return slope * float(x[-1] - x[0])


class RatioMeter:
    """Measures the ratios of an ordinary PyTorch loop, on the hooks of its optimizer's step.

    No GPU synchronisation happens until the numbers are read.
    Parameters with fewer than two axes, or with a single number, have no ratio and are left out.

    >>> model = nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with RatioMeter(model, optimizer, every=2) as meter:
    ...     for _ in range(4):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(5, 3)).square().mean().backward()
    ...         optimizer.step()
    >>> meter.names, meter.steps, len(meter.update_ratios)
    (['weight'], [0, 2], 2)
    """

    @checked(
        model=instance(lambda: nn.Module, "a torch.nn.Module"),
        optimizer=instance(lambda: torch.optim.Optimizer, "the torch.optim.Optimizer that trains the model"),
        every=whole(1),
    )
    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, every: int = 10):
        """Measure every `every`-th step of the optimizer from now on. Raises BadInput for other arguments."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._parameters = {
            name: p for name, p in model.named_parameters() if id(p) in held and p.dim() >= 2 and p.numel() >= 2
        }
        self.names, self.every, self.step = list(self._parameters), every, 0
        self.steps: list[int] = []
        self._before: list[Tensor] = []
        self._waiting: list[Tensor] = []
        self._rows: list[list[float]] = []
        self._hooks: list[RemovableHandle] = [
            optimizer.register_step_pre_hook(self._note),
            optimizer.register_step_post_hook(self._measure),
        ]

    @torch.no_grad()
    def _note(self, *_: object) -> None:
        if self.step % self.every == 0:
            self._before = [p.clone() for p in self._parameters.values()]

    @torch.no_grad()
    def _measure(self, *_: object) -> None:
        if self.step % self.every == 0 and self._before:
            now = list(self._parameters.values())
            update = [_ratio(p - before, p) for p, before in zip(now, self._before, strict=True)]
            gradient = [_ratio(torch.zeros_like(p) if p.grad is None else p.grad, p) for p in now]
            self._waiting.append(torch.stack([*update, *gradient]))
            self.steps.append(self.step)
            self._before = []
        self.step += 1

    def _read(self) -> list[list[float]]:
        """Return all samples so far, update ratios then gradient ratios, by one synchronisation."""
        if self._waiting:
            self._rows += as_rows(torch.stack(self._waiting))
            self._waiting = []
        return self._rows

    @property
    def update_ratios(self) -> list[list[float]]:
        """log10(std(update) / std(parameter)): a row for each sample, a number for each of `names`."""
        return [row[: len(self.names)] for row in self._read()]

    @property
    def gradient_ratios(self) -> list[list[float]]:
        """log10(std(gradient) / std(parameter)), likewise; the gradient as the optimizer left it."""
        return [row[len(self.names) :] for row in self._read()]

    def latest(self) -> Mapping[str, float]:
        """Return the last sample's update ratio of each tensor; empty before the first sample."""
        rows = self.update_ratios
        return dict(zip(self.names, rows[-1], strict=True)) if rows else {}

    def summary(self) -> Summary:
        """Return the median, the spread over tensors and the trend of the update ratios so far."""
        return summary(self.steps, self.update_ratios)

    def medians(self) -> list[float]:
        """Return the median over tensors of each sample's update ratios, the argument of `verdicts.verdict`."""
        return [median(row) for row in self.update_ratios]

    def close(self) -> None:
        """Stop measuring: remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __enter__(self) -> "RatioMeter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ratio(change: Tensor, theta: Tensor) -> Tensor:
    return log_ratio(change.reshape(1, -1), theta.reshape(1, -1))[0]
