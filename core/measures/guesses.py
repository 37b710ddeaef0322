"""Recognise which loss or metric a task has, and compute what the best constant guess scores on it.

B = examples in a batch, C = classes. A task does not say which loss it has. So one value of its loss is compared with
torch's own losses, computed from the outputs of its model's layers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.core.tensors import as_list

SAME = 1e-3  # relative: float32 rounds by 1e-6; a class weight or label smoothing differs by a tenth
ROWS = 2**14  # numbers of a target at once: images may be targets


def entropy(seen: Tensor, target: Tensor) -> float:
    """Return the cross-entropy on `target` of always predicting the classes' shares among the targets `seen`.

    >>> round(entropy(torch.arange(10), torch.arange(10)), 4)
    2.3026
    """
    known, counts = _counts(seen), _counts(target)
    extra = float(any(value not in known for value in counts))  # a new class counts as if seen once
    total = seen.numel() + extra * len(known.keys() | counts.keys())
    logs = [count * math.log((known.get(value, 0) + extra) / total) for value, count in counts.items()]
    return -math.fsum(logs) / target.numel()


def _counts(values: Tensor) -> dict[float, int]:
    """Return how often each value occurs, in rising order of the values."""
    unique, counts = cast(tuple[Tensor, Tensor], values.unique(return_counts=True))  # pyright: ignore[reportUnknownMemberType]
    return dict(zip(as_list(unique), map(int, as_list(counts)), strict=True))


def commonest(seen: Tensor, target: Tensor) -> float:
    """Return the accuracy on `target` of always predicting the most frequent class of the targets `seen`."""
    return float((target.flatten() == seen.flatten().mode().values).double().mean())


def variance(seen: Tensor, target: Tensor) -> float:
    """Return the mean squared error on `target` of always predicting the column means of the targets `seen`."""
    mean = seen.mean(0, dtype=torch.float64)
    return math.fsum(float((piece - mean).square().sum()) for piece in _pieces(target)) / target.numel()


def deviation(seen: Tensor, target: Tensor) -> float:
    """Return the mean absolute error on `target` of always predicting the column medians of the targets `seen`."""
    middle = seen.median(0).values.double()
    return math.fsum(float((piece - middle).abs().sum()) for piece in _pieces(target)) / target.numel()


def _pieces(target: Tensor) -> Sequence[Tensor]:
    return cast("Sequence[Tensor]", target.split(ROWS))  # pyright: ignore[reportUnknownMemberType]


def is_classification(out: Tensor, target: Tensor) -> bool:
    """Whether outputs (B, C) may be the logits of targets (B,) that number classes."""
    whole = not target.is_floating_point() and not target.is_complex() and target.dim() == 1 and out.dim() == 2
    return whole and len(out) == len(target) and int(target.min()) >= 0 and int(target.max()) < out.shape[1]


def _is_binary(out: Tensor, target: Tensor) -> bool:
    flat = not target.is_complex() and out.numel() == target.numel() and target.numel() == len(target)
    return flat and bool(((target == 0) | (target == 1)).all())


def _is_probability(out: Tensor, target: Tensor) -> bool:
    return _is_binary(out, target) and float(out.min()) >= 0 and float(out.max()) <= 1


def _is_regression(out: Tensor, target: Tensor) -> bool:
    return target.is_floating_point() and out.numel() == target.numel() and len(out) == len(target)


@dataclass(frozen=True)
class Known:
    """A loss or a metric with a name: when it applies to (output, target), and its value there.

    guess: the value of the best constant guess, from (training targets, targets to predict).
    """

    applies: Callable[[Tensor, Tensor], bool]
    value: Callable[[Tensor, Tensor], Tensor]
    guess: Callable[[Tensor, Tensor], float]


KNOWN: Mapping[str, Known] = {
    "cross-entropy": Known(is_classification, lambda out, y: F.cross_entropy(out, y.long()), entropy),
    "accuracy": Known(is_classification, lambda out, y: (out.argmax(-1) == y).double().mean(), commonest),
    "binary cross-entropy of logits": Known(
        _is_binary, lambda out, y: F.binary_cross_entropy_with_logits(out.flatten(), y.flatten().to(out)), entropy
    ),
    "binary cross-entropy": Known(
        _is_probability, lambda out, y: F.binary_cross_entropy(out.flatten(), y.flatten().to(out)), entropy
    ),
    "accuracy of logits": Known(
        _is_binary, lambda out, y: ((out.flatten() > 0) == (y.flatten() > 0.5)).double().mean(), commonest
    ),
    "squared error": Known(_is_regression, lambda out, y: F.mse_loss(out.flatten(), y.flatten().to(out)), variance),
    "absolute error": Known(_is_regression, lambda out, y: F.l1_loss(out.flatten(), y.flatten().to(out)), deviation),
}


def recognised(value: Tensor, outputs: list[Tensor], targets: Mapping[int, Tensor]) -> tuple[str, int] | None:
    """Return the name of the loss that gave `value`, and which tensor of the batch is its target."""
    if float(value) in (0.0, 1.0):  # values that a metric may have by chance
        return None
    for out in reversed(outputs):  # the last one is most likely the model's own
        for place, target in targets.items():
            for name, known in KNOWN.items():
                if known.applies(out, target) and math.isclose(
                    float(known.value(out, target)), float(value), rel_tol=SAME, abs_tol=1e-9
                ):
                    return name, place
    return None
