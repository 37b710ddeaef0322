"""Successive halving as a spec has it: when trials are scored, by what, and how many go on."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from espalier.core.scores.registry import SCORES
from espalier.core.scores.score import PROBE_SHARE
from espalier.sweeps.spec.parts import OwnKindName, known_kind
from espalier.sweeps.spec.space import Part

if TYPE_CHECKING:
    ScoreName = str
else:
    ScoreName = Literal[SCORES.names]


class Stopping(Part):
    """Successive halving: when trials are scored, by what, and how many go on."""

    rungs: tuple[float, ...] = Field(
        default=(0.1, 0.25, 0.5), max_length=100, description="shares of the budget, between 0 and 1"
    )
    reduction: float = Field(default=3.0, gt=1, le=1e6, description="the best 1 / reduction at a rung go on")
    least: int = Field(
        default=4,
        ge=2,
        le=1_000_000,
        description="trials scored at a rung before any is stopped; those of one history count as one",
    )
    score: ScoreName | OwnKindName = Field(default="average", description="what a trial is worth at a rung")
    probe_share: float = Field(
        default=PROBE_SHARE, gt=0, le=1, description="steps that a probe trains, as a share of those up to the rung"
    )
    probe: float | None = Field(
        default=None,
        gt=0,
        le=0.5,
        description="the same as a share of the budget, as specs of earlier versions have it",
    )

    @field_validator("score", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        return known_kind(value, SCORES)

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if not rungs or any(not 0 < share < 1 for share in rungs) or list(rungs) != sorted(set(rungs)):
            raise ValueError(f"rungs are shares of the budget between 0 and 1, rising; {list(rungs)} arrived")
        return rungs

    @model_validator(mode="after")
    def _one_length(self) -> "Stopping":
        if self.probe is not None and self.probe_share != PROBE_SHARE:
            raise ValueError(
                f"probe {self.probe:g} and probe_share {self.probe_share:g} exclude each other; leave one out"
            )
        return self

    def steps(self, budget: int) -> tuple[int, ...]:
        """Return the steps after which trials are scored."""
        return tuple(sorted({min(max(1, round(share * budget)), budget - 1) for share in self.rungs} - {0}))

    def probe_steps(self, budget: int) -> int | None:
        """Return how many steps a probe trains at every rung; None where `probe_share` says it."""
        return None if self.probe is None else max(1, round(self.probe * budget))
