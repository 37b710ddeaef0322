"""Each elementwise operation is torch's: broadcast, turned, sliced, infinite numbers and none at all."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.core.native.beside_torch import INF, NAN, compiled, listed, numbers, same

ELEMENTWISE: Mapping[str, Callable[[Tensor, Tensor], Any]] = {
    "sum, difference": lambda x, y: (x + y, x - y, torch.add(x, y, alpha=2), torch.sub(x, y, alpha=-0.5), 1 - x),
    "product, quotient": lambda x, y: (x * y, x / y, 3 / x, x * 2, x.reciprocal()),
    "powers": lambda x, y: (
        x**2,
        x**3,
        x**-1,
        x**-2,
        x**0,
        x.abs() ** 0.5,
        x.abs() ** -0.5,
        x.abs() ** 1.7,
        x.square(),
    ),
    "exponentials": lambda x, y: (
        x.exp(),
        x.expm1(),
        x.abs().log(),
        x.abs().log1p(),
        x.exp2(),
        x.abs().log2(),
        x.abs().log10(),
    ),
    "angles": lambda x, y: (x.sin(), x.cos(), x.erf()),
    "roots": lambda x, y: (x.abs().sqrt(), x.abs().rsqrt(), x.sqrt()),
    "squashing": lambda x, y: (x.tanh(), x.sigmoid(), F.softplus(x), F.logsigmoid(x), F.hardtanh(x), F.hardsigmoid(x)),
    "rectifiers": lambda x, y: (F.relu(x), F.leaky_relu(x), F.elu(x), F.selu(x), F.silu(x), F.mish(x)),
    # torch's own gelu makes NaN of infinity where the processor has AVX-512
    "finite rectifiers": lambda x, y: (F.gelu(x.clamp(-9, 9)),),
    "more rectifiers": lambda x, y: (F.hardswish(x), F.gelu(x, approximate="tanh"), F.relu6(x), F.softsign(x)),
    "signs": lambda x, y: (-x, x.abs(), x.sign()),
    "limits": lambda x, y: (x.clamp(-0.5, 0.7), x.clamp(min=0.1), x.clamp_max(0.2), x.maximum(y), x.minimum(y)),
    "comparisons": lambda x, y: (x > y, x >= y, x < 0.3, x <= y, x == x.clone(), x != y, x.isnan()),
    "logic": lambda x, y: ((x > 0) & (y > 0), (x > 0) | (y > 0), ~(x > 0), (x > 0).logical_and(y > 0)),
    "choices": lambda x, y: (torch.where(x > 0, x, y), x.masked_fill(y > 0, -1.5), torch.where(x > y, 1.0, 0.0)),
    "mixtures": lambda x, y: (torch.lerp(x, y, 0.3), torch.addcmul(x, y, y, value=0.2), torch.addcdiv(x, y, y.exp())),
    "other types": lambda x, y: (x.double() * 2, (x > 0).float() + y, (x * 5).long(), (x > 0).long() + 1, x.bool()),
    "constants": lambda x, y: (
        torch.ones_like(x) + y,
        torch.zeros_like(x),
        x.new_full((3,), 2.5),
        torch.full_like(x, 3),
    ),
}


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_each_elementwise_operation_is_torchs(kind: str, dtype: torch.dtype) -> None:
    """Whole vectors and what is left of one; broadcast, turned, sliced; infinite numbers and none at all."""
    function, rel = ELEMENTWISE[kind], 2e-6 if dtype == torch.float32 else 1e-12
    odd = numbers(5, 7, dtype=dtype) * 3
    odd[0, :5] = torch.tensor([NAN, INF, -INF, 0.0, -0.0])
    for x, y in [
        (odd, numbers(5, 7, seed=1, dtype=dtype)),
        (numbers(4, 1, 33, dtype=dtype), numbers(6, 1, seed=1, dtype=dtype)),
        (numbers(9, 6, dtype=dtype).T, numbers(6, 18, seed=1, dtype=dtype)[:, ::2]),
        (numbers(dtype=dtype), numbers(dtype=dtype, seed=1)),
    ]:
        found, expected = compiled(function, x, y), listed(function(x, y))
        for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            same(ours, theirs, rel, f"output {i} of {kind} for {tuple(x.shape)}")
