"""Choices side by side: each value of a choice at its own best."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from espalier.sweeps.answer.axes import Factor
from espalier.sweeps.results.trial_result import TrialResult, best_trial, searched


@dataclass(frozen=True)
class Option:
    """One value of a choice. trials: how many had it, complete: and ended whole. best: the number of the best of these.

    value: its objective. behind: by how much it is worse than the best trial of all, in the objective's unit.
    """

    option: Any
    trials: int
    complete: int
    best: int | None
    value: float | None
    behind: float | None


@dataclass(frozen=True)
class Options:
    """A choice that was searched, its values from the best to the worst; those without a complete trial are last."""

    name: str
    options: Sequence[Option]

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"name": self.name, "options": [asdict(option) for option in self.options]}


def options_of(factor: Factor, trials: Sequence[TrialResult], mode: str) -> Options:
    """Return the values of a choice, each by its own best trial. mode: min or max."""
    sign, own = 1.0 if mode == "min" else -1.0, searched(trials)
    best = best_trial(own, mode)
    options: list[Option] = []
    for k, value in enumerate(factor.values):
        having = [t for t in own if factor.index(t.params) == k]
        first = best_trial(having, mode)
        complete = sum(t.state == "complete" and t.value is not None for t in having)
        reached = first.value if first else None
        behind = None if reached is None or best is None or best.value is None else sign * (reached - best.value)
        options.append(Option(value, len(having), complete, first and first.number, reached, behind))
    return Options(factor.name, sorted(options, key=lambda each: (each.behind is None, each.behind or 0.0)))
