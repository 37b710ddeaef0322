"""The score "value"."""

from espalier.core.scores.score import Score


class Value(Score):
    """The validation at the rung, with the trial's weights as they are. It costs nothing."""
