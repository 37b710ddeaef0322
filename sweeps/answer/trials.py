"""The trials of a sweep as the answer counts them: complete ones as points of a surface, and where others diverged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from espalier.sweeps.answer.axes import Axis, Searched
from espalier.sweeps.answer.valley import Along, Array
from espalier.sweeps.results.trial_result import TrialResult, best_trial, searched
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from espalier.sweeps.answer.surface import Surface

TRIALS_LEAST, PLACES_LEAST = 4, 3
"""A valley is drawn through so many complete trials, at so many different places, or more."""


@dataclass(frozen=True)
class Points:
    """The complete trials of the search. best: the best of them. begun: all trials, with those that diverged."""

    spec: SweepSpec
    what: Searched
    trials: Sequence[TrialResult]
    best: TrialResult | None
    diverged: Sequence[TrialResult]
    begun: Sequence[TrialResult]

    @classmethod
    def of(cls, spec: SweepSpec, trials: Sequence[TrialResult]) -> "Points":
        """Return those of all trials. Confirmations are none: they repeat one of the search."""
        own = searched(trials)
        complete = [t for t in own if t.state == "complete" and t.value is not None and np.isfinite(t.value)]
        diverged = [t for t in own if t.state == "diverged" or t.verdict == "diverged"]
        best = best_trial(complete, spec.objective.mode)
        return cls(spec, Searched.of(spec.space), complete, best, diverged, own)

    @cached_property
    def surface(self) -> "Surface | None":
        """What they say of the loss everywhere; None for too few."""
        if self.best is None or len(self.trials) < TRIALS_LEAST or not (self.what.axes or self.what.factors):
            return None
        from espalier.sweeps.answer.surface import Prior, Surface  # which loads scipy

        losses = np.array([self.spec.objective.sign * (t.value or 0.0) for t in self.trials])
        rows = np.array([self.row(t.params) for t in self.trials])
        widths = [axis.ends[1] - axis.ends[0] if axis.rate else None for axis in self.what.axes]
        prior = Prior.of(widths, len(self.what.factors))
        return Surface(rows, losses, len(self.what.axes), prior, self.row(self.best.params), self._trunks())

    def _trunks(self) -> "npt.NDArray[np.intp]":
        """Return the number of the trunk of each complete trial: those of one differ in their decay points alone."""
        known = [
            json.dumps({name: value for name, value in t.params.items() if name != "decay_points"}, sort_keys=True)
            for t in self.trials
        ]
        numbers = {params: k for k, params in enumerate(dict.fromkeys(known))}
        return np.array([numbers[params] for params in known])

    def row(self, params: Point) -> Array:
        """Return the point of a trial (P,): numbers as shares of their ranges, then choices by their indexes."""
        numbers = [self._share(axis, params) for axis in self.what.axes]
        return np.array([*numbers, *(float(factor.index(params)) for factor in self.what.factors)])

    def _share(self, axis: Axis, params: Point) -> float:
        value = axis.value(params)
        low, high = axis.ends
        return 0.5 if value is None else (axis.coordinate(value) - low) / (high - low)

    def along(self, axis: Axis) -> Along | None:
        """Return what was tried along an axis; None for too little."""
        values = [x for t in self.trials if (x := axis.value(t.params)) is not None]
        places = sorted({axis.coordinate(x) for x in values})
        if self.best is None or axis.value(self.best.params) is None:
            return None
        if len(values) < TRIALS_LEAST or len(places) < PLACES_LEAST:
            return None
        begun = [axis.coordinate(x) for t in self.begun if (x := axis.value(t.params)) is not None]
        return Along(
            axis, (places[0], places[-1]), (min(begun), max(begun)), self.diverged_from(axis), self._scored(axis)
        )

    def _scored(self, axis: Axis) -> list[tuple[float, float, float]]:
        """Return the trials that are not complete and were scored on their way: see Along.scored."""
        sign, steps = self.spec.objective.sign, self.spec.budget.steps
        best: dict[int, float] = {}
        for t in self.begun:
            for step, score in t.scores.items():
                best[step] = min(sign * score, best.get(step, sign * score))
        scored: list[tuple[float, float, float]] = []
        for t in self.begun:
            x = axis.value(t.params)
            if x is not None and t.scores and t.state not in ("complete", "diverged"):
                step = max(t.scores)
                scored.append((axis.coordinate(x), step / steps, sign * t.scores[step] - best[step]))
        return scored

    def diverged_from(self, axis: Axis) -> float | None:
        """Return the lowest coordinate above the best trial's from which on half of all trials or more diverged."""
        best = axis.value(self.best.params) if self.best else None
        if best is None:
            return None
        lost_numbers = {t.number for t in self.diverged}
        lived = [t for t in self.trials if t.number not in lost_numbers]
        both = [(t, False) for t in lived] + [(t, True) for t in self.diverged]
        ended = [(axis.coordinate(x), diverged) for t, diverged in both if (x := axis.value(t.params)) is not None]
        lost = [place for place, diverged in ended if diverged and place > axis.coordinate(best)]
        for place in sorted(lost):
            above = [diverged for other, diverged in ended if other >= place]
            if 2 * sum(above) >= len(above):
                return place
        return None

    @property
    def diverging(self) -> tuple[Axis, float] | None:
        """The axis of the rate, and the rate from which on half of all trials or more diverged; None if none did."""
        place = self.diverged_from(self.what.rate) if self.what.rate else None
        return None if place is None or self.what.rate is None else (self.what.rate, self.what.rate.at(place))

    def line(self, along: Along) -> Array:
        """Return the points (X, P) of a valley: the best trial's, but along one axis."""
        assert self.best is not None
        rows = np.tile(self.row(self.best.params), (len(along.places), 1))
        low, high = along.axis.ends
        rows[:, self.what.axes.index(along.axis)] = (along.places - low) / (high - low)
        return rows
