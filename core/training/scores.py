"""Scores of trials at their rungs: by their weights, by averaged weights, or by a copy that trains while they wait."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.scores.registry import SCORES
from espalier.core.scores.score import PROBE_SHARE, Rung
from espalier.core.training.averages import AVERAGE_EVERY, PREFIX, Averages
from espalier.core.training.ends import Ends
from espalier.core.training.events import Event
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.lane_python import LanePython
from espalier.core.training.pool import LanePool
from espalier.core.training.reports import blocks
from espalier.core.training.trial import Structure
from espalier.core.training.validation import Validation, finite_values, is_diverged


@dataclass(frozen=True)
class Scoring:
    """How trials are scored at their rungs.

    kinds: names of core.scores.registry.SCORES, or `file.py:Class`. share: how long a copy trains for a score, as a
    share of the steps up to the rung. steps: how many steps it trains at every rung instead.
    """

    kinds: tuple[str, ...] = ("probe",)
    steps: int | None = None
    share: float = PROBE_SHARE

    @property
    def averaged(self) -> bool:
        """Whether some score uses averaged weights."""
        return any(SCORES[kind].averaged for kind in self.kinds)

    def copy_steps(self, rung: int) -> int:
        """Return how many steps a copy trains for a score at a rung.

        >>> Scoring(share=0.2).copy_steps(1000), Scoring(steps=50).copy_steps(1000)
        (200, 50)
        """
        return max(1, round(self.share * rung)) if self.steps is None else self.steps


class Scores:
    """Scores the trials of a pool."""

    def __init__(
        self,
        scoring: Scoring,
        structure: Structure,
        pool: LanePool,
        ends: Ends,
        python: LanePython,
        averages: Averages,
        validation: Validation,
        curve_points: int,
    ):
        """curve_points: blocks of the training curve between two reports."""
        self.kinds = {kind: SCORES[kind]() for kind in scoring.kinds}
        self.scoring, self.structure, self.averages, self.curve_points = scoring, structure, averages, curve_points
        self.pool, self.ends, self.python, self.validation = pool, ends, python, validation
        copies = [kind for kind, score in self.kinds.items() if score.trains_on]
        self._of_averages = [kind for kind, score in self.kinds.items() if score.averaged]
        self._of_copies = copies
        self._of_weights = [kind for kind in self.kinds if kind not in (*self._of_averages, *copies)]

    @property
    def validates(self) -> bool:
        """Whether some score uses the validation of a trial's own weights at the rung."""
        return bool(self._of_weights)

    def score(self, lane: Lane, run: TrialRun, kind: str, metrics: Mapping[str, float]) -> Iterator[Event]:
        """Yield the score from a validation, or the end of the trial where a user's own score raises."""
        if is_diverged(metrics):
            yield self.ends.score(lane, run, kind, {})
            return
        curve = [*run.curve, *blocks(lane.losses_since(run.reported), lane.step, self.curve_points)]
        rung = Rung(lane.step, run.trial.budget, finite_values(metrics), curve, run.reports)
        try:
            values = {name: v for name, v in self.kinds[kind].values(rung).items() if math.isfinite(v)}
        except TRANSIENT_ERRORS:
            raise
        except (Exception, SystemExit) as error:
            what = f"stopping.score: {kind} raised "
            if run.score:
                yield from self.ends.fail_copied(run, error, what)
            else:
                yield from self.ends.fail_run(lane, run, error, what)
            return
        yield self.ends.score(lane, run, kind, values)

    def at_rung(self, k: int, lane: Lane, runs: Sequence[TrialRun], metrics: Mapping[str, float]) -> Iterator[Event]:
        """Score runs of lane k, which is at a rung. If copies train for a score, park the lane until they end.

        metrics: the validation of the runs' own weights, where a score uses it.
        """
        for kind in self._of_weights:
            for run in runs:
                yield from self.score(lane, run, kind, metrics)
            runs = [run for run in runs if run in lane.runs]
        if not runs:
            return
        self.python.claim()
        if self._of_averages:
            prefix = PREFIX if lane.step >= AVERAGE_EVERY else ""  # there is none yet
            averaged = self.validation.averaged_metrics(k, prefix)
            for kind in self._of_averages:
                for run in runs:
                    yield from self.score(lane, run, kind, averaged)
                runs = [run for run in runs if run in lane.runs]
        for kind in self._of_copies:
            self._send_copies(k, lane, runs, kind)
        if lane.awaited:
            self.pool.park(lane, k)

    def _send_copies(self, k: int, lane: Lane, runs: Sequence[TrialRun], kind: str) -> None:
        factor, steps = self.kinds[kind].rate_factor, self.scoring.copy_steps(lane.step)
        trials = [run.trial.probed(lane.step, steps, factor) for run in runs]
        copy = Lane([TrialRun(trial, kind, reported=lane.step) for trial in trials], lane.step)
        copy.python = self.python.copy_of(lane)
        copy.plan_fork(self.structure)
        self.pool.park(copy, k)
        lane.awaited += [trial.id for trial in trials]
