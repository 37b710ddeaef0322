"""The results of a checkup: one sentence for each check, and the numbers of each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from espalier.core.checks.preflight import Preflight  # which imports torch

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    what: the name of the check. sentence: the result, and what to do if it is bad.
    """

    level: Level
    what: str
    sentence: str


@dataclass(frozen=True)
class LayerReport:
    """Numbers of one layer over one training batch: its outputs and their gradients.

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
    """All findings. ratios: log10 update-to-data ratios of the first step, by exponent and tensor.

    parts: what preflight learned of the task; None if it refused it.
    """

    findings: Sequence[Finding]
    layers: Sequence[LayerReport] = ()
    ratios: Mapping[float, Mapping[str, float]] = field(default_factory=dict[float, Mapping[str, float]])
    parts: "Preflight | None" = None

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.level != "fail" for finding in self.findings)
