"""How trials end: complete, stopped, diverged, or failed where user code raised. Other trials are not affected."""

import traceback
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from espalier.core.errors import located
from espalier.core.programs.program import Program
from espalier.core.training.events import Event, Scored, Status
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.log import EventLog
from espalier.core.training.pool import LanePool
from espalier.core.training.reports import Reports


class Ends:
    """Ends the trials of a pool. The end of a probe is a score of its trial."""

    def __init__(self, program: Program, pool: LanePool, log: EventLog, reports: Reports):
        self.program, self.pool, self.log, self.reports = program, pool, log, reports

    def end(self, lane: Lane, run: TrialRun, status: Status, reason: str = "", trace: str = "") -> Event:
        """Return the end of a run that has left its lane."""
        leader = self.log.leader_at_end(run.trial.id, status)
        return self.log.end(self.reports.end(lane, run, status, reason, trace, leader))

    def score(self, lane: Lane, run: TrialRun, kind: str, values: Mapping[str, float]) -> Event:
        """Return a score. That of a copy belongs to the step at which it left its trial, which then goes on."""
        trial, step = run.trial, lane.step
        if trial.probe:
            step = trial.probe.start
            self.pool.release(trial.id)
        return self.log.note(Scored(trial.id, step, values, kind, self.log.leader(trial.id)))

    def lose_score(self, lane: Lane, run: TrialRun) -> Event:
        """Return the score of a trial whose copy diverged, or met an error of the task's: it has no values."""
        return self.score(lane, run, run.score, {})

    def fail(self, lane: Lane, error: BaseException, what: str = "") -> Iterator[Event]:
        """End the runs of a lane for which the task raised. what: what raised otherwise, as the evidence begins."""
        runs, lane.runs = lane.runs, []
        for run in runs:
            if run.score:
                yield self.lose_score(lane, run)
            else:
                reason = f"{what}{located(error)}, at step {lane.step}"
                trace = "".join(traceback.format_exception(error))
                yield self.end(lane, run, "failed", reason, trace)

    def fail_run(self, lane: Lane, run: TrialRun, error: BaseException, what: str = "") -> Iterator[Event]:
        """End one run of a lane, for which a watcher or a score raised; the other runs continue."""
        lane.runs.remove(run)
        yield from self.fail(Lane([run], lane.step, losses=list(lane.losses)), error, what)

    def fail_copied(self, copy: TrialRun, error: BaseException, what: str) -> Iterator[Event]:
        """End the trial whose copy raised while it was scored."""
        self.pool.release(copy.trial.id)
        for lane, _ in self.pool.parked:
            for run in [run for run in lane.runs if run.trial.id == copy.trial.id and not run.score]:
                yield from self.fail_run(lane, run, error, what)

    def fail_each(self, errors: Mapping[int, BaseException]) -> Iterator[Event]:
        """End the runs of several lanes. errors: by lane number, the error that the task raised for it."""
        for k, error in errors.items():
            yield from self.fail(self.pool.active[k], error)
        self.pool.free_idle()

    def diverge(self, k: int) -> Iterator[Event]:
        """End the runs of lane k, whose loss is not finite: they diverged, or failed if the task raised."""
        lane = self.pool.active[k]
        if k in self.program.failed:
            yield from self.fail(lane, self.program.failed.pop(k))
            return
        runs, lane.runs = lane.runs, []
        raised = self.program.raised.pop(k, "")
        reason = f"the model raised at step {lane.step}: {raised}" if raised else ""
        for run in runs:
            if run.score:
                yield self.lose_score(lane, run)
                continue
            if losses := lane.losses_since(run.reported):
                run.values["train_loss"] = losses[-1]
            yield self.end(lane, run, "diverged", reason)

    def drop_diverged(self, losses_NS: npt.NDArray[np.float64]) -> Iterator[Event]:
        """End the runs of lanes with a non-finite loss in the last stretch, at the first such step."""
        finite_NS = np.isfinite(losses_NS)
        steps = losses_NS.shape[1]
        for k, lane in enumerate(self.pool.active):
            if not finite_NS[k].all():
                bad = int(np.argmin(finite_NS[k]))
                lane.losses = lane.losses[: len(lane.losses) - steps + bad]
                lane.step += bad - steps
                yield from self.diverge(k)
        self.pool.free_idle()
