"""How far the trials of a sweep cover a space that has a finite number of configurations."""

import json
from collections.abc import Sequence

from espalier.sweeps.results.trial_result import TrialResult, searched
from espalier.sweeps.spec.domains import Range
from espalier.sweeps.spec.space import Space
from espalier.sweeps.spec.spec import SweepSpec

COVERED = "every configuration of the space has been begun"


def configurations(space: Space) -> int | None:
    """Return how many configurations a space has; None for one with a range of any numbers."""
    for _, domain in space.domains():
        if isinstance(domain, Range) and not (domain.integer or domain.step):
            return None
    return space.grid_size()


def covered(spec: SweepSpec, trials: Sequence[TrialResult], states: Sequence[str] = ()) -> bool:
    """Whether every configuration has a trial. states: that these trials are to have; any if empty."""
    count = configurations(spec.space)
    if count is None:
        return False
    rows = [t.params for t in searched(trials) if not states or t.state in states]
    return len({json.dumps(params, sort_keys=True, default=str) for params in rows}) >= count


def why_fewer(spec: SweepSpec, trials: Sequence[TrialResult]) -> str:
    """Return why a search that is over has fewer trials than were wanted; "" if it has not."""
    begun = len(searched(trials))
    if not (spec.search.by_pieces and spec.counts_trials and begun < spec.trials):
        return ""
    why = COVERED if covered(spec, trials) else "the search ended before; `sweep extend` goes on with it"
    return fewer(begun, spec.trials, why)


def fewer(begun: int, wanted: int, why: str) -> str:
    """Return that there are fewer trials than were wanted.

    >>> fewer(3, 9, COVERED)
    'there are 3 trials, not 9: every configuration of the space has been begun'
    """
    return f"there are {begun} trials, not {wanted}: {why}"
