"""A cohort as a Ray Tune trainable: it trains for about a second, reports a turn, and can be saved and restored."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from espalier.core.garbage import gc_paused

with gc_paused():
    import ray
    import torch
    from ray import tune
    from ray.exceptions import RayError
    from torch.utils._pytree import tree_map_only

    from espalier.core import checkpoint
    from espalier.core.errors import Differs, briefly, located
    from espalier.core.loading.folders import use_copy, work_in
    from espalier.core.training.cohort import Cohort
    from espalier.core.training.events import Event, Repeated, Started, TrialId
    from espalier.core.training.log import reported
    from espalier.core.training.resume import LaneWithRow
    from espalier.core.training.trial import Trial
    from espalier.core.training.watch import Watcher
    from espalier.sweeps import cohorts as plan
    from espalier.sweeps import engine as lanes
    from espalier.sweeps.home import COHORT_FILE, NO_ROOM
    from espalier.sweeps.references import reference, reference_spec
    from espalier.sweeps.running.board import ask_for_trials, judge
    from espalier.sweeps.running.deaths import own_name
    from espalier.sweeps.running.engines import AnyCohort, Engine, ProcessEngine, State
    from espalier.sweeps.running.messages import Assignment, Glimpse, TaskError, Turn, WorkerSettings
    from espalier.sweeps.running.referee import Referee
    from espalier.sweeps.running.states import States
    from espalier.sweeps.running.watchdog import Watchdog
    from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
    from espalier.sweeps.search.halving import Halving
    from espalier.sweeps.search.time_budget import TIME_UP
    from espalier.sweeps.spec.spec import SweepSpec

Saved = dict[str, Any]
"""What a cohort's checkpoint holds: the engine's state, the referee's, and how the cohort trains."""
TURN_S = 1.0  # a report costs the driver a few ms, so a turn is long compared with that and short for a user
TRANSIENT_ERRORS = (MemoryError, OSError, torch.OutOfMemoryError, torch.AcceleratorError, RayError)
CHECKPOINT_S = 10.0  # the most work that a crash can lose, in seconds


def make_referee(spec: SweepSpec, sweep: str) -> Referee | None:
    """Return the referee of a cohort; None without stopping."""
    if spec.stopping is None or spec.search.by_pieces:
        return None
    sign = spec.objective.sign
    asks = judge(sweep, Halving(spec.stopping, sign))
    return Referee(plan.rungs(spec), spec.objective.metric, sign, spec.replicates, asks, spec.health.collapsed)


def engine_of(spec: SweepSpec, settings: WorkerSettings, by_pieces: bool) -> Engine:
    """Return the engine of a spec. by_pieces: whether its trials are trained in pieces."""
    if spec.is_foreign:
        return ProcessEngine(spec, settings)
    return LaneEngine(spec, States(Path(settings.states)) if by_pieces else None)


class LaneEngine:
    """Trains lanes of a task. states: of the trials, where these train in pieces."""

    def __init__(self, spec: SweepSpec, states: States | None):
        self.spec, self.states = spec, states
        self.replayed: list[Event] = []
        self.cohort: Cohort | None = None

    def program_for(self, trials: Sequence[PlannedTrial], lanes_most: int, device: str, expected: int) -> Provenance:
        """Choose the program, and how many lanes train at once."""
        return lanes.program_for(self.spec, trials, lanes_most, device, expected)

    def why_not_as_begun(self, trials: Sequence[PlannedTrial], begun: Provenance, device: str) -> str | None:
        """Return why the program of then is not available here."""
        return lanes.why_not_as_begun(self.spec, trials, begun, device)

    def begin(
        self, trials: Sequence[PlannedTrial], provenance: Provenance, watcher: Watcher | None, saved: State | None
    ) -> Cohort:
        """Make the cohort of trials of one structure."""
        self.replayed = []
        self.cohort = cohort = lanes.make_cohort(self.spec, trials, provenance, watcher, self._state_of)
        if saved:
            cohort.load_state(saved)
            # a driver gets the last turns only after their checkpoint is complete: a resuming one may have got fewer
            self.replayed = cohort.events_so_far()
        return cohort

    def _state_of(self, trial: PlannedTrial, replicate: Trial) -> LaneWithRow | None:
        """Return the state from which a piece goes on."""
        if self.states is None or trial.piece is None:
            return None
        number = TrialId.parse(replicate.id)
        state = self.states.find(number.number, number.replicate, trial.piece, replicate.steps)
        if state and (run := state["lane"]["riders"][0])["trial"] == replicate.id:
            # a driver that has died may not have had them; repeated events do nothing
            self.replayed += [Started(replicate.id, 0), *reported(replicate.id, run["reports"], run["curve"])]
        step = state["lane"]["step"] if state else 0
        if step < trial.piece.begin:  # there was no room for it on the disk
            self.replayed.append(Repeated(replicate.id, step, trial.piece.begin))
        return state

    def add(self, trials: Sequence[PlannedTrial]) -> None:
        """Give more trials to the cohort."""
        assert self.cohort
        lanes.add_trials(self.cohort, self.spec, trials, self._state_of)

    def keep(self, trials: Sequence[PlannedTrial]) -> None:
        """Write the states at which pieces end, or branches may begin."""
        if self.states and self.cohort:
            self.states.keep(self.cohort.take_frozen(), trials)

    def keep_recent(self) -> bool:
        """Write the present states of pieces."""
        if self.states is None or self.cohort is None:
            return True
        self.states.keep_recent(self.cohort)
        return False

    def state(self) -> State | None:
        """Return the state of the cohort; that of pieces is written instead."""
        if not self.keep_recent() or self.cohort is None:
            return None
        return self.cohort.state()

    def take_notes(self) -> Sequence[str]:
        """Return nothing: lanes share by construction."""
        return ()

    def discard(self, trials: Sequence[PlannedTrial]) -> None:
        """Remove the states that pieces have written."""
        if self.states:
            self.states.discard(trials)

    def close(self) -> None:
        """Do nothing: lanes are of this process."""


