"""The recorded copy of a sweep's code: made when it begins, used by its driver and its workers from then on."""

from espalier.core.loading.folders import RecordedCopy, current_folder, use_copy
from espalier.sweeps import identity
from espalier.sweeps.code.changes import changed_files, sentence
from espalier.sweeps.code.copies import keep, laid_out
from espalier.sweeps.code.environment import environment
from espalier.sweeps.code.sources import sources_of
from espalier.sweeps.home import Home
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import SweepSpec


def record_code(spec: SweepSpec, home: Home, sweep: str) -> tuple[dict[str, object], str]:
    """Record today's code and environment, and use the copy from now on; return them as facts, and a note or "".

    Raises OSError.
    """
    use_copy(None)
    facts: dict[str, object] = {identity.ENVIRONMENT: environment().write(home.path)}
    if not spec.resources.code_mib:
        return facts, ""
    sources = sources_of(spec)
    record = keep(sources, current_folder(), home.sweep(sweep), spec.resources.code_mib) if sources else None
    if record is None:
        return facts, ""
    use_copy(laid_out(home.sweep(sweep), record.fact()))
    return facts | {identity.COPY: record.fact()}, record.note


def recorded_copy(record: SweepRecord, home: Home) -> RecordedCopy | None:
    """Return the copy of the code that a sweep last trained with, laid out; None if there is none, or it is lost."""
    fact = identity.periods(record.facts)[-1].get(identity.COPY)
    return laid_out(home.sweep(record.id), fact) if fact else None


def change_since(record: SweepRecord, home: Home) -> str:
    """Return a sentence on the files that have changed since they were recorded; "" if none has."""
    fact = identity.periods(record.facts)[-1].get(identity.COPY)
    files = changed_files(home.sweep(record.id), fact) if fact else []
    goes_on = "the sweep goes on with the code that it began with; --changed takes today's"
    return f"{sentence(files)}; {goes_on}" if files else ""
