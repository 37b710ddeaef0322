"""Compare two sweeps of any origins."""

from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.browse.compare import Comparison, Side
from espalier.sweeps.browse.compare_figure import comparison_figure
from espalier.sweeps.origins.origin import StoredSweep
from espalier.sweeps.report.figure import Missing


def compared(first: StoredSweep, second: StoredSweep) -> Comparison:
    """Return how the second of two sweeps did beside the first."""
    return Comparison(side_of(first), side_of(second))


def draw(comparison: Comparison, file: Path) -> Path:
    """Draw the best so far of both sweeps against their cost into a PNG file; return it.

    Raises BadInput for sweeps that cannot be compared, and for a file that cannot be written.
    """
    figure = comparison_figure(comparison)
    if isinstance(figure, Missing):
        raise BadInput(f"{file}: not drawn: {figure.why}")
    from espalier.sweeps.report.pictures import write_png

    try:
        return write_png(figure, file)
    except OSError as error:
        raise BadInput(f"{file}: cannot be written ({error.strerror}); name another file") from error


def side_of(stored: StoredSweep) -> Side:
    """Return a sweep as one side of a comparison."""
    return Side(stored.id, stored.spec, stored.state, stored.trials, stored.lane_steps, stored.digests)
