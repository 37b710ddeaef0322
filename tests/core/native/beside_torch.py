"""Machine code beside torch itself, on the same inputs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from espalier.core.native import native_of
from espalier.core.native.compile import FLAGS
from espalier.core.native.stacked import Stacked

NAN, INF = float("nan"), float("inf")


def compiled(function: Callable[..., Any], *tensors: Tensor, flags: Sequence[str] = FLAGS) -> list[Tensor]:
    """Return what the machine code of a function gives for some tensors. flags: the C compiler's."""
    made = native_of(
        lambda *given: listed(function(*given)), [Stacked(tensor, None) for tensor in tensors], flags=flags
    )
    return made(1, tensors)


def listed(found: Any) -> list[Tensor]:
    return list(found) if isinstance(found, tuple | list) else [found]


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def same(found: Tensor, expected: Tensor, rel: float, why: str) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype, why
    torch.testing.assert_close(found, expected, rtol=rel, atol=rel, equal_nan=True, msg=lambda text: f"{why}: {text}")
