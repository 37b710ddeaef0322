"""A sweep's trials as a pandas.DataFrame. Its columns and their types follow from the spec, whatever happened."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.space import AUTO, Domain, Range, Space, extremes
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    import pandas

NUMBER, WHOLE, TRUTH, TEXT, ANY = "float64", "Int64", "boolean", "str", "object"
"""pandas' types of columns. A missing number is NaN; a missing whole number or truth value is pandas.NA."""


def trials_frame(trials: Sequence[TrialResult], spec: SweepSpec) -> "pandas.DataFrame":
    """Return a row a trial, by number: state, objective, its spread, hyperparameters, rate, verdict, evidence, time."""
    import pandas

    rows, metric, kinds = sorted(trials, key=lambda t: t.number), spec.objective.metric, kinds_of(spec.space)
    for name in [name for t in rows for name in t.params if name not in kinds]:  # a sweep of an earlier version
        kinds[name] = kind_of([t.params[name] for t in rows if name in t.params])
    columns = {"state": _column([t.state for t in rows], TEXT), metric: _column([t.value for t in rows], NUMBER)}
    if spec.replicates > 1:
        columns[f"{metric}_std"] = _column([t.spread for t in rows], NUMBER)
    columns |= {name: _column([t.params.get(name) for t in rows], kind) for name, kind in kinds.items()}
    if "lr_exponent" in columns:
        columns["lr"] = 10.0 ** columns["lr_exponent"]
    if spec.confirm:
        columns["confirms"] = _column([t.confirms for t in rows], WHOLE)
    columns["verdict"] = _column([t.verdict for t in rows], TEXT)
    columns["evidence"] = _column([t.evidence for t in rows], TEXT)
    columns["duration_s"] = _column([t.duration_s for t in rows], NUMBER)
    frame = pandas.DataFrame(columns)
    return frame.set_index(pandas.Index([t.number for t in rows], name="trial", dtype="int64"))


def kinds_of(space: Space) -> dict[str, str]:
    """Return the type of the column of each hyperparameter of a space, in the order of a trial's point."""
    domains: Mapping[str, Domain | None] = {name: getattr(space, name) for name in space.engine_fields()} | space.own()
    kinds = {name: _kind_of_domain(name, domain) for name, domain in domains.items() if domain is not None}
    return kinds | ({} if space.decay_points is None else {"decay_points": ANY})


def _kind_of_domain(name: str, domain: Domain) -> str:
    if name not in ("seed", "batch_size", "schedule") and name in Space.model_fields:
        return NUMBER
    if isinstance(domain, Range):
        return WHOLE if domain.integer else NUMBER
    return NUMBER if domain == AUTO else kind_of(extremes(domain))


def kind_of(values: Sequence[object]) -> str:
    """Return the type of a column that has all these values.

    >>> kind_of([1, 2]), kind_of([1, 0.5]), kind_of([True, False]), kind_of(["a", "b"]), kind_of(["a", 1])
    ('Int64', 'float64', 'boolean', 'str', 'object')
    """
    types = {type(value) for value in values if value is not None}
    if types == {int}:
        return WHOLE if all(-(2**63) <= value < 2**63 for value in values if isinstance(value, int)) else ANY
    if types and types <= {int, float}:
        return NUMBER
    return {frozenset([bool]): TRUTH, frozenset([str]): TEXT}.get(frozenset(types), ANY)


def _column(values: Sequence[object], kind: str) -> "pandas.Series":
    """Return a column; a list of decay points becomes a tuple, which can be grouped by."""
    import pandas

    cells = [tuple(value) if isinstance(value, list) else value for value in values]
    try:
        return pandas.Series(cells, dtype=kind)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except (TypeError, ValueError):  # of an earlier version, whose spec held other values
        return pandas.Series(cells, dtype=ANY)
