"""The score "cooldown"."""

from espalier.core.scores.score import Score


class Cooldown(Score):
    """The validation of a copy whose rate fell linearly to the schedule's last rate.

    This is the short decay of a "wsd" schedule (Hägele et al. 2024, arXiv:2405.18392), tried early.
    """

    trains_on = True
