"""Give a sweep more to train, in the unit of its budget."""

from collections.abc import Mapping

from espalier.core.errors import BadInput
from espalier.sweeps.results.coverage import configurations, covered
from espalier.sweeps.search.extension import Extension, More, unit_of
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.parts import UNITS
from espalier.sweeps.spec.spec import SweepSpec, make_spec


def extension_of(record: SweepRecord, more: More, by: str = "") -> Extension:
    """Return the extension of a sweep by so much more, not stored yet. by: who wishes it; "" for this user.

    Raises BadInput for an amount in another unit than the sweep's budget has, for one beyond what a spec may have, and
    for a grid or another finite space of which all has been trained.
    """
    unit, amount = more.amount
    spec, wanted = record.spec, unit_of(record.spec)
    if unit != wanted:
        counts = f"the budget of {record.id} counts {UNITS[wanted]}"
        raise BadInput(f"{unit}: {counts}; extend it by {wanted}{_why(spec, unit)}")
    before = budget_of(spec, unit)
    after = before + amount
    if spec.search.sampler == "grid" and unit == "trials":
        points = spec.space.grid_size()
        if before >= points:
            raise BadInput(f"{record.id}: all {points:,} points of its grid are among its trials; nothing is left")
        after = min(after, points)
    if spec.search.by_pieces and unit == "trials" and covered(spec, record.results(), ("complete", "diverged")):
        raise BadInput(
            f"{record.id}: all {configurations(spec.space):,} configurations of its space have been trained; nothing "
            "is left: begin a sweep of a wider space"
        )
    trials = record.trials()
    finished = not any(trial.running for trial in trials) and len(trials) >= record.wanted()
    extension = Extension.now(unit, before, after, len(trials), finished, by)
    make_spec(extension.applied_to(record.stored_spec), f"{record.id}: extended", stored=True)
    return extension


def more_to(storage: str, sweep: str, wanted: Mapping[str, float]) -> More | None:
    """Return how much more a sweep of a storage needs to come to so much in all; None if it is to train that already.

    wanted: {unit: amount}. An extension that is asked for in this way happens once, however often it is tried.
    """
    ((unit, amount),) = wanted.items()
    spec = SweepStore.open(storage).load(sweep).spec
    missing = amount - budget_of(spec, unit)
    return More(**{unit: missing}) if missing > 0 else None


def extended_to(record: SweepRecord, wanted: Mapping[str, float]) -> SweepRecord:
    """Return a sweep as it will be once it trains so much in all; nothing is stored. wanted: {unit: amount}, or {}."""
    if not wanted:
        return record
    ((unit, amount),) = wanted.items()
    missing = amount - budget_of(record.spec, unit)
    return record.extended(extension_of(record, More(**{unit: missing}))) if missing > 0 else record


def budget_of(spec: SweepSpec, unit: str) -> float:
    """Return how much of a unit a spec may train."""
    return spec.trials if unit == "trials" else getattr(spec.budget, unit) or 0.0


def _why(spec: SweepSpec, unit: str) -> str:
    """Return why a search cannot have a unit, beyond that it has another; "" where there is nothing to say."""
    return f"; {spec.search.sampler} trains whole trials" if unit == "trainings" and not spec.search.by_pieces else ""
