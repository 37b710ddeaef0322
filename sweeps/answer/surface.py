# pyright: basic
# scipy has no types
"""What the losses of complete trials say of the loss everywhere: a Gaussian process, drawn with all its doubt.

Losses are first put on a scale that is linear near the best and logarithmic far above it,

    z = log(1 + (loss - best) / tau),   tau = the median of loss - best,

since an optimum is a bowl and the flank towards divergence a cliff. Then z is a constant, plus a process whose
covariance is Matern's with nu = 3/2 in numbers, times a factor for each choice that differs, plus independent noise:
what a trial is off by for no reason that the space knows. A valley is steeper on one side than on the other, so that
its second derivative jumps: with nu = 5/2 or a squared exponential its lowest point was believed too flat and too sure.

The noise is sigma (1 + (loss - best) / tau) ** -kappa * exp(tilt (u - u_best)) in z, u along the learning rate: on
measured tables losses are smooth at low rates and rough at high ones. kappa = 1 is a noise that is the same in losses
everywhere, kappa = 0 one that is proportional to their distance from the best.

Trials of one trunk, which differ in their decay points alone, share most of their training and so of their noise: its
correlation is TRUNK. Else many branches of one rate would count as many trials of it.

The lengths, the height and the noise have log-normal priors, kappa and tilt normal ones. They are not fixed at their
best values, which few trials would make look surer than they are, but drawn from their posterior by slice sampling.

Sources: C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17 and algorithm 2.1;
R. Neal, Slice Sampling, Annals of Statistics 31 (2003); J. Snoek, H. Larochelle, R. Adams, Practical Bayesian
Optimization, 2012, arXiv:1206.2944 (the lengths integrated out).

N, M = points, P = values of a point: A numbers in [0, 1], then the indexes of choices. S = draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, eigh, solve_triangular

from espalier.sweeps.answer.early import FIRST, ROUGH, Early, Maturing, Shares, priors, with_one_valley
from espalier.sweeps.answer.valley import Array, Rows

DECADES = 0.6
"""The prior median of the length along a learning rate, in decades; log-normal with deviation KNOWN."""
SHARE = 0.5
"""The same of other numbers, as a share of their range, times the root of the dimensions; deviation UNKNOWN."""
OTHER_CHOICE = 1.0
"""The same of a choice: another value is at a distance of 1."""
KNOWN, UNKNOWN = 0.5, 0.7
KAPPA, KAPPA_SPREAD = 0.75, 0.35
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
LEARN_MOST, MOST, EARLY_MOST = 80, 240, 100
"""Points of the likelihood, whose time grows with their cube; ends of the process itself, and early scores beside."""
SCORED_NOISE, SCORED_NOISE_SPREAD = 0.1, 0.8
"""Of the noise of ends, where there are early scores: ends may be few, and of their noise little is seen then."""
WIDER = 1.2
"""Where there are early scores, draws are so many times as far from their mean: measured on tables, see the docs."""
BURN, THETAS, PATHS = 10, 16, 32
"""Sweeps of the sampler before it counts, draws of the lengths after it, and paths for each of these."""
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

    def take(self, kept: Rows) -> "Sample":
        """Return some of them."""
        shares = Shares(self.shares.share[kept])
        along, groups = self.along[kept], self.groups[kept]
        return Sample(self.rows[kept], self.y[kept], self.steep[kept], along, groups, shares, self.rate)

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


class Surface:
    """The posterior after N complete trials."""

    def __init__(
        self,
        rows: Array,
        losses: Array,
        numbers: int,
        prior: Prior,
        near: Array,
        trunks: Rows | None = None,
        early: Early | None = None,
    ):
        """rows: (N, P). losses: (N,), to be minimised. near: the point (P,) near which precision matters most.

        trunks: the number of the trunk of each (N,); None: each has its own. early: scores, whether their trials came
        to an end or not.
        """
        self.numbers, self.prior = numbers, prior
        self.rng = np.random.default_rng([len(losses)])
        self.scale = Scale.of(losses, early)
        numbered = np.arange(len(losses)) if trunks is None else trunks
        distance = self._distance(rows, near)
        kept = some(distance, MOST)
        z, points, share, learn = self.scale.z(losses)[kept], rows[kept], np.ones(len(kept)), LEARN_MOST
        groups = numbered[kept]
        if early is not None:
            learn = LEARN_MOST // 2
            early = early.take(some(self._distance(early.rows, near), EARLY_MOST))
            z = np.concatenate([z, np.log1p(early.gaps / self.scale.tau)])
            points = np.concatenate([points, early.rows])
            share = np.concatenate([share, early.share])
            groups = np.concatenate([groups, len(losses) + np.arange(len(early.losses))])
        self.shift, self.unit = float(z.mean()), float(z.std()) or 1.0
        along = np.zeros(len(z)) if prior.rate is None else (points - near)[:, prior.rate]
        y = (z - self.shift) / self.unit
        self.sample = Sample(points, y, z, along, groups, Shares(share), prior.rate)
        learnt = some(distance[kept], learn)
        if early is not None:
            others = len(kept) + some(self._distance(early.rows, near), learn)
            learnt = np.concatenate([learnt, others])
        self.thetas = self._draw(self.sample.take(learnt))

    def _distance(self, rows: Array, near: Array) -> Array:
        """Return the squared distances of rows (N, P) from a point (P,), in lengths of the prior."""
        values = self.prior.values
        return np.tensordot(np.exp(-2 * self.prior.median[:values]), apart(near[None], rows, self.numbers), 1)[0]

    @property
    def noise(self) -> float:
        """What trials near the best are off by for no reason that the space knows: a standard deviation of losses."""
        sigma = float(np.exp(np.median([parameters[self.prior.values + 1] for parameters in self.thetas])))
        return sigma * self.unit * self.scale.tau

    def paths(self, rows: Array) -> Array:
        """Return draws of the loss, without noise, at points (M, P), each a whole path: (S, M)."""
        return self._losses(self._drawn(rows))

    def valleys(self, rows: Array) -> Array:
        """Return draws of the loss, without noise, at points (M, P) in order along a line: (S, M).

        Where early scores were needed, rather those with one valley.
        """
        drawn = self._drawn(rows)
        if self.sample.shares.any_early:
            drawn = with_one_valley(drawn * self.unit) / self.unit
        return self._losses(drawn)

    def _drawn(self, rows: Array) -> Array:
        return np.concatenate([self._paths(*self.foresee(parameters, rows)) for parameters in self.thetas])

    def _losses(self, y: Array) -> Array:
        return self.scale.losses(y * self.unit + self.shift)

    def foresee(self, parameters: Array, rows: Array) -> tuple[Array, Array]:
        """Return mean (M,) and covariance (M, M) of ends at points (M, P), given the parameters: see `Sample.theta`.

        Both are of z without noise, less its mean and in units of its deviation, as `y` is.
        """
        theta = self.sample.theta(parameters, self.prior.values)
        factor = cholesky(self.sample.covariance(theta, self.numbers), lower=True, check_finite=False)
        cross = self.sample.with_ends(theta, rows, self.numbers)
        mean = cross @ cho_solve((factor, True), self.sample.y, check_finite=False)
        white = solve_triangular(factor, cross.T, lower=True, check_finite=False)
        before = theta.height * alike(apart(rows, rows, self.numbers), theta.lengths) + CONSTANT**2
        return mean, before - white.T @ white

    def _paths(self, mean: Array, covariance: Array) -> Array:
        wider = WIDER if self.sample.shares.any_early else 1.0
        return mean + wider * self.rng.standard_normal((PATHS, len(mean))) @ _root(covariance).T

    # --- parameters --------------------------------------------------------------------------------------------------

    def _draw(self, sample: Sample) -> list[Array]:
        """Return draws of the parameters from their posterior, by some of the points."""

        def level_of(numbers: Array) -> float:
            covariance = sample.covariance(sample.theta(numbers, self.prior.values), self.numbers)
            white, determinant = _whitened(covariance, sample.y)
            prior = ((numbers - self.prior.median) / self.prior.deviation) ** 2
            return -0.5 * white - determinant - 0.5 * float(prior.sum())

        numbers, drawn = self.prior.median.copy(), list[Array]()
        level = level_of(numbers)
        for sweep in range(BURN + THETAS):
            for place in range(len(numbers)):
                numbers, level = self._slice(numbers, level, place, level_of)
            if sweep >= BURN:
                drawn.append(numbers)
        return drawn

    def _slice(
        self, numbers: Array, level: float, place: int, level_of: Callable[[Array], float]
    ) -> tuple[Array, float]:
        """Return a draw along one axis, and its log posterior. The bracket is the prior's, shrunk at each miss."""
        floor = level + math.log(self.rng.random())
        centre, reach = self.prior.median[place], 4 * self.prior.deviation[place]
        low, high = centre - reach, centre + reach
        while high - low > 1e-3 * reach:
            moved = numbers.copy()
            moved[place] = self.rng.uniform(low, high)
            if (reached := level_of(moved)) >= floor:
                return moved, reached
            if moved[place] < numbers[place]:
                low = moved[place]
            else:
                high = moved[place]
        return numbers, level


def _whitened(covariance: Array, y: Array) -> tuple[float, float]:
    """Return the squared length of whitened y (N,), and half the log determinant of their covariance (N, N)."""
    try:
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return math.inf, 0.0
    white = solve_triangular(factor, y, lower=True, check_finite=False)
    return float(white @ white), float(np.log(np.diag(factor)).sum())


def _root(covariance: Array) -> Array:
    """Return R with R R' = a covariance (M, M), of which rounding may have left the smallest eigenvalues below 0."""
    try:
        return cholesky(covariance + JITTER * np.eye(len(covariance)), lower=True, check_finite=False)
    except LinAlgError:
        values, vectors = eigh(covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))


def some(distance: Array, most: int) -> Rows:
    """Return the numbers of at most so many points: half of them the nearest, the others an even part of the rest.

    They are not chosen by their losses: the best of many are the lucky ones.
    """
    if len(distance) <= most:
        return np.arange(len(distance))
    order = np.argsort(distance, kind="stable")
    rest = np.sort(order[most // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return np.sort(np.concatenate([order[: most // 2], even]))
