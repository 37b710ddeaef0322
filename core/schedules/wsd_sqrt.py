"""Warm-up, a plateau, a fall along a square root."""

from espalier.core.schedules.falling import Falling


class WarmupStableSqrt(Falling):
    """Keeps the peak up to four fifths of the budget, then falls as 1 - sqrt(p).

    Hägele et al. 2024 (arXiv:2405.18392).
    """

    shape = "sqrt"
    turn = 0.8
