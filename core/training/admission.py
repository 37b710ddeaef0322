"""Which trials train next: new branches, parked lanes, and trials of the queue."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.rows import Row
from espalier.core.training.ends import Ends
from espalier.core.training.events import Event, Forked, Started
from espalier.core.training.freezing import Freezing, FreezingState
from espalier.core.training.history import groups_at
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.lane_python import LanePython
from espalier.core.training.log import EventLog
from espalier.core.training.pool import LanePool
from espalier.core.training.resume import LaneWithRow
from espalier.core.training.trial import Structure, Trial


class AdmissionState(FreezingState):
    """An Admission in a checkpoint: the ids of the trials in the queue, and the reasons of those that are to stop."""

    queue: list[str]
    stops: dict[str, str]


class Admission:
    """The queue of a cohort's trials, and how they and their branches get free rows.

    stops: the reason by trial, for those to be stopped before their next step. queue_first: whether trials of the
    queue go before parked lanes.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        structure: Structure,
        pool: LanePool,
        log: EventLog,
        python: LanePython,
        ends: Ends,
        new_row: Callable[[int], Row],
        sequential: bool,
    ):
        """new_row: returns the initial state for a seed. It may raise whatever the task raises.

        sequential: whether lanes run one after the other, so that a row in use costs nothing.
        """
        self.queue = list(trials)
        self.known = {trial.id: trial for trial in trials}
        self.structure, self.pool, self.log, self.python, self.ends = structure, pool, log, python, ends
        self.new_row, self.sequential = new_row, sequential
        self.freezing = Freezing(pool, python, log, ends.reports)
        self.stops: dict[str, str] = {}
        self.queue_first = False

    def stop_asked(self) -> Iterator[Event]:
        """Stop the trials that were asked to stop."""
        waiting = [Lane([TrialRun(trial)]) for trial in self.queue]
        for lane in [*self.pool.lanes, *waiting]:
            for run in [r for r in lane.runs if r.trial.id in self.stops]:
                lane.runs.remove(run)
                if not run.score:
                    yield self.ends.end(lane, run, "stopped", self.stops[run.trial.id])
        for lane, _ in self.pool.parked:
            lane.awaited = [trial for trial in lane.awaited if trial not in self.stops]
        self.stops.clear()
        self.queue = [lane.leader for lane in waiting if lane.runs]
        self.pool.free_idle()

    def add(self, trials: Sequence[Trial]) -> None:
        """Take more trials into the queue."""
        self.known |= {trial.id: trial for trial in trials}
        self.queue += trials

    def thaw(self, trial: Trial, frozen: LaneWithRow) -> None:
        """Let a trial go on from a frozen state. Raises ValueError for one of another structure."""
        if frozen["row"].keys() != self.pool.rows.rows.keys():
            raise ValueError(f"{trial.id}: its frozen state is of another structure")
        self.known[trial.id] = trial
        self.freezing.thawing.append((trial, frozen))

    def advance(self) -> Iterator[Event]:
        """Park, keep and fork the lanes that are due at this step, and fill free rows."""
        yield from self.freezing.freeze_due()
        yield from self.freezing.thaw()
        yield from self._fork()
        yield from self._fill()
        while any(lane.fork_at == lane.step for lane in self.pool.active):  # a lane that was parked at its fork
            yield from self._fork()
            yield from self._fill()

    def _fork(self) -> Iterator[Event]:
        """Fork lanes where histories differ: the first group keeps the row, the others are parked with a copy of it."""
        for k, lane in enumerate(list(self.pool.active)):
            if lane.fork_at != lane.step:
                continue
            self.python.claim()
            runs = {run.trial.id: run for run in lane.runs}
            groups = groups_at(self.structure, lane.trials, lane.step)
            lane.runs, *others = [[runs[trial.id] for trial in group] for group in groups]
            lane.plan_fork(self.structure)
            for other in others:
                branch = lane.branch(other, self.python.copy_of(lane))
                branch.plan_fork(self.structure)
                self.pool.park(branch, k)
                self.log.lead(branch)
                for run in branch.runs:
                    if not run.score:
                        yield self.log.note(Forked(run.trial.id, lane.step, lane.leader.id))

    def _fill(self) -> Iterator[Event]:
        """Give free rows to parked lanes, then to the queue."""
        while self.pool.has_room:
            parked = None if self.queue_first else self.pool.take_parked()
            if parked:
                self.pool.admit(*parked)
            elif self._may_begin():
                yield from self._begin()
            else:
                return

    def _begin(self) -> Iterator[Event]:
        """Begin the next trials of the queue; those with a common history share one lane."""
        lane = Lane([TrialRun(trial) for trial in self._next_trials()])
        try:
            row = self.new_row(lane.seed)
        except TRANSIENT_ERRORS:
            raise
        except (Exception, SystemExit) as error:  # model() raises for this seed
            yield from self.ends.fail(lane, error)
            return
        lane.plan_fork(self.structure)
        self.log.lead(lane)
        self.pool.admit(lane, row)
        for trial in lane.trials:
            yield self.log.note(Started(trial.id, 0))

    def _may_begin(self) -> bool:
        """Whether the next trial of the queue gets a free row.

        Where lanes run sequentially, a row is reserved for the first branch of each trunk. Then trials end one by
        one, and not all at the very end.
        """
        used = self.pool.rows.used
        reserved = sum(lane.fork_at is not None for lane in self.pool.active) if self.sequential else 0
        return bool(self.queue) and (used + reserved < self.pool.room or not used)

    def _next_trials(self) -> list[Trial]:
        seed = self.queue[0].seed
        same_seed = [trial for trial in self.queue if trial.seed == seed]
        trials = groups_at(self.structure, same_seed, 0)[0]
        taken = {trial.id for trial in trials}
        self.queue = [trial for trial in self.queue if trial.id not in taken]
        return trials

    def isolate(self, suspects: Mapping[str, int]) -> bool:
        """Train one lane at a time until each suspect has passed its step; return whether any has not.

        One of them caused a failure, and this finds out which. See Cohort.isolate.
        """

        def is_suspect(lane: Lane) -> bool:
            return any(lane.step <= suspects.get(run.trial.id, -1) for run in lane.runs)

        pool = self.pool
        waiting = any(trial.id in suspects for trial in self.queue)
        left = waiting or any(is_suspect(lane) for lane in pool.lanes)
        pool.room = 1 if left else pool.most
        self.queue_first = waiting and not any(is_suspect(lane) for lane, _ in pool.parked)
        if left:
            for k in reversed([k for k, lane in enumerate(pool.active) if k or not is_suspect(lane)]):
                pool.park(pool.active[k], k)
                pool.free(k)
            pool.parked.sort(key=lambda parked: not is_suspect(parked[0]))
            self.queue.sort(key=lambda trial: trial.id not in suspects)
        return left

    def state(self) -> AdmissionState:
        """Return the state for a checkpoint."""
        return {"queue": [trial.id for trial in self.queue], "stops": dict(self.stops), **self.freezing.state()}

    def load_state(self, state: AdmissionState) -> None:
        """Go on where `state` was taken, with the pool and the log of then; trials that came later are in the queue."""
        lanes = {run.trial.id for lane in self.pool.lanes for run in lane.runs}
        self.freezing.load_state(state, self.known)
        lanes |= {trial.id for trial, _ in self.freezing.thawing} | self.freezing.parked(self.known)
        seen = lanes | {event.trial for event in self.log.ended} | {*state["queue"]}
        self.queue = [self.known[key] for key in [*state["queue"], *(key for key in self.known if key not in seen)]]
        self.stops = dict(state["stops"])
