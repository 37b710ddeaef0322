"""Random generators that a task owns (torch's, Python's, numpy's two kinds), and their states."""

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Generator = torch.Generator | random.Random | np.random.Generator | np.random.RandomState
GENERATORS: Mapping[str, type] = {
    "torch": torch.Generator,
    "python": random.Random,
    "numpy": np.random.Generator,
    "numpy's old": np.random.RandomState,
}
"""By the name under which a checkpoint holds the state of one."""


@dataclass
class GeneratorState:
    """The state of a generator. It is loaded into the generator that a variable holds, which stays the same object.

    kind: a key of GENERATORS. value: the state in the form of the generator's own library.
    """

    kind: str
    value: Any

    @classmethod
    def of(cls, generator: Generator) -> "GeneratorState":
        """Return the state of a generator."""
        kind = next(name for name, each in GENERATORS.items() if isinstance(generator, each))
        if isinstance(generator, torch.Generator):
            return cls(kind, generator.get_state())
        if isinstance(generator, random.Random):
            return cls(kind, generator.getstate())
        if isinstance(generator, np.random.Generator):
            return cls(kind, copy.deepcopy(generator.bit_generator.state))
        return cls(kind, generator.get_state(legacy=False))

    def set_into(self, present: object) -> object:
        """Load the state into `present`, or into a new generator if that is none; return the generator."""
        generator = present if isinstance(present, GENERATORS[self.kind]) else self._new()
        if isinstance(generator, random.Random):
            generator.setstate(self.value)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = self.value
        elif isinstance(generator, torch.Generator | np.random.RandomState):
            generator.set_state(self.value)
        return generator

    def _new(self) -> object:
        if self.kind == "numpy":
            return np.random.Generator(getattr(np.random, self.value["bit_generator"])())
        return GENERATORS[self.kind]()
