"""Two sweeps side by side: did the second do better, by how much, is it noise, at which cost, and what differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espalier.core.errors import brief, counted
from espalier.sweeps.identity import KINDS, spec_differences
from espalier.sweeps.results.difference import Difference, Measured, difference, measured_best
from espalier.sweeps.results.formatting import decimals, finite
from espalier.sweeps.results.trial_result import TrialResult, best_trial, searched, spans, under_way_s
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

FIELDS = 12  # spec fields that are listed in a text
"""The version of the JSON document: what is there keeps its name and meaning, and a change of one raises it."""


@dataclass(frozen=True)
class Side:
    """One of two sweeps. lane_steps: that it has trained. digests: of its code and data, as far as they are known."""

    id: str
    spec: SweepSpec
    state: str
    trials: Sequence[TrialResult]
    lane_steps: int | None
    digests: Mapping[str, str]

    @property
    def best(self) -> Measured | None:
        """Its best configuration."""
        return measured_best(self.trials, self.spec)

    @property
    def params(self) -> Point:
        """The hyperparameters of its best trial; empty without one."""
        best = best_trial(self.trials, self.spec.objective.mode)
        return best.params if best else {}

    @property
    def seconds(self) -> float | None:
        """In which trials were under way, without the time between two drivers; None before one has ended."""
        return under_way_s(self.trials) if spans(self.trials) else None

    def cost(self) -> dict[str, float | None]:
        """Return what it took."""
        complete = sum(t.state == "complete" for t in searched(self.trials))
        return {
            "trials": len(searched(self.trials)),
            "complete": complete,
            "lane_steps": self.lane_steps,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two sweeps came to."""

    first: Side
    second: Side

    @property
    def incomparable(self) -> str:
        """Why their bests cannot be compared; "" if they can."""
        one, other = self.first, self.second
        goals = [f"{side.spec.objective.mode} {side.spec.objective.metric}" for side in (one, other)]
        if goals[0] != goals[1]:
            return f"{one.id} has the objective {goals[0]}, {other.id} {goals[1]}"
        data = [side.digests.get("data") for side in (one, other)]
        if all(data) and data[0] != data[1]:
            return f"{one.id} was trained and validated on other data than {other.id} ({data[0]} and {data[1]})"
        without = [side.id for side in (one, other) if side.best is None]
        return f"{' and '.join(without)} {'has' if len(without) == 1 else 'have'} no complete trial" if without else ""

    @property
    def difference(self) -> Difference | None:
        """By how much the second is better; None where they cannot be compared."""
        one, other = self.first.best, self.second.best
        if self.incomparable or one is None or other is None:
            return None
        return difference(one, other, self.first.spec.objective.sign)

    @property
    def verdict(self) -> str:
        """better, worse, noise or unknown: of the second; or incomparable."""
        return self.difference.verdict if self.difference else "incomparable"

    @property
    def sentence(self) -> str:
        """The answer, with what else sets the two apart."""
        return f"{self._answer}; but {self.other_code}" if self.difference and self.other_code else self._answer

    @property
    def other_code(self) -> str:
        """That the two train different things, where nothing is known to be the same in both; "" else."""
        one, other = self.first, self.second
        validated = [side.digests.get("data") for side in (one, other)]
        if one.spec.trained == other.spec.trained or (all(validated) and validated[0] == validated[1]):
            return ""
        names = [Path(side.spec.trained).name if side.spec.function else side.spec.trained for side in (one, other)]
        if names[0] == names[1] and one.digests.get("code") == other.digests.get("code") is not None:
            return ""  # the same file at another place
        names = names if names[0] != names[1] else [side.spec.trained for side in (one, other)]
        apart = f"{one.id} {brief(names[0])}, {other.id} {brief(names[1])}"
        metric = one.spec.objective.metric
        return f"they train different things ({apart}): it counts only if {metric} measures the same in both"

    @property
    def _answer(self) -> str:
        apart, one, other = self.difference, self.first, self.second
        if apart is None or one.best is None or other.best is None:
            return f"{one.id} and {other.id} cannot be compared: {self.incomparable}"
        metric = one.spec.objective.metric
        values = f"{metric} {decimals(other.best.value)}, and {decimals(one.best.value)} of {one.id}"
        by = decimals(abs(apart.by))
        if apart.p is None or apart.low is None or apart.high is None:
            did = f"{'better' if apart.by > 0 else 'worse'} by {by}" if apart.by else "the same"
            return (
                f"{other.id} came out {did} ({values}); whether that is noise is unknown: neither was trained under "
                "other seeds (confirm: 3 does it)"
            )
        if apart.verdict == "noise":
            did = f"{'worse' if apart.by < 0 else 'better'} by {by}"
            ends = f"{decimals(abs(apart.low))} worse to {decimals(abs(apart.high))} better"
            return f"{other.id} is neither better nor worse than noise ({values}; {did}, at 95 % from {ends})"
        near, far = sorted((abs(apart.low), abs(apart.high)))
        ends = f"by {decimals(near)} to {decimals(far)}"
        return f"{other.id} did {apart.verdict} by {by}, more than noise ({values}; at 95 % {ends})"

    @property
    def fields(self) -> list[tuple[str, object, object]]:
        """The fields in which the specs differ: name, of the first, of the second."""
        return spec_differences(self.first.spec, self.second.spec)

    def lines(self) -> Iterator[str]:
        """Yield the answer, the cost, the best configurations side by side, and what was different."""
        one, other = self.first, self.second
        yield self.sentence
        if self.difference and self.difference.source:
            yield f"  noise    {self._noise()}"
        yield from _columns("cost", [one.id, other.id], {n: (one.cost()[n], other.cost()[n]) for n in one.cost()})
        names = dict.fromkeys([*one.params, *other.params])
        rows = {name: (one.params.get(name), other.params.get(name)) for name in names}
        best = [side.best for side in (one, other)]
        heads = [f"trial {each.trial}" if each else "-" for each in best]
        yield from _columns("best", heads, rows)
        yield from self._differing()

    def _noise(self) -> str:
        parts = [
            f"{decimals(side.best.noise.sd)} of {side.id} (from {side.best.noise.source}; its best: "
            f"{counted(side.best.trainings, 'training')})"
            for side in (self.first, self.second)
            if side.best and side.best.noise
        ]
        return f"{', '.join(parts)}; {self.difference.source if self.difference else ''}"

    def _differing(self) -> Iterator[str]:
        fields = self.fields
        for name, one, other in fields[:FIELDS]:
            yield f"  {name}: {_shown(one)}, then {_shown(other)}"
        if len(fields) > FIELDS:
            yield f"  and {len(fields) - FIELDS} more fields differ: --json has them"
        if not fields:
            yield "  the specs are the same"
        for kind, what in KINDS.items():
            digests = [side.digests.get(kind) for side in (self.first, self.second)]
            if any(digests):
                same = f"the same ({digests[0]})" if digests[0] == digests[1] else f"{digests[0]}, then {digests[1]}"
                yield f"  {what}: {same}"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return finite(
            {
                "verdict": self.verdict,
                "sentence": self.sentence,
                "difference": self.difference and asdict(self.difference),
                "sweeps": [self._side(side) for side in (self.first, self.second)],
                "fields": [{"field": name, "first": one, "second": other} for name, one, other in self.fields],
            }
        )

    def _side(self, side: Side) -> dict[str, object]:
        best = side.best
        return {
            "sweep": side.id,
            "state": side.state,
            "metric": side.spec.objective.metric,
            "mode": side.spec.objective.mode,
            "best": best and {**asdict(best), "params": dict(side.params)},
            "cost": side.cost(),
            "digests": dict(side.digests),
        }


def _columns(title: str, heads: Sequence[str], rows: Mapping[str, tuple[object, object]]) -> Iterator[str]:
    """Yield a table of two columns."""
    cells = [(name, _shown(one), _shown(other)) for name, (one, other) in rows.items()]
    table = [(title, *heads), *cells]
    first, second = (max(len(row[k]) for row in table) for k in (0, 1))
    for name, one, other in table:
        yield f"  {name:<{first}}  {one:>{second}}  {other}"


def _shown(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, Mapping):
        return _in_words(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 and value != int(value) else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value))  # pyright: ignore[reportUnknownArgumentType]
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _in_words(fields: Mapping[str, object]) -> str:
    """Return fields within a field, without those that are empty or off.

    >>> _in_words({"low": 0.0001, "high": 1.0, "log": True, "step": None})
    'low 0.0001, high 1, log'
    """
    parts = [name if value is True else f"{name} {_shown(value)}" for name, value in fields.items() if _is_set(value)]
    return ", ".join(parts) or "-"


def _is_set(value: object) -> bool:
    return value is not None and value is not False and value != ""
