# pyright: basic
# torch types little of what this file needs: its graphs, its dispatcher, its private switches
"""Decompositions of operations into simpler ones that have a counterpart in C."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._decomp import get_decompositions

from espalier.core.native.tape import Decompositions

aten = torch.ops.aten
NONE, MEAN = 0, 1  # ATen's numbers of the reductions of a loss
SPLIT = [
    aten.addmv, aten.baddbmm, aten.rsub, aten.gelu, aten.gelu_backward, aten.silu, aten.silu_backward, aten.elu,
    aten.elu_backward, aten.leaky_relu, aten.leaky_relu_backward, aten.hardtanh, aten.hardtanh_backward,
    aten.softplus, aten.softplus_backward, aten.hardsigmoid, aten.hardsigmoid_backward, aten.hardswish,
    aten.hardswish_backward, aten.log_sigmoid_forward, aten.log_sigmoid_backward, aten.mse_loss,
    aten.mse_loss_backward, aten.smooth_l1_loss, aten.smooth_l1_loss_backward, aten.huber_loss,
    aten.huber_loss_backward, aten.binary_cross_entropy, aten.binary_cross_entropy_backward,
    aten.binary_cross_entropy_with_logits, aten._safe_softmax, aten.native_batch_norm,
    aten.native_batch_norm_backward, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training,
    aten._native_batch_norm_legit_functional, aten.native_layer_norm, aten.native_layer_norm_backward,
    aten.native_group_norm, aten.native_group_norm_backward, aten.std, aten.std_mean, aten.logsumexp, aten.stack,
    aten.square, aten.linalg_vector_norm, aten.norm, aten.prelu, aten._prelu_kernel, aten._prelu_kernel_backward,
    aten.tril, aten.triu, aten.mish, aten.xlogy, aten.std.correction,
]  # fmt: skip
"""Those that torch itself writes as several simpler ones."""


def decompositions() -> Decompositions:
    """Return the decomposition of each operation that has one."""
    return dict(get_decompositions(SPLIT)) | dict(OURS)


def _addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = torch.mm(a, b) if alpha == 1 else alpha * torch.mm(a, b)
    return product if beta == 0 else product + (x if beta == 1 else beta * x)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    low = x.contiguous() - x.amax(dim, keepdim=True)
    return low - low.exp().sum(dim, keepdim=True).log()


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    high = (x.contiguous() - x.amax(dim, keepdim=True)).exp()
    return high / high.sum(dim, keepdim=True)


def _log_softmax_backward(grad: Tensor, output: Tensor, dim: int, input_dtype: torch.dtype) -> Tensor:
    return grad - output.exp() * grad.sum(dim, keepdim=True)


def _softmax_backward(grad: Tensor, output: Tensor, dim: int, input_dtype: torch.dtype) -> Tensor:
    new = grad * output
    return new - output * new.sum(dim, keepdim=True)


def _nll_loss(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    if x.dim() != 2 or weight is not None:
        return get_decompositions([aten.nll_loss_forward])[aten.nll_loss_forward.default](
            x, target, weight, reduction, ignore_index
        )
    counts = target != ignore_index
    picked = x.gather(1, torch.where(counts, target, 0).unsqueeze(1)).squeeze(1)
    losses = torch.where(counts, -picked, 0)
    if reduction == NONE:
        return losses, x.new_full((), 0.0)
    total = counts.sum().to(x.dtype)
    return losses.sum() / (total if reduction == MEAN else 1), total


def _nll_loss_backward(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int, total: Tensor
) -> Tensor:
    if x.dim() != 2 or weight is not None:
        return get_decompositions([aten.nll_loss_backward])[aten.nll_loss_backward.default](
            grad, x, target, weight, reduction, ignore_index, total
        )
    counts = (target != ignore_index).unsqueeze(1)
    grad = grad / total if reduction == MEAN else grad
    grad = torch.where(counts, grad.unsqueeze(1) if grad.dim() else grad, 0)
    at = torch.where(counts, target.unsqueeze(1), 0)
    return torch.zeros_like(x).scatter(1, at, -1.0) * grad


def _put_back(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the decomposition of a view's backward: zeros, with the gradient where the view is."""

    def backward(grad: Tensor, sizes: Sequence[int], *where: object) -> Tensor:
        whole = grad.new_zeros(sizes)
        part(whole, *where).copy_(grad)
        return whole

    return backward


def _put_into(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def scatter(x: Tensor, source: Tensor, *where: object, **more: object) -> Tensor:
        whole = x.clone()
        part(whole, *where, **more).copy_(source)
        return whole

    return scatter


OURS: Decompositions = {
    aten.addmm.default: _addmm,
    aten.slice_backward.default: _put_back(aten.slice),
    aten.select_backward.default: _put_back(aten.select),
    aten.slice_scatter.default: _put_into(aten.slice),
    aten.select_scatter.default: _put_into(aten.select),
    aten.nll_loss_forward.default: _nll_loss,
    aten.nll_loss_backward.default: _nll_loss_backward,
    aten._log_softmax.default: _log_softmax,
    aten._softmax.default: _softmax,
    aten._log_softmax_backward_data.default: _log_softmax_backward,
    aten._softmax_backward_data.default: _softmax_backward,
}
"""Those that nearly every model has: to ask torch for its own is to import sympy, a second of each worker's start."""
