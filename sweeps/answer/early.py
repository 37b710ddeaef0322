"""Scores of trials that were stopped or parked, as points of the surface: what they tell of ends, and how surely.

A score at share r of a training is not that of its end, f(x), but on the scale of the surface

    steeper_r (f(x + shift_r) + drift(x, -ln r)) + offset_r + noise

- drift is a random walk in -ln r that is 0 at the end: what was trained longer tells more. As a function of x it is as
  smooth as f.
- offset: all scores of a rung are off by one number in common.
- shift: their best rate may lie elsewhere than that of the ends, by what fades and by what lasts.
- steeper: what is far from the best is further behind than it will be, since the rate has not decayed yet; on twelve
  measured tables by exp(.14), and at the first rungs by more or less.

The first three are the model by which freeze and thaw searches (`sweeps.thaw.kernel`, `sweeps.thaw.shifts`); drift,
shifts and steepness are drawn here with all else that is not known. Trials that came to their end have scores too: they
tell how far scores are to be believed.

Which trials came to their end was decided by their scores. Of ends alone a fit would be of the ones that looked well,
and look flatter than the valley is. With the scores the choice can be ignored: D. Rubin, Inference and Missing Data,
Biometrika 63 (1976).

E = scores, N = points, P = values of a point, S = draws, X = places along a line.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from espalier.sweeps.answer.valley import Array, Rows
from espalier.sweeps.thaw.kernel import DRIFT, OFFSET
from espalier.sweeps.thaw.shifts import FADES, FADING, LASTING

DRIFT_SPREAD = 0.4
"""The deviation of the logarithm of the drift."""
STEEPER, SLOPE_SPREAD = 0.14, 0.25
"""The logarithm of how much steeper scores are, and the deviation of what the first rung has beside that."""
NOISE, NOISE_SPREAD, ROUGH, TILT_SPREAD = 0.05, 1.0, 0.75, 2.5
"""Of scores, as those of ends in `sweeps.answer.process`; ROUGH is their kappa."""
FIRST = 0.2
"""Where the scale of losses turns logarithmic, as a share of the spread of the scores at the first rung."""
AGAIN = 0.2
"""By so much, on that scale, a loss may fall again once it has risen on the way from the best: a deviation."""


@dataclass(frozen=True)
class Early:
    """Scores. rows: (E, P), losses: (E,), to be minimised, share: (E,) of a training."""

    rows: Array
    losses: Array
    share: Array

    def take(self, rows: Rows) -> "Early":
        """Return some of them."""
        return Early(self.rows[rows], self.losses[rows], self.share[rows])

    @property
    def spread(self) -> float:
        """The median less the least at the first rung."""
        first = self.losses[self.share == self.share.min()]
        return float(np.median(first) - first.min())

    @property
    def gaps(self) -> Array:
        """How far each is above the least of its rung (E,)."""
        least = np.zeros(len(self.losses))
        for share in np.unique(self.share):
            least[self.share == share] = self.losses[self.share == share].min()
        return self.losses - least


@dataclass(frozen=True)
class Maturing:
    """Parameters of scores: see the head of the file. The shifts are in the unit of the rate's axis."""

    drift: float
    fading: float
    lasting: float
    slope: float
    noise: float
    tilt: float

    @classmethod
    def of(cls, parameters: Array) -> "Maturing":
        """Return those of six numbers, of which the first is the drift's logarithm."""
        return cls(math.exp(parameters[0]), *parameters[1:].tolist())


@dataclass(frozen=True)
class Shares:
    """At which share of a training each of N points was scored, 1 for an end."""

    share: Array

    @property
    def any_early(self) -> bool:
        """Whether not all are ends."""
        return bool(self.early.any())

    @cached_property
    def early(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which are no ends."""
        return self.share < 1

    @cached_property
    def part(self) -> Array:
        """What fades: 1 at the first rung, 0 at the end."""
        return np.minimum(1.0, -np.log(self.share) / FADES)

    @cached_property
    def walked(self) -> Array:
        """How far the walks of two scores went together (N, N)."""
        late = -np.log(self.share)
        return np.minimum(late[:, None], late[None])

    @cached_property
    def together(self) -> Array:
        """The covariance of the offsets of rungs (N, N)."""
        same = (self.share[:, None] == self.share[None]) & self.early[:, None]
        return np.where(same, OFFSET**2, 0.0)

    def shifts(self, of: Maturing) -> Array:
        """Return how far along the rate each tells of an end (N,)."""
        return of.fading * self.part + of.lasting * self.early

    def steeper(self, of: Maturing) -> Array:
        """Return by how much each is steeper than an end (N,)."""
        return np.exp(STEEPER * self.early + of.slope * self.part)

    def covariance(self, alike: Array, of: Maturing) -> Array:
        """Return the covariance (N, N) in units of the height. alike: that of ends at the same places."""
        steeper = self.steeper(of)
        return np.outer(steeper, steeper) * alike * (1 + of.drift**2 * self.walked) + self.together


def priors(width: float | None) -> tuple[list[float], list[float]]:
    """Return medians and deviations of the parameters. width: the decades of the rate; None where none was searched."""
    fading, lasting, tilt = (1e-9,) * 3 if width is None else (FADING / width, LASTING / width, TILT_SPREAD)
    medians = [math.log(DRIFT), 0.0, 0.0, 0.0, math.log(NOISE), 0.0]
    return medians, [DRIFT_SPREAD, fading, lasting, SLOPE_SPREAD, NOISE_SPREAD, tilt]


def with_one_valley(z_SX: Array) -> Array:
    """Return as many draws, those again whose loss does not fall once it has risen on the way from its lowest place.

    Where nothing was trained to its end, much is possible; that a loss has two valleys is rare. Their weights are

        exp(-.5 ((fall - least fall of all) / AGAIN)^2)

    so two valleys that were measured remain: then all draws have them.
    """
    lowest = z_SX.argmin(1)[:, None]
    places = np.arange(len(z_SX.T))[None]
    least = z_SX.min(1, keepdims=True)
    right = np.where(places >= lowest, z_SX, least)
    left = np.where(places <= lowest, z_SX, least)[:, ::-1]
    right_fall, left_fall = (np.maximum.accumulate(side, 1) - side for side in (right, left))
    fall = np.where(places >= lowest, right_fall, left_fall[:, ::-1]).max(1)
    weights = np.exp(-0.5 * ((fall - fall.min()) / AGAIN) ** 2).cumsum()
    evenly = (np.arange(len(z_SX)) + 0.5) / len(z_SX)
    return z_SX[np.minimum(np.searchsorted(weights / weights[-1], evenly), len(z_SX) - 1)]
