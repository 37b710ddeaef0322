"""What comes out of a model's layers: every nonlinearity, called as a module or a function, every layer with weights.

B = examples.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "tanh": ("tanh", "tanh_"),
    "sigmoid": ("sigmoid", "sigmoid_"),
    "relu": ("relu", "relu_"),
    "leaky_relu": ("leaky_relu", "leaky_relu_"),
    "elu": ("elu", "elu_", "selu", "celu"),
    "gelu": ("gelu",),
    "silu": ("silu",),
}
_HOMES: tuple[Any, ...] = (torch, F, Tensor)
NONLINEAR: Mapping[Any, str] = {
    getattr(home, spelt): kind
    for kind, names in _FUNCTIONS.items()
    for spelt in names
    for home in _HOMES
    if hasattr(home, spelt)
}
"""Every way to call a nonlinearity, and its name."""

SATURATED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: y.abs() > 0.97,
    "sigmoid": lambda y: (y - 0.5).abs() > 0.485,
}
"""Where a nonlinearity passes hardly any gradient (tanh beyond 0.97: makemore, part 3; the same slope of a sigmoid)."""

ZERO_BELOW = ("relu", "leaky_relu", "elu", "gelu", "silu")


@dataclass(frozen=True)
class Layer:
    """One call: where in the model, what (a nonlinearity, or the class of a layer with weights), and its output."""

    name: str
    kind: str
    out: Tensor

    def saturated(self) -> float | None:
        """Return the share of the outputs that are saturated; None where the kind has no such thing."""
        beyond = SATURATED.get(self.kind)
        return None if beyond is None else beyond(self.out).double().mean().item()

    def dead(self) -> float | None:
        """Return the share of the units that are at zero or below for every example; None where that means nothing."""
        return (self.out <= 0).flatten(1).all(0).double().mean().item() if self.kind in ZERO_BELOW else None


class _Listening(TorchFunctionMode):
    def __init__(self, hear: Callable[[str, Tensor], None]):
        super().__init__()
        self.hear = hear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = NONLINEAR.get(func)
        if kind and isinstance(out, Tensor):
            self.hear(kind, out)
        return out


WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.modules.batchnorm._BatchNorm, nn.LayerNorm)


@contextmanager
def listening(model: nn.Module, keep_grad: bool = False) -> Iterator[list[Layer]]:
    """Collect the layers of every call of the model within, in the order in which they were called.

    keep_grad: keep the gradient of each output, as `layer.out.grad`.
    """
    layers: list[Layer] = []
    path: list[str] = []

    def add(kind: str, out: Tensor) -> None:
        if keep_grad and out.requires_grad:
            out.retain_grad()
        layers.append(Layer(path[-1] if path and path[-1] else type(model).__name__, kind, out))

    def enter(name: str) -> Callable[..., None]:
        return lambda module, inputs: path.append(name)

    def leave(module: nn.Module, inputs: Any, out: Any) -> None:
        if isinstance(module, WEIGHTED) and isinstance(out, Tensor):
            add(type(module).__name__, out)
        path.pop()

    hooks = [
        hook
        for name, module in model.named_modules()
        for hook in (module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave))
    ]
    try:
        with _Listening(add):
            yield layers
    finally:
        for hook in hooks:
            hook.remove()
