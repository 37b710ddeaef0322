"""Arguments of a function of many lanes, and whether two results of it agree up to rounding."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stacked:
    """An argument of the function: a tensor and its axis of lanes (None: all lanes share it)."""

    tensor: Tensor
    lanes: int | None

    def with_lanes(self, lanes: int) -> Tensor:
        """Return a copy of the argument with `lanes` lanes, by repeating the present ones."""
        if self.lanes is None:
            return self.tensor
        size = self.tensor.shape[self.lanes]
        which = torch.arange(lanes, device=self.tensor.device) % size
        return self.tensor.index_select(self.lanes, which)


def largest(tensor: Tensor) -> float:
    """Return the largest magnitude of a tensor's finite numbers, 0 if there are none."""
    return tensor.double().nan_to_num(0, 0, 0).abs().max().item() if tensor.numel() else 0.0


def close(a: Tensor, b: Tensor, scale: float = 0.0) -> bool:
    """Whether two results agree up to rounding.

    scale: the largest magnitude of the inputs.

    A gradient that is zero up to rounding (of a bias before a normalisation) is noise on that scale.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    noise = 16 * torch.finfo(b.dtype).eps * scale if b.is_floating_point() else 0.0
    return torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-4 * largest(b) + noise, equal_nan=True)
