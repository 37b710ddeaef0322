"""What a checkup finds: one sentence for each thing that was looked at, and the numbers of each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    what: its name. sentence: how it is, and what to do where it is not well.
    """

    level: Level
    what: str
    sentence: str


@dataclass(frozen=True)
class LayerReport:
    """Numbers of one layer over one training batch: its outputs, their gradients.

    near_zero, saturated, dead: shares in [0, 1]; None where they have no meaning for the kind of layer.
    """

    name: str
    kind: str
    mean: float
    std: float
    near_zero: float
    saturated: float | None
    dead: float | None
    grad_std: float


@dataclass(frozen=True)
class Checkup:
    """Everything that was found. ratios: log10 update-to-data ratios of the first step, by exponent and tensor."""

    findings: Sequence[Finding]
    layers: Sequence[LayerReport] = ()
    ratios: Mapping[float, Mapping[str, float]] = field(default_factory=dict[float, Mapping[str, float]])

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.level != "fail" for finding in self.findings)
