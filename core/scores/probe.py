"""The score "probe"."""

from espalier.core.scores.score import Score


class Probe(Score):
    """The validation of a copy that trained some steps at a tenth of the rate."""

    trains_on = True
    rate_factor = 0.1
