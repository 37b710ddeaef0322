"""What references came to, and in sentences beside the best trial."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from espalier.sweeps.results.formatting import decimals

SKIPPED = "skipped"  # the state of a reference that would have taken too much of the sweep's work


@dataclass(frozen=True)
class ReferenceResult:
    """An untuned run. hint: how a sweep trains by it. reports: the objective by step."""

    name: str
    title: str
    state: str  # complete, diverged, stopped, failed
    value: float | None
    evidence: str = ""
    hint: str = ""
    reports: Mapping[int, float] = field(default_factory=dict[int, float])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ReferenceResult":
        """Invert `to_json`, also where a number that JSON has not became null."""
        values = {int(step): math.nan if value is None else value for step, value in fields["reports"].items()}
        return cls(**{**fields, "reports": values})


def reference_lines(references: Sequence[ReferenceResult], best: float, sign: float) -> Iterator[str]:
    """Yield what tuning gained over the references, and which of them is better than every trial.

    best: the objective of the best trial. sign: -1 for a metric to maximise.

    >>> adamw = ReferenceResult("adamw", "AdamW at 0.001 with a cosine", "complete", 2.349)
    >>> free = ReferenceResult("sgd", "schedule-free SGD at its defaults", "complete", 2.289, hint="optimizer: ...")
    >>> list(reference_lines([adamw, free], 2.319, 1.0))[0]
    'references: tuning gained 0.03000 over AdamW at 0.001 with a cosine (2.34900)'
    >>> list(reference_lines([adamw, free], 2.319, 1.0))[1].partition("untuned, ")[2]
    'is 0.03000 better than the best trial (2.28900): optimizer: ...'
    """
    gains = [(sign * (each.value - best), each) for each in references if each.value is not None]
    beaten = [f"{decimals(gain)} over {each.title} ({decimals(each.value)})" for gain, each in gains if gain >= 0]
    if beaten:
        yield f"references: tuning gained {', '.join(beaten)}"
    for gain, each in sorted((pair for pair in gains if pair[0] < 0), key=lambda pair: pair[0])[:1]:
        hint = f": {each.hint}" if each.hint else ""
        yield (
            f"references: {each.title}, untuned, is {decimals(-gain)} better than the best trial "
            f"({decimals(each.value)}){hint}"
        )
