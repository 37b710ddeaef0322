"""Give a sweep more to train, in the unit of its budget."""

from espalier.core.errors import BadInput
from espalier.sweeps.search.extension import UNITS, Extension, More, unit_of
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import SweepSpec, make_spec


def extension_of(record: SweepRecord, more: More) -> Extension:
    """Return the extension of a sweep by so much more, not stored yet.

    Raises BadInput for an amount in another unit than the sweep's budget has, for one beyond what a spec may have, and
    for a grid that has no further point.
    """
    unit, amount = more.amount
    spec, wanted = record.spec, unit_of(record.spec)
    if unit != wanted:
        counts = f"the budget of {record.id} counts {UNITS[wanted]}"
        raise BadInput(f"{unit}: {counts}; extend it by {wanted}{_why(spec, unit)}")
    before = spec.trials if unit == "trials" else getattr(spec.budget, unit)
    after = before + amount
    if spec.search.sampler == "grid" and unit == "trials":
        points = spec.space.grid_size()
        if before >= points:
            raise BadInput(f"{record.id}: all {points:,} points of its grid are among its trials; nothing is left")
        after = min(after, points)
    trials = record.trials()
    finished = not any(trial.running for trial in trials) and len(trials) >= record.wanted()
    extension = Extension.now(unit, before, after, len(trials), finished)
    make_spec(extension.applied_to(record.stored_spec), f"{record.id}: extended", stored=True)
    return extension


def _why(spec: SweepSpec, unit: str) -> str:
    """Return why a search cannot have a unit, beyond that it has another; "" where there is nothing to say."""
    return f"; {spec.search.sampler} trains whole trials" if unit == "trainings" and not spec.search.by_pieces else ""
