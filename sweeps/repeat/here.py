"""Train a best file again in this process; shared by `sweep rerun` and `espalier.rerun`."""

from collections.abc import Callable

from espalier.core.errors import BadInput
from espalier.sweeps.best_file import fields_of_best, spec_of_best
from espalier.sweeps.code.choices import RECORDED
from espalier.sweeps.home import Home
from espalier.sweeps.repeat.code import code_of
from espalier.sweeps.repeat.rerun import Rerun, rerun


def rerun_here(
    text: str,
    source: str,
    register: str | None = None,
    home: Home | None = None,
    announce: Callable[[str], None] = lambda line: None,
    code: str = RECORDED,
) -> Rerun:
    """Train the trial of a best file again, and compare every report. Raises BadInput if its task is gone.

    text: the best file, which messages call `source`. announce: called once, before it trains.
    register: a model in MLflow; the weights become its next version if every number is the same. home: where that is,
    and the recorded code. code: "recorded", or "here" for today's.
    """
    best = fields_of_best(text, source)
    with code_of(best, source, code, home or Home.at(None, reading=True)) as used:
        try:
            spec = spec_of_best(best, source)
        except BadInput as error:
            if used.missing and str(error).startswith("task: no file"):
                raise BadInput(used.missing) from error
            raise
        if register is not None and spec.is_foreign:
            raise BadInput(f"register: a {spec.way} keeps its weights itself, as in its checkpoints; leave it out")
        training = f"training trial {best.trial} of {best.sweep} again: {spec.budget.steps:,} steps{used.words}"
        if register is None or home is None:
            announce(training)
            return rerun(best, spec, code=used)
        from espalier.sweeps.repeat.champion import place_for, rerun_and_register

        uri = place_for(register, best, spec, home)
        announce(training)
        return rerun_and_register(text, best, spec, register, uri, used)
