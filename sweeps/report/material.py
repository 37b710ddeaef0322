"""What a report is made of: a sweep's spec, trials, references and traces, as plain data.

A trace is what was recorded of the training of a trial.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec

CURVE_MOST = 40  # points of a curve in a page: 2,000 of them are then below 1 MB


@dataclass(frozen=True)
class Ratios:
    """Update ratios of a training. rows: the step, then the log10 ratio of each of `tensors`."""

    tensors: Sequence[str] = ()
    rows: Sequence[Sequence[float | None]] = ()

    @property
    def known(self) -> bool:
        """Whether any tensor has a ratio."""
        return any(ratio is not None for row in self.rows for ratio in row[1 : 1 + len(self.tensors)])


@dataclass(frozen=True)
class Trace:
    """What was recorded of a trial's first replicate. curve: (step, mean training loss over the steps before)."""

    curve: Sequence[tuple[int, float]] = ()
    ratios: Ratios = Ratios()


@dataclass(frozen=True)
class Work:
    """What a sweep has trained, in steps of single trials. shared: steps that trials took from others."""

    trained: int
    shared: int


@dataclass(frozen=True)
class Material:
    """A sweep as a report shows it. traces: by trial, where there are any.

    begun: when the sweep began, in seconds since 1970. option: what a command needs to find the sweep, after a space.
    facts: what it was trained with, by name.
    """

    id: str
    spec: SweepSpec
    state: str
    trials: Sequence[TrialResult]
    references: Sequence[ReferenceResult] = ()
    traces: Mapping[int, Trace] = field(default_factory=dict[int, Trace])
    work: Work | None = None
    begun: float | None = None
    option: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


def block_means(curve: Sequence[tuple[int, float | None]], most: int = CURVE_MOST) -> list[tuple[int, float]]:
    """Return a curve of at most `most` points: means over blocks of equal length, each at the last step of its block.

    What is not finite ends a curve.

    >>> block_means([(1, 4.0), (2, 2.0), (3, 1.0), (4, 1.0)], 2), block_means([(1, 4.0), (2, None)])
    ([(2, 3.0), (4, 1.0)], [(1, 4.0)])
    """
    known: list[tuple[int, float]] = []
    for step, loss in curve:
        if loss is None or not math.isfinite(loss):
            break
        known.append((step, loss))
    size = max(1, -(-len(known) // most))
    blocks = [known[first : first + size] for first in range(0, len(known), size)]
    return [(block[-1][0], math.fsum(loss for _, loss in block) / len(block)) for block in blocks]
