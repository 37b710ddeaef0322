"""A rate that falls along half a cosine."""

from espalier.core.schedules.falling import Falling


class Cosine(Falling):
    """Falls along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, one cycle): torch's CosineAnnealingLR.

    lr(p) = peak * (1 + (1 + cos(pi * (1 - p))) * (floor - 1) / 2),   p = the share of the fall that is done
    """

    shape = "cosine"
