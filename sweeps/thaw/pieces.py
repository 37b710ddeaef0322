"""Pieces of work: a trunk on to its next rung, or a branch from a decay point to the end. Costs: full trainings."""

from dataclasses import dataclass, field

from espalier.sweeps.thaw.space import Point


@dataclass
class Trunk:
    """The training of a point up to where its rate first decays. `position` is a share of a full training.

    rung: the number of the next rung. branches: the decay points of branches that were asked for. continued: whether
    one of them goes on from where the trunk rested. diverged: at a rung. lost: whether nothing was kept of it, so that
    what goes on from it begins anew. over: whether its trial has ended, so that going on begins another one. again: how
    many trials it has begun in this way.
    """

    number: int
    point: Point
    position: float = 0.0
    rung: int = 0
    training: bool = False
    diverged: bool = False
    lost: bool = False
    continued: bool = False
    over: bool = False
    again: int = 0
    branches: list[tuple[float, ...]] = field(default_factory=list[tuple[float, ...]])

    @property
    def trials(self) -> int:
        """How many trials it is: the branch that goes on from where it rested is the trunk's, the others are more."""
        return max(1, len(self.branches) + (not self.continued)) + self.again


@dataclass(frozen=True)
class TrunkPiece:
    """Train a trunk from `begin` to `end`, score it there, and park it."""

    trunk: int
    point: Point
    begin: float
    end: float

    @property
    def cost(self) -> float:
        """In full trainings."""
        return self.end - self.begin


@dataclass(frozen=True)
class BranchPiece:
    """Train from the row of a trunk that was kept at `begin` to the end, with the rate decaying at `decay`."""

    trunk: int
    point: Point
    begin: float
    decay: tuple[float, ...]

    @property
    def cost(self) -> float:
        """In full trainings."""
        return 1.0 - self.begin


Piece = TrunkPiece | BranchPiece


@dataclass(frozen=True)
class Score:
    """What a piece came to: `share` is the rung of a trunk's score, 1 at the end of a branch.

    value: to be minimised, None where the training diverged. trunk: its number.
    """

    point: Point
    share: float
    decay: tuple[float, ...]
    value: float | None
    trunk: int = 0
