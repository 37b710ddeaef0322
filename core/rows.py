"""The stacked state: every tensor has one row per lane. Rows are filled, copied and freed; used rows stay contiguous.

K = rows allocated, N = rows in use. Rows 0 ... N - 1 are in use, so a step works on slices and never on a free row.
"""

import math
import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

Row = dict[str, Tensor]
"""One lane's state by name: "theta.<parameter>", "slot.<slot>.<parameter>" of the optimizer, "buffer.<name>"."""


class ParameterShapes:
    """The trained parameters of a model: their names and shapes."""

    def __init__(self, model: nn.Module):
        self.shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
        self.count = sum(math.prod(shape) for shape in self.shapes.values())

    def take(self, model: nn.Module) -> dict[str, Tensor]:
        """Return copies of the model's trained parameters."""
        named = dict(model.named_parameters())
        return {name: named[name].detach().clone() for name in self.shapes}

    def matrices(self) -> list[str]:
        """Return the parameters with at least two axes and two numbers."""
        return [name for name, shape in self.shapes.items() if len(shape) >= 2 and math.prod(shape) >= 2]


def part(rows: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of the name.

    >>> part({"theta.w": torch.ones(1), "buffer.n": torch.zeros(1)}, "theta.")
    {'w': tensor([1.])}
    """
    return {name[len(prefix) :]: tensor for name, tensor in rows.items() if name.startswith(prefix)}


def seed_python(seed: int) -> None:
    """Set the global generators of Python's `random` and of numpy."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


@contextmanager
def own_generators() -> Generator[None]:
    """Restore the global generators of Python and numpy after the block. It takes some 80 us, so use it once a turn."""
    states = random.getstate(), np.random.get_state(legacy=False)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu", python: bool = True) -> Generator[None]:
    """Seed the global generators of torch (the CPU's, and the named GPU's), Python and numpy; restore them afterwards.

    With `python=False` those of Python and numpy are neither seeded nor restored.
    """
    if python:
        with own_generators(), seeded(seed, device, python=False):
            seed_python(seed)
            yield
        return
    device = torch.device(device)
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    # torch.manual_seed would also work, but takes 240 us: it formats a traceback in case CUDA needs it
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


class Lanes:
    """K rows of state, of which the first N are in use."""

    def __init__(self, row: Mapping[str, Tensor], width: int):
        """Allocate `width` lanes shaped like `row`."""
        self.rows = {name: tensor.unsqueeze(0).repeat(width, *[1] * tensor.dim()) for name, tensor in row.items()}
        self.width, self.used = width, 0

    def fill(self, row: Mapping[str, Tensor]) -> int:
        """Copy a state into a free lane; return the lane's number."""
        lane = self.used
        self.used += 1
        for name, tensor in row.items():
            self.rows[name][lane].copy_(tensor)
        return lane

    def row(self, lane: int) -> Row:
        """Return a copy of a lane's state."""
        return {name: rows[lane].clone() for name, rows in self.rows.items()}

    def free(self, lane: int) -> int:
        """Free a lane. The last lane moves into its row; return the last lane's former number."""
        self.used -= 1
        if lane != self.used:
            for rows in self.rows.values():
                rows[lane].copy_(rows[self.used])
        return self.used

    def first(self, width: int) -> Row:
        """Return views of the first `width` rows."""
        return {name: rows[:width] for name, rows in self.rows.items()}
