# pyright: basic
# torch types little of what this file needs: its graphs, its dispatcher, its private switches
"""Bitwise reproducibility: a lane has the same numbers to the last bit, however many lanes train beside it.

N = lanes, B = examples in a batch.
"""

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from espalier.core import deadline


def batch_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Compute F.batch_norm by sums over one lane's rows alone, so that its bits do not depend on other lanes."""
    axes, column = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    if training or mean is None or var is None:
        here = x.mean(axes)
        spread = (x - here.view(column)).square().mean(axes)
        if training and mean is not None and var is not None:
            n = x.numel() // x.shape[1]
            with torch.no_grad():
                mean.mul_(1 - momentum).add_(here * momentum)
                var.mul_(1 - momentum).add_(spread * (momentum * n / (n - 1)))
        mean, var = here, spread
    y = (x - mean.view(column)) * torch.rsqrt(var + eps).view(column)
    y = y if weight is None else y * weight.view(column)
    return y if bias is None else y + bias.view(column)


@contextmanager
def without_onednn() -> Generator[None]:
    """Switch oneDNN off: the bits of its grouped convolution depend on the number of groups."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


FAR = 2**40  # beyond the rows of all lanes


def _beyond_all_lanes(index: Tensor, weight: Tensor) -> Tensor:
    """Return row indexes; those out of a lane's range are moved beyond the rows of all lanes, where they raise."""
    index = index.long()
    return index.add(index - index.clamp(0, len(weight) - 1), alpha=FAR)


def _embedding(input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return F.embedding(_beyond_all_lanes(input, weight), weight, *args, **kwargs)


def _embedding_of(weight: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.embedding(weight, _beyond_all_lanes(indices, weight), *args, **kwargs)


class LaneByLane(TorchFunctionMode):
    """Replaces functions in which vmap merges lanes.

    vmap merges the channels of batch_norm: a lane's bits would depend on the number of lanes.
    It merges the rows of an embedding: an index out of range would read a row of another lane.
    """

    REPLACEMENTS: Mapping[object, Callable[..., Tensor]] = {
        F.batch_norm: batch_norm,
        F.embedding: _embedding,
        torch.embedding: _embedding_of,
    }

    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        return self.REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


TAIL = 63  # two vector registers of half precision, the most that a torch loop takes at once, minus one
_EXACT = (
    "abs add bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max clamp_min clone copy copy_ div eq "
    "fill floor ge gt hardtanh hardtanh_backward isfinite isinf isnan le leaky_relu leaky_relu_backward logical_and "
    "logical_not logical_or lt masked_fill maximum minimum mul ne neg ones_like reciprocal relu round rsqrt sgn sign "
    "sqrt sub threshold threshold_backward trunc where zeros_like _to_copy"
)
EXACT = {getattr(torch.ops.aten, name) for name in _EXACT.split()}
"""Functions that IEEE arithmetic rounds in one way only, or that only choose."""
_NOT_TAGGED = (
    "elu_backward hardsigmoid_backward hardswish hardswish_backward log_sigmoid_backward log_sigmoid_forward "
    "mish_backward softplus_backward special_i0 special_i0e special_i1 special_i1e"
)
NOT_TAGGED = {getattr(torch.ops.aten, name) for name in _NOT_TAGGED.split()}
"""Functions of single elements that torch does not mark as such."""


class WholeVectors(TorchDispatchMode):
    """Pads elementwise kernels to whole SIMD registers.

    The scalar tail of a loop rounds exp, sigmoid or softplus differently, which would make a lane's bits depend on N.
    A tensor with many elements a lane has its tail in the spare row of `VmapProgram.width`, which is never read.
    Any other tensor is padded here.
    """

    def __init__(self, lanes: int):
        super().__init__()
        self.lanes = lanes
        self.has_small_lanes = False  # whether a tensor had few elements in each lane

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        kwargs = kwargs or {}
        deadline.check()
        pointwise = torch.Tag.pointwise in func.tags or func.overloadpacket in NOT_TAGGED
        if not pointwise or func.overloadpacket in EXACT or "out" in kwargs:
            return func(*args, **kwargs)
        many = [a for a in args if isinstance(a, Tensor) and a.dim()]
        if not many or not any(a.is_floating_point() for a in many) or many[0].device.type != "cpu":
            return func(*args, **kwargs)
        shape = torch.broadcast_shapes(*(a.shape for a in many))
        size = math.prod(shape)
        if size > TAIL * self.lanes and all(self._lane_by_lane(a) for a in many if a.shape == shape):
            return func(*args, **kwargs)
        self.has_small_lanes = True
        padded = [
            torch.cat([a.expand(shape).reshape(-1), a.new_zeros(TAIL)]) if isinstance(a, Tensor) and a.dim() else a
            for a in args
        ]
        result = tree_map_only(Tensor, lambda t: t[:size].view(shape), func(*padded, **kwargs))
        return args[0].copy_(result) if func._schema.name.endswith("_") else result

    def _lane_by_lane(self, tensor: Tensor) -> bool:
        return len(tensor) == self.lanes and tensor.stride(0) == max(tensor.stride())
