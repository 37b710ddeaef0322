"""Holes in data: NaN and infinite numbers, counted and located before anything is trained."""

from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.core.task import Data

PIECE = 2**22  # numbers examined at once, so that a split on disk is never loaded as a whole


@dataclass(frozen=True)
class Hole:
    """Non-finite numbers of one tensor: how many there are, and where the first is. Rows count from 0."""

    split: str  # training, validation
    place: int
    count: int
    row: int
    value: float

    def sentence(self) -> str:
        """Return a sentence that says where they are."""
        if self.count == 1:
            return (
                f"tensor {self.place} of the {self.split} split has {self.value} in row {self.row:,} (counted from 0)"
            )
        return (
            f"tensor {self.place} of the {self.split} split has {self.count:,} numbers that are not finite, the first "
            f"({self.value}) in row {self.row:,} (counted from 0)"
        )


def holes(data: Data, piece: int = PIECE) -> list[Hole]:
    """Return a Hole for each tensor that has non-finite numbers.

    piece: how many numbers are examined at once.
    """
    splits = (("training", data.train), ("validation", data.valid))
    each = [_hole(tensor, split, place, piece) for split, tensors in splits for place, tensor in enumerate(tensors)]
    return [hole for hole in each if hole]


def _hole(tensor: Tensor, split: str, place: int, piece: int) -> Hole | None:
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.layout != torch.strided or not tensor.numel():
        return None
    rows, count, first = max(1, piece * len(tensor) // max(1, tensor.numel())), 0, None
    for begin in range(0, len(tensor), rows):
        values = tensor[begin : begin + rows].reshape(min(rows, len(tensor) - begin), -1)
        bad = ~values.isfinite()
        if bad.any():
            count += int(bad.sum())
            if first is None:
                row, column = (int(index) for index in bad.nonzero()[0])
                number = values[row, column].item()
                first = begin + row, abs(number) if isinstance(number, complex) else number
    return Hole(split, place, count, *first) if first else None