class CohortTrainable(tune.Trainable):
    """Trains the cohorts that Tune assigns to this worker, one after another."""

    def setup(self, config: dict[str, str]) -> None:
        self.close_engine()
        self.cohort: AnyCohort | None = None
        self.halt: str | None = None  # why training cannot continue here until the user has fixed something
        self.provenance: Provenance | None = None
        assignment = Assignment.from_config(config)
        before: Watchdog | None = getattr(self, "watchdog", None)
        notes = Path(assignment.settings.notes)
        self.watchdog = Watchdog(notes, own_name(notes, assignment.plan.id), assignment.settings.patience_s)
        if before:
            before.close()
        self.begun, self.stop_file = False, Path(assignment.settings.stop_file)
        folder = assignment.plan.resume_from
        saved = checkpoint.load(Path(folder) / COHORT_FILE) if folder else None
        self.error = self._catching(lambda: None if self.stop_file.exists() else self._begin(assignment, saved))

    def _catching(self, call: Callable[[], object]) -> TaskError | None:
        """Call a function; return an error of the task's code, which would be raised again.

        Other errors may not recur: they propagate, and the driver restarts the cohort from its last checkpoint.
        """
        with self.watchdog.watching():
            try:
                call()
            except (Exception, SystemExit) as error:
                if isinstance(error, TRANSIENT_ERRORS) and not isinstance(error, FileNotFoundError):
                    self.watchdog.last_word(located(error))
                    raise
                return TaskError(located(error), traceback.format_exc())
        return None

    def _begin(self, assignment: Assignment, saved: Saved | None) -> None:
        settings, cohort_plan = assignment.settings, assignment.plan
        work_in(settings.folder)
        use_copy(settings.copy)
        torch.set_num_threads(settings.threads)
        self.assignment, self.saved = assignment, saved
        spec = SweepSpec.model_validate(settings.spec)
        self.spec = spec = reference_spec(spec, reference(cohort_plan.reference)) if cohort_plan.reference else spec
        trials = cohort_plan.trials
        self.ask_for_trials = ask_for_trials(settings.sweep, cohort_plan.id) if spec.asks_late else None
        confirming = trials[0].confirms is not None
        self.referee = None if confirming else make_referee(spec, settings.sweep)
        self.engine = engine = engine_of(spec, settings, by_pieces=any(trial.piece for trial in trials))
        device = "cuda" if settings.device == "cuda" and torch.cuda.is_available() else "cpu"
        begun = _provenance_in(saved, device) if saved else assignment.provenance
        if begun:  # trials that have begun continue with their own program, even with fewer trials or on another node
            self.halt = engine.why_not_as_begun(trials, begun, device)
            self.provenance = replace(begun, device=device)
        else:
            expected = settings.cohort_trials if spec.asks_late or confirming or cohort_plan.reference else 0
            self.provenance = engine.program_for(trials, settings.lanes, device, expected)
        if self.halt:
            return
        self.cohort = engine.begin(trials, self.provenance, self.referee, saved)
        if saved and self.referee:
            self.referee.load_state(saved["referee"])
        for number in cohort_plan.without:
            for replicate in range(spec.replicates):
                self.cohort.stop(str(TrialId(number, replicate)), "failed before")
        self.suspects = dict(cohort_plan.suspects)
        self.cohort.observe(self.watchdog.beat, self._note_training)
        self.saved_at = time.monotonic()

    def _note_training(self, lanes: Sequence[Mapping[str, int]]) -> None:
        """Tell the watchdog which trials the next calls are for."""
        assert self.provenance
        self.watchdog.training(lanes, self.provenance.program)

    def close_engine(self) -> None:
        """End what an earlier cohort has left running."""
        engine: Engine | None = getattr(self, "engine", None)
        if engine:
            engine.close()

    def cleanup(self) -> None:
        """End what still runs, since Tune ends this worker."""
        self.close_engine()

    def reset_config(self, new_config: dict[str, str]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, object]:
        """Train until a turn is over or all trials have ended; nothing if the driver stops before the first step."""
        if not self.begun and self.stop_file.exists():
            self.cohort = None
        self.begun = True
        if self.cohort is None:
            node = ray.get_runtime_context().get_node_id()
            return Turn(node, done=True, error=self.error, halt=self.halt).to_result()
        cohort, events, self.engine.replayed = self.cohort, self.engine.replayed, []
        self.error = self._catching(lambda: self._train(cohort, events))
        cohort = self.cohort  # a new one, if it has fallen back to plain PyTorch
        due = time.monotonic() - self.saved_at > CHECKPOINT_S and not self.error
        if due:
            self.saved_at = time.monotonic()
            with self.watchdog.watching():  # this calls methods of the task's objects
                due = self.engine.keep_recent() and cohort.writable  # else it starts over, with the same numbers
        turn = self._turn(cohort, events)
        return replace(turn, done=cohort.done or self.error is not None, error=self.error).to_result(due)

    def _turn(self, cohort: AnyCohort, events: Sequence[Event]) -> Turn:
        """Return a report to the driver: the events, and how far the cohort is."""
        glimpse = cohort.glimpse()
        return Turn(
            ray.get_runtime_context().get_node_id(),
            done=False,
            events=events,
            provenance=self.provenance,
            lane_steps=cohort.lane_steps,
            steps_shared=cohort.steps_shared,
            glimpse=Glimpse(TrialId.parse(glimpse[0]), *glimpse[1:]) if glimpse else None,
            trained_s=time.monotonic() - self.turn_began,
            notes=self.engine.take_notes(),
        )

    def _train(self, cohort: AnyCohort, events: list[Event]) -> None:
        """Train for one turn, adding to the events."""
        self.turn_began = begin = time.monotonic()
        before = len(events)
        if self._time_is_up():
            self._stop_all(cohort)
        try:
            while not cohort.done and time.monotonic() - begin < TURN_S:
                if self.suspects and not cohort.isolate(self.suspects):
                    self.suspects = {}
                events.extend(cohort.turn())
                self.engine.keep(self.assignment.plan.trials)
                if self._may_ask(cohort) and self._ask(cohort, events):
                    before = 0
        except Differs as error:
            del events[before:]
            self._train_plainly(str(error))

    def _time_is_up(self) -> bool:
        """Whether the time of the search is up, which the cohort trains a part of."""
        settings, plan = self.assignment.settings, self.assignment.plan
        searches = not plan.reference and all(trial.confirms is None for trial in plan.trials)
        return self.spec.budget.seconds is not None and searches and Path(settings.time_file).exists()

    def _stop_all(self, cohort: AnyCohort) -> None:
        for trial in self.assignment.plan.trials:
            for replicate in range(self.spec.replicates):
                cohort.stop(str(TrialId(trial.number, replicate)), TIME_UP)

    def _may_ask(self, cohort: AnyCohort) -> bool:
        """Whether enough lanes are idle for another trunk."""
        free = cohort.idle >= self.spec.replicates or cohort.done
        return free and not self.suspects and self.ask_for_trials is not None

    def _ask(self, cohort: AnyCohort, events: list[Event]) -> bool:
        """Report the events and ask for more trials. Where there are none, the cohort ends with those that it has.

        Return whether there was an answer. Without one the events are kept for the next turn: repeated ones do nothing.
        """
        assert self.ask_for_trials
        with self.watchdog.resting():
            trials = self.ask_for_trials(self._turn(cohort, events), cohort.idle)
        if trials is None:
            self.ask_for_trials = None
            return False
        events.clear()
        self.engine.add(trials)
        self.assignment = replace(self.assignment, plan=self.assignment.plan.joined_by(trials))
        if not trials:
            self.ask_for_trials = None
        return True

    def _train_plainly(self, why: str) -> None:
        """Fall back to plain PyTorch from the last checkpoint; training since is discarded."""
        assert self.provenance
        plain = replace(self.provenance, program="plain", why=f"one lane at a time: {why}")
        saved = self.saved | plain.to_json() if self.saved else None
        self.engine.discard(self.assignment.plan.trials)
        self._begin(replace(self.assignment, provenance=plain), saved)

    def save(self, checkpoint_dir: str | None = None) -> object:
        """Save as Tune does; a full disk is not retried."""
        try:
            return super().save(checkpoint_dir)
        except OSError as error:
            halt = error.errno in NO_ROOM
            self.watchdog.last_word(f"a checkpoint cannot be written: {briefly(error)}", halt=halt)
            raise

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        if self.cohort is None or self.provenance is None:
            return
        more = self.provenance.to_json() | ({"referee": self.referee.state()} if self.referee else {})
        with self.watchdog.watching():
            own = self.engine.state()
        if own is None:
            return
        state = dict(own) | more
        state = tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), state)
        checkpoint.save(Path(checkpoint_dir) / COHORT_FILE, state)
        self.saved = state


def _provenance_in(saved: Saved, device: str) -> Provenance:
    """Return the provenance of a saved cohort. device: for checkpoints of the first versions, which lack it."""
    return Provenance(saved["program"], saved["why"], saved["lanes"], saved.get("device", device))
