"""Train a best file again in this process; shared by `sweep rerun` and `espalier.rerun`."""

from collections.abc import Callable

from espalier.sweeps.best_file import parse_best
from espalier.sweeps.home import Home
from espalier.sweeps.repeat.rerun import Rerun, rerun


def rerun_here(
    text: str,
    source: str,
    register: str | None = None,
    home: Home | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Rerun:
    """Train the trial of a best file again, and compare every report. Raises BadInput if its task is gone.

    text: the best file, which messages call `source`. announce: called once, before it trains.
    register: a model in MLflow; the weights become its next version if every number is the same. home: where that is.
    """
    best, spec = parse_best(text, source)
    announce(f"training trial {best.trial} of {best.sweep} again: {spec.budget.steps:,} steps")
    if register is None or home is None:
        return rerun(best, spec)
    from espalier.sweeps.repeat.champion import rerun_and_register

    return rerun_and_register(text, best, spec, register, home)
