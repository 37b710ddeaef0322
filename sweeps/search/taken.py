"""What a sweep takes from another: its ends, where the two spaces overlap.

They are looked up when the sweep is made and stored with it, so that the other may be deleted. They are hints: a
sampler of whole trials is asked for every other one of its first trials in their presence, and the model of pieces
weighs them against what it sees itself. They are no trials of this sweep.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.values import Fields


@dataclass(frozen=True)
class Taken:
    """What was taken. of: the sweep. names: the sampled names that both have. missing: those that this sweep has alone.

    differs: what is another there: the budget, the task, its code, its data. trials: points by sampled names, each with
    its value, the best first.
    """

    of: str
    names: Sequence[str]
    missing: Sequence[str]
    differs: Sequence[str]
    trials: Sequence[tuple[Point, float]]

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Taken":
        """Return it as it is stored."""
        return cls(**{field.name: entry[field.name] for field in fields(cls)})

    def to_json(self) -> Fields:
        """Return it for the storage."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """What was taken, and what is to be doubted."""
        without = f"; nothing on {', '.join(self.missing)}" if self.missing else ""
        doubt = f"; another {', another '.join(self.differs)} there" if self.differs else ""
        return f"{len(self.trials)} ends of {self.of}, over {', '.join(self.names)}{without}{doubt}"


def log_gaps(values: Sequence[float]) -> list[float]:
    """Return losses on a scale of their own, on which those of two sweeps can be put together: 0 is the best of each.

    Logarithms of the gap to it, as `sweeps.thaw.scale` has them.

    >>> [round(y, 2) for y in log_gaps([2.0, 1.0, 3.0])], [round(y, 2) for y in log_gaps([20.0, 10.0, 30.0])]
    ([2.73, 0.0, 3.39], [2.73, 0.0, 3.39])
    """
    from espalier.sweeps.thaw.scale import log_gaps as scaled

    finite = np.array([value if math.isfinite(value) else math.nan for value in values])
    gaps = scaled(finite, np.ones(len(finite)))
    return [float(y) - math.log(gaps.tau) for y in gaps.y]
