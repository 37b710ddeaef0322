# pyright: basic
# scipy has no types
"""The kernel's lengths learnt from scores, within priors: the mode of their posterior.

    log p(theta | y) = log N(y; mean, spread^2 C(theta) + noise^2) - sum_i (log theta_i - log m_i)^2 / (2 s_i^2) + const

theta are the lengths and the drift, each log-normal around its value in `Kernel.for_space`. Sources: C. Rasmussen,
C. Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.30 (the likelihood); C. Hvarfner, E. Hellsten,
L. Nardi, Vanilla Bayesian Optimization Performs Great in High Dimensions, 2024, arXiv:2402.02229 (log-normal priors
whose median grows with the root of the number of dimensions).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from espalier.sweeps.thaw.kernel import Inputs, Kernel
from espalier.sweeps.thaw.scale import Gaps
from espalier.sweeps.thaw.shifts import SHIFTS, Shift, likely, surrogates
from espalier.sweeps.thaw.space import Array, Space
from espalier.sweeps.thaw.surrogate import JITTER, mean_and_spread

KNOWN, UNKNOWN = 0.3, 0.8
"""Deviations of the logarithm of a length: of a number whose length is given, as the learning rate's; of another."""
DRIFT_KNOWN = 0.4
"""The same of the drift."""
FEWEST, GROWTH = 8, 1.25
"""Lengths are learnt from so many scores on, and again whenever there are this many times as many."""
MOST = 80
"""Scores that the likelihood is of: its time grows with the cube of their number."""
MANY = 100
"""With so many scores or more, only shifts that are likely are thought of: an ask is to take no longer."""
STEPS = (1.0, 0.5, 0.25)
"""Of the search for the mode along each axis, in deviations of the prior."""
LOWEST, HIGHEST = -2.5, 2.5
"""Within so many deviations of the prior."""

Scored = Callable[[int, int], tuple[Inputs, Gaps]]
"""Returns the first scores, for a count of them, thinned to at most so many."""


class Learner:
    """Learns the kernel as scores come in. What it learns depends on the first so many scores alone.

    It is learnt at 8, 10, 12, 15 ... scores, each time from where it was before: so a search that is taken up again
    has the same kernel.
    """

    def __init__(self, space: Space):
        self.space, self.prior = space, Kernel.for_space(space)
        self.learns = space.dimensions > 1
        deviations = [KNOWN if number.length is not None else UNKNOWN for number in space.numbers]
        self.deviations = np.array([*deviations, *[UNKNOWN] * len(space.choices), DRIFT_KNOWN])
        self._learnt: dict[int, Array] = {}  # count -> deviations of the prior
        self._likely: dict[int, Sequence[Shift]] = {}  # count -> the shifts that are thought of from there on

    def kernel(self, count: int, scores_of: Scored) -> Kernel:
        """Return the kernel for so many scores. scores_of: the first scores, for a count of them, at most so many."""
        theta, step = np.zeros(len(self.deviations)), FEWEST
        while self.learns and step <= count:
            if step not in self._learnt:
                self._learnt[step] = self._mode(theta, *scores_of(step, MOST))
            theta, step = self._learnt[step], max(step + 1, int(step * GROWTH))
        return self._kernel(theta)

    def shifts(self, count: int, scores_of: Scored) -> Sequence[Shift]:
        """Return which shifts are thought of with so many scores: with many, those that were likely some time ago."""
        step = MANY
        while max(step + 1, int(step * GROWTH)) <= count:
            step = int(step * GROWTH)
        if count < MANY:
            return SHIFTS
        if step not in self._likely:
            inputs, gaps = scores_of(step, MANY)
            none = inputs.take(np.arange(0))
            weighted = surrogates(self.space, self.kernel(step, scores_of), inputs, gaps, none)
            self._likely[step] = likely(weighted) if (inputs.share >= 1).any() else SHIFTS
        return self._likely[step]

    def _kernel(self, theta: Array) -> Kernel:
        factor = np.exp(theta * self.deviations)
        return replace(self.prior, lengths=self.prior.lengths * factor[:-1], drift=self.prior.drift * float(factor[-1]))

    def _mode(self, theta: Array, scored: Inputs, gaps: Gaps) -> Array:
        """Return the mode near theta, by a search along one axis after another with ever smaller steps."""
        if len(scored) < FEWEST:
            return theta
        apart = self.prior.apart(scored.points, scored.points)
        value = self._posterior(theta, apart, scored, gaps)
        for step in STEPS:
            for axis in range(len(theta)):
                for sign in (1, -1):
                    other = theta.copy()
                    other[axis] = np.clip(other[axis] + sign * step, LOWEST, HIGHEST)
                    if (better := self._posterior(other, apart, scored, gaps)) > value:
                        theta, value = other, better
                        break
        return theta

    def _posterior(self, theta: Array, apart: Array, scored: Inputs, gaps: Gaps) -> float:
        kernel = self._kernel(theta)
        covariance = kernel.covariance(scored, kernel.of_apart(apart))
        return log_likelihood(covariance, gaps) - 0.5 * float(theta @ theta)


def log_likelihood(covariance: Array, gaps: Gaps) -> float:
    """Return log N(y; mean, spread^2 C + noise^2) of N scores, C (N, N)."""
    mean, spread = mean_and_spread(gaps.y)
    try:
        factor = cholesky(spread**2 * covariance + np.diag(gaps.noise**2 + JITTER), lower=True, check_finite=False)
    except LinAlgError:
        return -math.inf
    white = solve_triangular(factor, gaps.y - mean, lower=True, check_finite=False)
    return float(-0.5 * white @ white - np.log(np.diag(factor)).sum() - 0.5 * len(white) * math.log(2 * math.pi))
