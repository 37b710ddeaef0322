"""Lanes that leave a cohort with their row, to be continued later: in it, in another one, or in another process.

A trial is parked at its step `until`, and the state that it has at each step of `keep_at` is kept, for branches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypedDict

from espalier.core.python_state.encoding import Unwritable
from espalier.core.rows import Row
from espalier.core.training.events import Event, Forked, Parked, Started
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.lane_python import LanePython
from espalier.core.training.log import EventLog
from espalier.core.training.pool import LanePool
from espalier.core.training.reports import Reports
from espalier.core.training.resume import LaneWithRow, lane_from_state, lane_state
from espalier.core.training.trial import Trial

RowOf = Callable[[], Row]


class Thawing(TypedDict):
    """A trial that is about to go on, in a checkpoint."""

    trial: str
    from_: LaneWithRow


class FreezingState(TypedDict, total=False):
    """A Freezing in a checkpoint."""

    thawing: Sequence[Thawing]


@dataclass(frozen=True)
class Frozen:
    """The state of a trial before a step: everything that it needs to be continued, beside its task and data.

    lane: plain values, and the tensors of a row on the device of the cohort; core.checkpoint writes and reads them.
    """

    trial: str
    step: int
    lane: LaneWithRow


class Freezing:
    """Freezes the lanes of a pool, and lets frozen ones go on in it.

    frozen: what nobody has taken yet. thawing: trials that are about to go on, each with its frozen state.
    """

    def __init__(self, pool: LanePool, python: LanePython, log: EventLog, reports: Reports):
        self.pool, self.python, self.log, self.reports = pool, python, log, reports
        self.frozen: list[Frozen] = []
        self.thawing: list[tuple[Trial, LaneWithRow]] = []
        self._kept: set[tuple[str, int]] = set()

    def freeze_due(self) -> Iterator[Event]:
        """Keep the states that are due, and take out of the pool the lanes of trials that are to be parked."""
        for k, lane in enumerate(self.pool.active):
            yield from self._freeze(lane, lambda k=k: self.pool.rows.row(k))
        for lane, row in self.pool.parked:
            yield from self._freeze(lane, lambda row=row: row)
        self.pool.free_idle()

    def _freeze(self, lane: Lane, row: RowOf) -> Iterator[Event]:
        """Keep, or park, the runs of a lane that are at such a step; not while a copy of it trains for a score."""
        if lane.is_probe or lane.awaited:
            return
        for run in list(lane.runs):
            trial, key = run.trial, (run.trial.id, lane.step)
            parks = trial.until == lane.step
            if not parks and (lane.step not in trial.keep_at or key in self._kept):
                continue
            self._kept.add(key)
            with suppress(Unwritable):  # then it can only begin anew, elsewhere
                self.frozen.append(self._state_of(lane, run, row()))
            if parks:
                lane.runs.remove(run)
                so_far = self.reports.so_far(lane, run)
                self.log.note(Parked(trial.id, lane.step))
                yield Parked(trial.id, lane.step, so_far)

    def _state_of(self, lane: Lane, run: TrialRun, row: Row) -> Frozen:
        self.python.claim()
        alone = Lane([run], lane.step, None, lane.losses, lane.samples, python=self.python.copy_of(lane))
        return Frozen(run.trial.id, lane.step, {"lane": lane_state(alone, self.python), "row": row})

    def states(self) -> Iterator[Frozen]:
        """Yield the states of all trials that train, so that they could go on elsewhere; not of copies for a score.

        Raises core.python_state.encoding.Unwritable.
        """
        lanes = [*((lane, self.pool.rows.row(k)) for k, lane in enumerate(self.pool.active)), *self.pool.parked]
        for lane, row in lanes:
            if not lane.is_probe and not lane.awaited:
                for run in lane.runs:
                    yield self._state_of(lane, run, row)

    def take(self) -> list[Frozen]:
        """Return what was frozen since the last call."""
        frozen, self.frozen = self.frozen, []
        return frozen

    def thaw(self) -> Iterator[Event]:
        """Let trials go on from frozen states. Under another id it is a branch: the trunk's reports are its own too."""
        for trial, saved in self.thawing:
            before = saved["lane"]["riders"][0]["trial"]
            lane = lane_from_state(saved["lane"], self.python, {before: trial})
            self.pool.parked.append((lane, saved["row"]))
            self.log.lead(lane)
            if trial.id != before:
                yield self.log.note(Started(trial.id, 0))
                yield from self.log.reports_of(lane)
                yield self.log.note(Forked(trial.id, lane.step, before))
        self.thawing.clear()

    def parked(self, trials: Mapping[str, Trial]) -> set[str]:
        """Return those of the cohort's trials that are where they were to be parked."""
        events = (event for event in self.log.events if isinstance(event, Parked) and event.trial in trials)
        return {event.trial for event in events if trials[event.trial].until == event.step}

    def state(self) -> "FreezingState":
        """Return the part of a checkpoint. What is frozen must have been taken."""
        return {"thawing": [{"trial": trial.id, "from_": saved} for trial, saved in self.thawing]}

    def load_state(self, state: "FreezingState", trials: Mapping[str, Trial]) -> None:
        """Continue from `state`, in a checkpoint of any version. trials: those of the cohort, by id."""
        self.thawing = [(trials[entry["trial"]], entry["from_"]) for entry in state.get("thawing", ())]
