"""Outputs of a model's layers: every nonlinearity and every use of a weight, called as a module or as a function.

B = examples.
"""

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_NONLINEAR: Mapping[str, tuple[str, ...]] = {
    "tanh": ("tanh", "tanh_"),
    "sigmoid": ("sigmoid", "sigmoid_"),
    "relu": ("relu", "relu_"),
    "leaky_relu": ("leaky_relu", "leaky_relu_"),
    "elu": ("elu", "elu_", "selu", "celu"),
    "gelu": ("gelu",),
    "silu": ("silu",),
}
_WEIGHTED: Mapping[str, tuple[str, ...]] = {
    "linear": ("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm"),
    "convolution": ("conv1d", "conv2d", "conv3d"),
    "embedding": ("embedding", "__getitem__", "index_select"),
    "norm": ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"),
}


def _functions(kinds: Mapping[str, tuple[str, ...]]) -> dict[object, str]:
    """Return every callable of these names in torch, with the name of its kind."""
    return {
        getattr(home, spelt): kind
        for kind, names in kinds.items()
        for spelt in names
        for home in (torch, F, Tensor)
        if hasattr(home, spelt)
    }


_NONLINEARITIES, _USES = _functions(_NONLINEAR), _functions(_WEIGHTED)

SATURATED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: y.abs() > 0.97,
    "sigmoid": lambda y: (y - 0.5).abs() > 0.485,
}
"""Where a nonlinearity passes hardly any gradient (tanh beyond 0.97: makemore, part 3; the same slope of a sigmoid)."""

ZERO_BELOW = ("relu", "leaky_relu", "elu", "gelu", "silu")


@dataclass(frozen=True)
class Layer:
    """One call of a nonlinearity or of an operation with a weight, with its output.

    name: the parameter used, or the one used last before.
    fan_in: inputs that each output sums; 0 where there is no such sum (a norm, an embedding).
    """

    name: str
    kind: str
    out: Tensor
    fan_in: int = 0

    @property
    def nonlinear(self) -> bool:
        """Whether this is a nonlinearity."""
        return self.kind in _NONLINEAR

    def saturated(self) -> float | None:
        """Return the share of the outputs that are saturated; None for a kind that does not saturate."""
        beyond = SATURATED.get(self.kind)
        return None if beyond is None else beyond(self.out).double().mean().item()

    def dead(self) -> float | None:
        """Return the share of units that are at most 0 for every example; None for a kind without dead units."""
        return (self.out <= 0).flatten(1).all(0).double().mean().item() if self.kind in ZERO_BELOW else None


class _Listening(TorchFunctionMode):
    def __init__(self, names: Mapping[int, str], keep_grad: bool, layers: list[Layer]):
        super().__init__()
        self.names, self.keep_grad, self.layers = names, keep_grad, layers
        self.last = "the input"

    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            if kind := _NONLINEARITIES.get(func):
                self._add(Layer(self.last, kind, out))
            elif kind := _USES.get(func):
                self._used(kind, out, [*args, *(kwargs or {}).values()])
        return out

    def _used(self, kind: str, out: Tensor, operands: list[object]) -> None:
        for place, weight in enumerate(operands):
            if isinstance(weight, Tensor) and id(weight) in self.names and (weight.dim() > 1 or kind == "norm"):
                self.last = self.names[id(weight)]
                self._add(Layer(self.last, kind, out, _fan_in(kind, weight, place, operands)))
                return

    def _add(self, layer: Layer) -> None:
        if self.keep_grad and layer.out.requires_grad:
            layer.out.retain_grad()
        self.layers.append(layer)


def _fan_in(kind: str, weight: Tensor, place: int, operands: list[object]) -> int:
    if kind == "convolution":
        return math.prod(weight.shape[1:])
    if kind != "linear":
        return 0
    product = len(operands) == 2 and place == 1  # x @ W: fan-in is the number of rows
    return weight.shape[-2] if product else weight.shape[-1]


@contextmanager
def listening(model: nn.Module, keep_grad: bool = False) -> Generator[list[Layer]]:
    """Collect the layers of every call of the model in this block, in the order of the calls.

    keep_grad: keep the gradient of each output, as `layer.out.grad`.
    """
    layers: list[Layer] = []
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with _Listening(names, keep_grad, layers):
        yield layers
