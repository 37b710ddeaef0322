"""What all figures of a report draw: a sweep's material, the answer drawn from it, and the groups of its trials."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from espalier.core.errors import brief, counted
from espalier.sweeps.answer.answer import Answer
from espalier.sweeps.answer.axes import Axis, Factor, Searched
from espalier.sweeps.report.figure import Chart
from espalier.sweeps.report.grammar import (
    PALETTE,
    along,
    axis_text,
    factor_labels,
    factor_text,
    has,
    name_of,
    notation,
    number,
    place,
)
from espalier.sweeps.report.material import Material, Trace
from espalier.sweeps.results.formatting import decimals
from espalier.sweeps.results.trial_result import UNFINISHED, TrialResult, best_trial, ranked, searched
from espalier.sweeps.spec.spec import SweepSpec

SHARE_SHOWN = 0.9  # of the complete trials, which an axis of the objective shows: far worse ones are cut off
TIMES_MEDIAN = 10.0  # as far above the best as the median lies is shown at most: more would flatten the valley
TIMES_SHOWN = 2.0  # of that height, up to which references are shown too
ROUNDING = 1e-12  # of the best: values that differ by less are equal
EQUAL_SHOWN = 0.1  # of equal values, on either side of them
METRIC_MOST = 40  # characters


@dataclass(frozen=True)
class Subject:
    """A sweep with its answer."""

    material: Material
    answer: Answer

    @property
    def spec(self) -> SweepSpec:
        """The spec of the sweep."""
        return self.material.spec

    @cached_property
    def metric(self) -> str:
        """The objective, as an axis calls it."""
        return brief(self.spec.objective.metric, METRIC_MOST)

    @property
    def sign(self) -> float:
        """1 for an objective to minimise, -1 for one to maximise."""
        return self.spec.objective.sign

    @property
    def searched(self) -> Searched:
        """The numbers and choices that were searched."""
        return self.answer.what

    @cached_property
    def axis(self) -> Axis | None:
        """The number that the first figure is about: the learning rate, else that of the answer's valley, else any."""
        valley = self.answer.valley
        ordered = [self.searched.rate, valley.axis if valley else None, *self.searched.axes]
        return next((axis for axis in ordered if axis), None)

    @cached_property
    def trials(self) -> list[TrialResult]:
        """The trials of the search, by number."""
        return sorted(searched(self.material.trials), key=lambda t: t.number)

    @cached_property
    def complete(self) -> list[TrialResult]:
        """Complete trials of the search with a finite objective, the best first."""
        best_first = ranked(self.trials, self.spec.objective.mode)
        return [t for t in best_first if t.state == "complete" and t.value is not None and math.isfinite(t.value)]

    @cached_property
    def best(self) -> TrialResult | None:
        """The best trial."""
        return best_trial(self.complete, self.spec.objective.mode)

    @cached_property
    def ties(self) -> frozenset[int]:
        """The trials that cannot be told from the best."""
        return frozenset(self.answer.ties.trials if self.answer.ties else ())

    def chose_as_the_best(self, trial: TrialResult) -> bool:
        """Whether a trial has all choices of the best trial: then it lies on the valley that is drawn."""
        best = self.best
        return best is None or all(f.index(trial.params) == f.index(best.params) for f in self.searched.factors)

    def trace(self, trial: TrialResult) -> Trace:
        """Return what was recorded of a trial; nothing, for one without records."""
        return self.material.traces.get(trial.number, Trace())

    def configuration(self, trial: TrialResult) -> str:
        """Return all that was searched at a trial's point, for people."""
        axes = [(axis.name, axis_text(axis, trial.params)) for axis in self.searched.axes]
        factors = [(factor.name, factor_text(factor, trial.params)) for factor in self.searched.factors]
        return brief(", ".join(f"{name} {text}" for name, text in [*axes, *factors] if text), 120)

    def last_step(self, trial: TrialResult) -> int:
        """Return how far a trial has trained, as far as records know."""
        curve = self.trace(trial).curve
        whole = self.spec.budget.steps if trial.state == "complete" else 0
        return max(whole, max(trial.reports, default=0), curve[-1][0] if curve else 0)

    def headline(self, trial: TrialResult) -> str:
        """Return a trial by its number and its objective."""
        return f"trial {trial.number}: {decimals(trial.value)}" if trial.value is not None else f"trial {trial.number}"

    def not_here(self, trials: Sequence[TrialResult], columns: Sequence[Axis | Factor]) -> str:
        """Return which trials lack a hyperparameter, and so a place, as a sentence after a space; "" for none."""
        absent = [t for t in trials if not all(has(column, t.params) for column in columns)]
        if not absent:
            return ""
        lacking = [name_of(column) for column in columns if not all(has(column, t.params) for t in absent)]
        others = sum(t is not self.best for t in absent)
        who = counted(others, "trial")
        if self.best and others < len(absent):
            more = f" and {counted(others, 'other trial')}" if others else ""
            who = f"The best, trial {self.best.number},{more}"
        verb, pronoun = ("has", "it is") if len(absent) == 1 else ("have", "they are")
        return f" {who} {verb} no {' or '.join(lacking)}, so {pronoun} not here."

    def along(self, axis: Axis, key: str) -> Chart:
        """Return a channel on the axis of a hyperparameter, over all that was searched and all that was tried."""
        tried = [x for t in self.trials if (x := place(axis, t.params)) is not None]
        return along(axis, key, (min([axis.ends[0], *tried]), max([axis.ends[1], *tried])))

    @cached_property
    def frame(self) -> tuple[float, float] | None:
        """The limits of an axis of the objective: they leave out far worse trials. None without complete trials."""
        beside = [each.value for each in self.material.references if each.value is not None]
        valley = self.answer.valley
        for off in valley.off if valley else ():
            if valley and off.foreseen and (there := valley.at(off.x)):
                beside.append(there[0])
        return frame_of([t.value or 0.0 for t in self.complete], self.sign, beside) if self.complete else None

    def upright(self, key: str = "y") -> Chart:
        """Return a channel on the axis of the objective."""
        low, high = self.frame or (0.0, 1.0)
        scale = {"domain": [low, high], "zero": False, "clamp": True}
        return number(key, self.metric, scale=scale, axis=notation(low, high))

    @property
    def edge(self) -> float:
        """The end of that axis on which the worst lie."""
        low, high = self.frame or (0.0, 1.0)
        return high if self.sign > 0 else low

    def states(self) -> str:
        """Return how many trials are in each state, as a phrase."""
        return states_of(self.trials) or "no trial yet"

    @property
    def unfinished(self) -> bool:
        """Whether trials are missing that would still come."""
        return self.material.state not in ("finished", "failed") or any(t.state in UNFINISHED for t in self.trials)


