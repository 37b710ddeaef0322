"""Typed versions of torch's `tolist`. Nothing here needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import Tensor


def as_list(tensor: Tensor) -> list[float]:
    """Return the numbers of a tensor (N,) as a list."""
    return cast("list[float]", tensor.tolist())  # pyright: ignore[reportUnknownMemberType]


def as_rows(tensor: Tensor) -> list[list[float]]:
    """Return the numbers of a tensor (M, N) as a list of rows."""
    return cast("list[list[float]]", tensor.tolist())  # pyright: ignore[reportUnknownMemberType]
