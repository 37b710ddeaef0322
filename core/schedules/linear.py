"""A rate that falls in a line."""

from espalier.core.schedules.falling import Falling


class Linear(Falling):
    """Falls in a line to the floor: torch's LinearLR with a start factor of 1."""

    shape = "linear"
