# pyright: basic
# scipy has no types
"""Expected improvement: by how much a candidate is expected to be better than the best so far.

Source: D. Jones, M. Schonlau, W. Welch, Efficient Global Optimization of Expensive Black-Box Functions, 1998, eq. 15.
"""

import math

import numpy as np
from scipy.special import erf

from espalier.sweeps.thaw.space import Array


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return E[max(best - y, 0)] for normal y of given means and standard deviations, of any one shape.

    >>> [round(float(v), 4) for v in expected_improvement(np.array([0.0, 1.0]), np.array([1.0, 0.1]), 0.0)]
    [0.3989, 0.0]
    """
    t = (best - mean) / deviation
    below, density = 0.5 * (1 + erf(t / math.sqrt(2))), np.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
    return deviation * (t * below + density)


def expected_gain(mean: Array, deviation: Array, best: float) -> Array:
    """Return E[max(exp(best) - exp(y), 0)]: the improvement of the loss itself, where y is the logarithm of a gap.

    It is the value of a put option (F. Black, M. Scholes, 1973) without interest.

    >>> [round(float(v), 4) for v in expected_gain(np.array([0.0, -1.0]), np.array([1e-6, 1e-6]), 0.0)]
    [0.0, 0.6321]
    """
    t = (best - mean) / deviation
    cheaper = 0.5 * (1 + erf((t - deviation) / math.sqrt(2)))
    below = 0.5 * (1 + erf(t / math.sqrt(2)))
    return math.exp(best) * below - np.exp(mean + 0.5 * deviation**2) * cheaper
