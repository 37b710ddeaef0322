"""Warm-up, a plateau, a linear fall."""

from espalier.core.schedules.falling import Falling


class WarmupStableDecay(Falling):
    """Keeps the peak up to four fifths of the budget, then falls in a line (Hu et al. 2024, arXiv:2404.06395).

    Its warm-up is `space.warmup`, as for every schedule.
    """

    shape = "linear"
    turn = 0.8
