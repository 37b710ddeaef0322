"""The score "cooldown"."""

from espalier.core.scores.score import Score


class Cooldown(Score):
    """The validation of a copy whose rate fell in a line to the last rate of the schedule.

    The short end of a schedule of the kind "wsd" (Hägele et al. 2024, arXiv:2405.18392), tried out early.
    """

    trains_on = True
