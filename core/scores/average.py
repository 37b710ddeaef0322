"""The score "average"."""

from espalier.core.scores.score import Score


class Average(Score):
    """The validation of a moving average of the weights, which imitates a decay of the rate.

    It costs a copy of the weights and no steps. See core.training.averages.
    """

    averaged = True
