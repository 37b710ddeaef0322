"""The trials of a sweep as the answer counts them: complete ones as points of a surface, and where others diverged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from espalier.sweeps.answer.along import Along, Array, Left
from espalier.sweeps.answer.axes import Axis, Searched
from espalier.sweeps.results.trial_result import TrialResult, best_trial, searched
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from espalier.sweeps.answer.early import Early
    from espalier.sweeps.answer.surface import Surface

TRIALS_LEAST, PLACES_LEAST = 4, 3
"""A valley is drawn through so many complete trials, at so many different places, or more."""
BEYOND, ABOVE = 1e3, 10.0
"""A complete trial counts as diverged if it is BEYOND times as far behind the best as the fourth best trial, and ABOVE
times as far as where it began: it would make the scale of the losses, and hide what the others show. Of one that does
not say where it began, the distance is BEYOND times the best value."""


@dataclass(frozen=True)
class Points:
    """The complete trials of the search that did not diverge. best: the best of them. begun: all trials."""

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
        best = best_trial(complete, spec.objective.mode)
        lost = _lost(complete, best, spec.objective.sign)
        diverged = [t for t in own if "diverged" in (t.state, t.verdict) or t.number in lost]
        lived = [t for t in complete if t.number not in lost]
        return cls(spec, Searched.of(spec.space), lived, best, diverged, own)

    @property
    def flat(self) -> bool:
        """Whether enough trials for a valley are complete, and all have one value."""
        return len(self.trials) >= TRIALS_LEAST and len({t.value for t in self.trials}) == 1

    @cached_property
    def surface(self) -> "Surface | None":
        """What they say of the loss everywhere; None for too few."""
        if (
            self.best is None
            or len([*self.trials, *self.scored]) < TRIALS_LEAST
            or not (self.what.axes or self.what.factors)
            or (self.flat and not self.scored)
        ):
            return None
        from espalier.sweeps.answer.process import Prior
        from espalier.sweeps.answer.surface import Surface  # which loads scipy

        losses = np.array([self.spec.objective.sign * (t.value or 0.0) for t in self.trials])
        rows = np.array([self.row(t.params) for t in self.trials])
        widths = [axis.ends[1] - axis.ends[0] if axis.rate else None for axis in self.what.axes]
        early = self._early()
        prior = Prior.of(widths, len(self.what.factors), early is not None)
        return Surface(rows, losses, len(self.what.axes), prior, self.row(self.best.params), self._trunks(), early)

    def _early(self) -> "Early | None":
        """Return the scores at rungs, once for each trunk; None where all trials that were scored came to their end."""
        assert self.best
        if not self.scored:
            return None
        from espalier.sweeps.answer.early import Early  # which loads thaw's kernel

        sign, steps, best = self.spec.objective.sign, self.spec.budget.steps, self.best.params
        decay = {name: value for name, value in best.items() if name == "decay_points"}
        seen: dict[tuple[str, int, float], Array] = {}
        for t in [*self.scored, *self.trials]:
            for step, score in t.scores.items():
                if np.isfinite(score) and 0 < step < steps:
                    seen.setdefault((_trunk(t), step, sign * score), self.row({**decay, **t.params}))
        places = sorted(seen, key=lambda each: (each[1], each[2]))
        return Early(
            np.array([seen[each] for each in places]),
            np.array([loss for _, _, loss in places]),
            np.array([step / steps for _, step, _ in places]),
        )

    @cached_property
    def scored(self) -> Sequence[TrialResult]:
        """The trials that were scored on their way and have not come to their end, though they did not diverge."""
        lost = {t.number for t in self.diverged} | {t.number for t in self.trials}
        return [t for t in self.begun if t.scores and t.number not in lost and t.state != "failed"]

    def _trunks(self) -> "npt.NDArray[np.intp]":
        """Return the number of the trunk of each complete trial: those of one differ in their decay points alone."""
        known = [_trunk(t) for t in self.trials]
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
        best = axis.value(self.best.params) if self.best else None
        if best is None:
            return None
        more = [axis.coordinate(x) for t in self.scored if (x := axis.value(t.params)) is not None]
        if len(values) + len(more) < TRIALS_LEAST or len({*places, *more}) < PLACES_LEAST:
            return None
        begun = [axis.coordinate(x) for t in self.begun if (x := axis.value(t.params)) is not None]
        chosen, ends = axis.coordinate(best), (min(begun), max(begun))
        return Along(axis, chosen, places, ends, self.diverged_from(axis), self._left(axis))

    def _left(self, axis: Axis) -> list[Left]:
        """Return the trials that were scored on their way and left, along an axis."""
        sign, steps = self.spec.objective.sign, self.spec.budget.steps
        best: dict[int, float] = {}
        for t in self.begun:
            for step, score in t.scores.items():
                best[step] = min(sign * score, best.get(step, sign * score))
        left: list[Left] = []
        for t in self.scored:
            if (x := axis.value(t.params)) is not None:
                step = max(t.scores)
                left.append(Left(axis.coordinate(x), step / steps, sign * t.scores[step] - best[step]))
        return left

    def diverged_from(self, axis: Axis) -> float | None:
        """Return the lowest coordinate above the best trial's from which on half of all trials or more diverged."""
        best = axis.value(self.best.params) if self.best else None
        if best is None:
            return None
        lost_numbers = {t.number for t in self.diverged}
        lived = [t for t in [*self.trials, *self.scored] if t.number not in lost_numbers]
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


def _lost(complete: Sequence[TrialResult], best: TrialResult | None, sign: float) -> set[int]:
    """Return the complete trials that diverged, though their losses stayed finite: they ended worse than they began."""
    if best is None:
        return set()

    def behind(value: float | None) -> float:
        return sign * ((value or 0.0) - (best.value or 0.0))

    ordered = sorted(behind(t.value) for t in complete)
    beyond = BEYOND * (ordered[min(len(ordered), TRIALS_LEAST) - 1] or np.inf)
    lost: set[int] = set()
    for t in complete:
        begin, end = _begin(t), behind(t.value)
        judged = t.verdict == "diverged" and (begin is None or end > behind(begin))
        far = BEYOND * abs(best.value or 0.0) if begin is None else ABOVE * behind(begin)
        if t is not best and (judged or end > max(beyond, far)):
            lost.add(t.number)
    return lost


def _begin(trial: TrialResult) -> float | None:
    """Return the objective of an untrained model, or of a trial's first report; None if nobody knows."""
    if trial.to_beat is not None:
        return trial.to_beat
    return trial.reports[min(trial.reports)] if len(trial.reports) > 1 else None


def _trunk(trial: TrialResult) -> str:
    """Return the name of a trial's trunk: trials of one trunk differ in their decay points alone."""
    values = {name: value for name, value in trial.params.items() if name != "decay_points"}
    return json.dumps(values, sort_keys=True)
