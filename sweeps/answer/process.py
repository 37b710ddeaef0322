# pyright: basic
# numpy's functions of arrays
"""The Gaussian process of the loss, of which `sweeps.answer.surface` has draws: its scale, its noise, its priors.

Losses are first put on a scale that is linear near the best and logarithmic far above it,

    z = log(1 + (loss - best) / tau),   tau = the median of loss - best,

since an optimum is a bowl and the flank towards divergence a cliff. Then z is a constant, plus a process whose
covariance is Matern's with nu = 3/2 in numbers, times a factor for each choice that differs, plus independent noise:
what a trial is off by for no reason that the space knows. A valley is steeper on one side than on the other, so that
its second derivative jumps: with nu = 5/2 or a squared exponential its lowest point was believed too flat and too sure.

The noise is sigma (1 + (loss - best) / tau) ** -kappa * exp(tilt (u - u_best)) in z, u along the learning rate: on
measured tables losses are smooth at low rates and rough at high ones. kappa = 1 is a noise that is the same in losses
everywhere, kappa = 0 one that is proportional to their distance from the best. Less than KAPPA_LEAST it is not: else a
cliff, which is not smooth, is taken for noise, and what it costs to fall is foreseen from the ground before it.

Trials of one trunk, which differ in their decay points alone, share most of their training and so of their noise: its
correlation is TRUNK. Else many branches of one rate would count as many trials of it.

The lengths, the height and the noise have log-normal priors, kappa and tilt normal ones.

Source: C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17.

N, M = points, P = values of a point: A numbers in [0, 1], then the indexes of choices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from espalier.sweeps.answer.early import FIRST, ROUGH, Early, Maturing, Shares, priors
from espalier.sweeps.answer.valley import Array, Rows

DECADES = 0.6
"""The prior median of the length along a learning rate, in decades; log-normal with deviation KNOWN."""
SHARE = 0.5
"""The same of other numbers, as a share of their range, times the root of the dimensions; deviation UNKNOWN."""
OTHER_CHOICE = 1.0
"""The same of a choice: another value is at a distance of 1."""
KNOWN, UNKNOWN = 0.5, 0.7
KAPPA, KAPPA_SPREAD, KAPPA_LEAST = 0.75, 0.35, 0.3
TILT_SPREAD = 2.5
"""Over the whole range of the rate."""
HEIGHT, HEIGHT_SPREAD = 1.0, 0.7
"""Of the process, in standard deviations of z."""
NOISE, NOISE_SPREAD = 0.05, 1.3
"""Of z near the best, in its standard deviations."""
TRUNK = 0.95
"""The correlation of the noise of two trials of one trunk: on four measured tables it is .92 to 1.0."""
CONSTANT = 3.0
"""The deviation of the constant, in standard deviations of z."""
SCORED_NOISE, SCORED_NOISE_SPREAD = 0.1, 0.8
"""Of the noise of ends, where there are early scores: ends may be few, and of their noise little is seen then."""
JITTER = 1e-6
RELATIVE = 1e-6
"""tau as a share of the best loss, where all losses are equal."""
LARGEST = 1e300
"""Loss that is drawn: a mean of such is a float still."""


@dataclass(frozen=True)
class Scale:
    """Losses as z and back. low: the least loss. tau: where the scale turns from linear to logarithmic."""

    low: float
    tau: float

    @classmethod
    def of(cls, losses: Array, early: Early | None = None) -> "Scale":
        """Return the scale of losses (N,), with which early scores share tau."""
        low = float(losses.min())
        gaps = losses - low
        tau = float(np.median(gaps) or np.quantile(gaps[gaps > 0], 0.25) if gaps.any() else 0.0)
        if early is not None:
            tau = max(tau, FIRST * early.spread)
        return cls(low, tau or RELATIVE * (abs(low) or 1.0))

    def z(self, losses: Array) -> Array:
        """Return losses on the scale."""
        return np.log1p((losses - self.low) / self.tau)

    def losses(self, z: Array) -> Array:
        """Return the losses of z."""
        return self.low + self.tau * np.expm1(np.minimum(z, math.log(LARGEST) - math.log(self.tau)))


@dataclass(frozen=True)
class Prior:
    """Normal priors of the parameters (P + 4,): of the logarithms of lengths, height and noise, of kappa and of tilt.

    values: P. rate: which of the numbers is the learning rate; None for none.
    """

    median: Array
    deviation: Array
    values: int
    rate: int | None = None

    @classmethod
    def of(cls, widths: Sequence[float | None], factors: int, early: bool = False) -> "Prior":
        """Return priors. widths: of each number the decades of its range if it is a rate, else None.

        early: whether there are early scores; then the priors of their parameters follow, see `sweeps.answer.early`.
        """
        share = SHARE * math.sqrt(max(1, len(widths) + factors))
        lengths = [share if width is None else DECADES / width for width in widths] + [OTHER_CHOICE] * factors
        spreads = [UNKNOWN if width is None else KNOWN for width in widths] + [UNKNOWN] * factors
        rate = next((k for k, width in enumerate(widths) if width is not None), None)
        median = [*np.log([*lengths, HEIGHT, SCORED_NOISE if early else NOISE]), KAPPA, 0.0]
        tilt = TILT_SPREAD if rate is not None else 1e-9
        deviation = [*spreads, HEIGHT_SPREAD, SCORED_NOISE_SPREAD if early else NOISE_SPREAD, KAPPA_SPREAD, tilt]
        if early:
            more = priors(None if rate is None else widths[rate])
            median, deviation = median + more[0], deviation + more[1]
        return cls(np.array(median), np.array(deviation), len(lengths), rate)

    def bracket(self, place: int) -> tuple[float, float]:
        """Return between which numbers a parameter lies: four deviations, and kappa at KAPPA_LEAST or above."""
        median, reach = float(self.median[place]), 4 * float(self.deviation[place])
        least = KAPPA_LEAST if place == self.values + 2 else -math.inf
        return max(median - reach, least), median + reach


@dataclass(frozen=True)
class Theta:
    """Parameters as the process takes them. lengths: (P,). height: a variance. noise: the covariance of it (N, N).

    maturing: of early scores, None without any.
    """

    lengths: Array
    height: float
    noise: Array
    maturing: Maturing | None = None


@dataclass(frozen=True)
class Sample:
    """N points that the process knows. rows: (N, P). y: (N,). steep: z (N,). along: u - u_best (N,), along the rate.

    groups: of equal numbers have their noise in common (N,). shares: of a training. rate: which value is the rate.
    """

    rows: Array
    y: Array
    steep: Array
    along: Array
    groups: Rows
    shares: Shares
    rate: int | None

    def take(self, which: Rows) -> "Sample":
        """Return some of them."""
        shares = Shares(self.shares.share[which])
        along, groups = self.along[which], self.groups[which]
        return Sample(self.rows[which], self.y[which], self.steep[which], along, groups, shares, self.rate)

    @cached_property
    def common(self) -> Array:
        """The correlation of their noise (N, N)."""
        same = self.groups[:, None] == self.groups[None]
        return np.where(same, TRUNK, 0.0) + (1 - TRUNK) * np.eye(len(self.y))

    def theta(self, parameters: Array, values: int) -> Theta:
        """Return parameters (P + 4,), or with early scores (P + 10,), for these points."""
        height, sigma, kappa, tilt = parameters[values : values + 4]
        noise, maturing = sigma - kappa * self.steep + tilt * self.along, None
        if len(parameters) > values + 4:
            maturing = Maturing.of(parameters[values + 4 :])
            early = maturing.noise - ROUGH * self.steep + maturing.tilt * self.along
            noise = np.where(self.shares.early, early, noise)
        deviation = np.exp(np.clip(noise, -12, 3))
        covariance = np.outer(deviation, deviation) * self.common
        return Theta(np.exp(parameters[:values]), math.exp(2 * height), covariance, maturing)

    def moved(self, theta: Theta) -> Array:
        """Return the points, early scores where they tell of ends (N, P)."""
        if theta.maturing is None or self.rate is None:
            return self.rows
        rows = self.rows.copy()
        rows[:, self.rate] += self.shares.shifts(theta.maturing)
        return rows

    def covariance(self, theta: Theta, numbers: int) -> Array:
        """Return their covariance with their noise (N, N)."""
        rows = self.moved(theta)
        near = alike(apart(rows, rows, numbers), theta.lengths)
        if theta.maturing:
            near = self.shares.covariance(near, theta.maturing)
        return theta.height * near + CONSTANT**2 + theta.noise + JITTER * np.eye(len(near))

    def with_ends(self, theta: Theta, points: Array, numbers: int) -> Array:
        """Return the covariance of ends at points (M, P) with them (M, N)."""
        near = alike(apart(points, self.moved(theta), numbers), theta.lengths)
        if theta.maturing:
            near = near * self.shares.steeper(theta.maturing)
        return theta.height * near + CONSTANT**2


def apart(rows: Array, others: Array, numbers: int) -> Array:
    """Return squared distances along each value of rows (M, P) and others (N, P), (P, M, N); of choices 0 or 1."""
    difference = rows.T[:, :, None] - others.T[:, None, :]
    difference[numbers:] = difference[numbers:] != 0
    return difference * difference


def alike(squares: Array, lengths: Array) -> Array:
    """Return the correlation of squared distances (P, M, N): Matern's with nu = 3/2."""
    distance = np.sqrt(3.0 * np.tensordot(1 / lengths**2, squares, 1))
    return (1 + distance) * np.exp(-distance)
