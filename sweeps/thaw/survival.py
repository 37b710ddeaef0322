# pyright: basic
# scipy has no types
"""How probable it is that a point trains to its end: diverged trials tell where the cliff is, not how bad it is there.

Each point is labelled +1 while it lives and -1 once it diverged. A Gaussian process over the labels gives a mean m and
a variance v of the latent function. The probability is Phi((m + prior) / sqrt(1 + v)): least-squares classification.
Source: C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, section 6.5 and eq. 3.25.
Improvement that is only to be had where training survives is weighted by that: M. Gelbart, J. Snoek, R. Adams, Bayesian
Optimization with Unknown Constraints, 2014, arXiv:1403.5607, eq. 6.
"""

import math

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import erf

from espalier.sweeps.thaw.kernel import Kernel
from espalier.sweeps.thaw.space import Array

BELIEF = 1.0
"""The latent mean before anything is known: most points would survive."""
LATENT = 3.0
"""The deviation of the latent function: labels of many neighbours are to decide nearly alone."""
LABEL = 0.5
"""The noise of a label."""


HOPELESS = 0.1
"""Points whose probability is less than this share of the highest are not tried, however little is left elsewhere."""


class Survival:
    """The process of labels. Where nothing has diverged every point survives."""

    def __init__(self, kernel: Kernel, points: Array, diverged: "np.ndarray[tuple[int], np.dtype[np.bool_]]"):
        """points: (N, P) scaled to [0, 1], which began to train. diverged: (N,)."""
        self.kernel, self.points = kernel, points
        self.certain = not diverged.any()
        if self.certain:
            return
        labels = np.where(diverged, -1.0, 1.0) * LATENT - BELIEF
        covariance = LATENT**2 * kernel.alike(points, points) + LABEL**2 * np.eye(len(points))
        self.factor: Array = cholesky(covariance, lower=True, check_finite=False)
        white = solve_triangular(self.factor, labels, lower=True, check_finite=False)
        self.weights: Array = solve_triangular(self.factor, white, lower=True, trans=1, check_finite=False)

    def probability(self, points: Array) -> Array:
        """Return the probability that points (M, P) train to their end, (M,); 0 where it is hopeless."""
        if self.certain:
            return np.ones(len(points))
        near = LATENT**2 * self.kernel.alike(points, self.points)
        white: Array = solve_triangular(self.factor, near.T, lower=True, check_finite=False)
        variance = np.maximum(LATENT**2 - np.einsum("ij,ij->j", white, white), 0.0)
        latent = BELIEF + near @ self.weights
        probability = 0.5 * (1 + erf(latent / np.sqrt(1 + variance) / math.sqrt(2)))
        return np.where(probability < HOPELESS * probability.max(), 0.0, probability)
