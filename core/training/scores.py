"""Scores at rungs: what a trial would be worth if its rate fell now. They decide who is stopped.

Trials compared at a rung by their raw loss rank poorly: the noise of a high rate hides the progress until the decay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from espalier.core.training.averages import AVERAGE_EVERY, PREFIX, Averages
from espalier.core.training.events import Event, Scored
from espalier.core.training.lane import Lane, Rider
from espalier.core.training.lane_python import LanePython
from espalier.core.training.log import EventLog
from espalier.core.training.pool import LanePool
from espalier.core.training.trial import Structure
from espalier.core.training.validation import Validation, finite_values, is_diverged

PROBES: Mapping[str, float | None] = {"probe": 0.1, "cooldown": None}
"""Scores for which a branch is trained on: the factor of core.training.trial.Probe."""


@dataclass(frozen=True)
class Scoring:
    """What trials are scored by at their rungs. Nothing of it changes a trial's own numbers.

    value: the validation there. probe: that of a branch after `steps` steps at a tenth of the rate. cooldown: that of a
    branch whose rate falls in a line to what the schedule ends with. average: that of a moving average of the weights.
    """

    kinds: tuple[str, ...] = ("probe",)
    steps: int = 100


class Scores:
    """Scores the trials of a pool."""

    def __init__(
        self,
        scoring: Scoring,
        structure: Structure,
        pool: LanePool,
        log: EventLog,
        python: LanePython,
        averages: Averages,
        validation: Validation,
    ):
        self.scoring, self.structure, self.averages = scoring, structure, averages
        self.pool, self.log, self.python, self.validation = pool, log, python, validation

    @property
    def by_value(self) -> bool:
        """Whether the validation at a rung is a score."""
        return "value" in self.scoring.kinds

    def score(self, rider: Rider, kind: str, metrics: Mapping[str, float], step: int = 0) -> Event:
        """Return a score. That of a probe belongs to the step at which it left, and frees the lane that awaits it."""
        trial = rider.trial
        values = {} if is_diverged(metrics) else finite_values(metrics)
        if trial.probe:
            step = trial.probe.start
            self.pool.release(trial.id)
        return self.log.note(Scored(trial.id, step, values, kind, self.log.leader(trial.id)))

    def at_rung(self, k: int, lane: Lane, riders: Sequence[Rider]) -> Iterator[Event]:
        """Score riders by averaged weights; send probes ahead, and park the lane until they are back."""
        self.python.claim()
        if self.averages.wanted:
            prefix = PREFIX if lane.step >= AVERAGE_EVERY else ""  # there is none yet
            metrics = self.validation.averaged_metrics(k, prefix)
            for rider in riders:
                yield self.score(rider, "average", metrics, lane.step)
        for kind in self.scoring.kinds:
            if kind in PROBES:
                self._send_probe(k, lane, riders, kind)
        if lane.awaited:
            self.pool.park(lane, k)

    def _send_probe(self, k: int, lane: Lane, riders: Sequence[Rider], kind: str) -> None:
        trials = [rider.trial.probed(lane.step, self.scoring.steps, PROBES[kind]) for rider in riders]
        probe = Lane([Rider(trial, kind, reported=lane.step) for trial in trials], lane.step)
        probe.python = self.python.copy_of(lane)
        probe.plan_fork(self.structure)
        self.pool.park(probe, k)
        lane.awaited += [trial.id for trial in trials]