def states_of(trials: Sequence[TrialResult]) -> str:
    """Return how many trials are in each state, as a phrase; "" for no trial."""
    return ", ".join(f"{number} {state}" for state, number in sorted(Counter(t.state for t in trials).items()))


def frame_of(values: Sequence[float], sign: float, beside: Sequence[float] = ()) -> tuple[float, float]:
    """Return the limits of an axis for the better of some values. beside: of references, shown if they are near.

    >>> [round(end, 3) for end in frame_of([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 900.0], 1.0)]
    [0.904, 1.88]
    """
    ordered = sorted(sign * value for value in values)
    best, middle = ordered[0], ordered[len(ordered) // 2]
    worst = ordered[max(0, math.ceil(SHARE_SHOWN * len(ordered)) - 1)]
    worst = min(worst, best + TIMES_MEDIAN * (middle - best)) if middle > best else worst
    worst = max([worst, *(sign * value for value in beside if sign * value <= best + TIMES_SHOWN * (worst - best))])
    if worst - best <= ROUNDING * abs(best):
        worst = best + EQUAL_SHOWN * abs(best) if best else 1.0
        best -= worst - best
    else:
        best, worst = best - 0.12 * (worst - best), worst + 0.1 * (worst - best)
    low, high = sorted((sign * best, sign * worst))
    share = sign < 0 and all(0 <= value <= 1 for value in values)  # an accuracy or an AUC is at most 1
    return (max(low, 0.0), min(high, 1.0)) if share else (low, high)


def factor_colours(factor: Factor) -> Mapping[str, str]:
    """Return a colour for each value of a choice."""
    return {text: PALETTE[place % len(PALETTE)] for place, text in enumerate(factor_labels(factor))}


def outcomes(subject: Subject) -> str:
    """Return what became of a sweep's trials, as a sentence for who cannot see a figure."""
    best = f" The best is {subject.headline(subject.best)}." if subject.best else ""
    return f"{counted(len(subject.trials), 'trial')}: {subject.states()}.{best}"
