"""How trials end: complete, stopped, diverged, or failed where the task raised. No other trial is touched."""

import traceback
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from espalier.core.errors import located
from espalier.core.programs.program import Program
from espalier.core.training.events import Event, Status
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.log import EventLog
from espalier.core.training.pool import LanePool
from espalier.core.training.reports import Reports
from espalier.core.training.scores import Scores


class Ends:
    """Ends the trials of a pool. A probe that ends is a score of its trial."""

    def __init__(self, program: Program, pool: LanePool, log: EventLog, reports: Reports, scores: Scores):
        self.program, self.pool, self.log, self.reports, self.scores = program, pool, log, reports, scores

    def end(self, lane: Lane, run: TrialRun, status: Status, reason: str = "", trace: str = "") -> Event:
        """Return the end of a run that has left its lane."""
        leader = self.log.leader_at_end(run.trial.id, status)
        return self.log.end(self.reports.end(lane, run, status, reason, trace, leader))

    def fail(self, lane: Lane, error: BaseException) -> Iterator[Event]:
        """End the runs of a lane for which the task raised."""
        runs, lane.runs = lane.runs, []
        for run in runs:
            if run.score:
                yield self.scores.lost(lane, run)
            else:
                reason = f"{located(error)}, at step {lane.step}"
                trace = "".join(traceback.format_exception(error))
                yield self.end(lane, run, "failed", reason, trace)

    def fail_each(self, errors: Mapping[int, BaseException]) -> Iterator[Event]:
        """End the runs of several lanes, by the lane's number the error that the task raised for it."""
        for k, error in errors.items():
            yield from self.fail(self.pool.active[k], error)
        self.pool.free_idle()

    def diverge(self, k: int) -> Iterator[Event]:
        """End the runs of lane k, whose loss is no number: they diverged, or failed if the task raised."""
        lane = self.pool.active[k]
        if k in self.program.failed:
            yield from self.fail(lane, self.program.failed.pop(k))
            return
        runs, lane.runs = lane.runs, []
        raised = self.program.raised.pop(k, "")
        reason = f"the model raised at step {lane.step}: {raised}" if raised else ""
        for run in runs:
            if run.score:
                yield self.scores.lost(lane, run)
                continue
            if losses := lane.losses_since(run.reported):
                run.values["train_loss"] = losses[-1]
            yield self.end(lane, run, "diverged", reason)

    def drop_diverged(self, losses_NS: npt.NDArray[np.float64]) -> Iterator[Event]:
        """End the runs of lanes whose loss was no number in the last stretch, at the first such step."""
        finite_NS = np.isfinite(losses_NS)
        steps = losses_NS.shape[1]
        for k, lane in enumerate(self.pool.active):
            if not finite_NS[k].all():
                bad = int(np.argmin(finite_NS[k]))
                lane.losses = lane.losses[: len(lane.losses) - steps + bad]
                lane.step += bad - steps
                yield from self.diverge(k)
        self.pool.free_idle()
