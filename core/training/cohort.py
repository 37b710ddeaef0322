"""The training loop: trials in, events out. One loop for one trial, a sweep, a rerun and a test."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from torch import nn

from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.rows import Lanes, Row
from espalier.core.training.admission import Admission, AdmissionState
from espalier.core.training.averages import Averages
from espalier.core.training.baselines import Baselines
from espalier.core.training.batches import Batches
from espalier.core.training.comparison import Comparison
from espalier.core.training.ends import Ends
from espalier.core.training.events import Ended, Event
from espalier.core.training.freezing import Frozen
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.lane_python import LanePython
from espalier.core.training.log import EventLog, LogState
from espalier.core.training.pool import LanePool
from espalier.core.training.reports import Reports, Views
from espalier.core.training.resume import LaneWithRow, PoolState, load_pool_state, pool_state
from espalier.core.training.sampling import Sampling
from espalier.core.training.scores import Scores
from espalier.core.training.setup import CohortSetup
from espalier.core.training.stretch import Trainer, Work, WorkState, account
from espalier.core.training.trial import Trial
from espalier.core.training.validation import Validation, is_diverged
from espalier.core.training.watching import handle

STRETCH = 64  # steps between checks of the losses: few, to drop a diverged lane soon; many, to be cheap


class CohortState(PoolState, AdmissionState, LogState, WorkState):
    """A cohort in a checkpoint."""


class Cohort:
    """Trials that share one program and train together, as a stream of events.

    >>> from espalier.core.tasks.thermometer import Thermometer
    >>> from espalier.core.training.trial import Hyperparameters, Structure, Trial
    >>> task = Thermometer()
    >>> trials = [Trial(str(k), 0, 100, Hyperparameters(lr=10.0**-k)) for k in (2, 3)]
    >>> cohort = Cohort(CohortSetup(task, task.data(), Structure(batch_size=11), trials))
    >>> [(event.trial, round(event.values["valid_loss"], 2)) for event in cohort.train() if isinstance(event, Ended)]
    [('2', 22.08), ('3', 28.94)]
    """

    def __init__(self, setup: CohortSetup):
        """Make a cohort. Raises BadInput for a task that its program cannot train."""
        task, scoring = setup.task, setup.scoring
        self.program = program = setup.make_program()
        self.structure = structure = replace(setup.structure, clocked=program.clocked)
        self.data = data = setup.data.to(setup.device, setup.dtype)
        self.watchers = list(setup.watchers)
        baselines = Baselines(task, data, structure.batch_size, setup.dtype)
        self.averages = averages = Averages(setup.wants_averages)
        sampling = Sampling(program.parameters.matrices(), setup.ratio_samples, setup.ratio_spacing)
        most = 1 if program.min_width == 1 else max(1, setup.lanes)
        row = {name: tensor.to(setup.device) for name, tensor in self._new_row(0).items()}
        batch = tuple(tensor[: structure.batch_size] for tensor in data.train)
        self.python = LanePython(program, batch, data.valid)
        program.prepare(batch)
        self.pool = LanePool(Lanes(row, program.width(most)), most)
        self.log, self.work = EventLog(), Work()
        self.before: Callable[[Sequence[Mapping[str, int]]], object] = lambda lanes: None
        """Called with the lanes that train next, or the one that is validated next: see `observe`."""
        self.batches = Batches(task, len(data.train[0]), structure.batch_size, most_kept=2 * most)
        self.trainer = Trainer(program, structure, data.train, self.batches, sampling, averages, self.pool)
        self.comparison = Comparison(program, structure, data.train, self.batches, self.pool)
        self.validation = Validation(program, data.valid, self.pool, self.python, self._note)
        views = Views(task, data, baselines, sampling, self._model_of)
        self.reports = Reports(views, self.watchers, structure, setup.curve_points)
        self.ends = Ends(program, self.pool, self.log, self.reports)
        self.scores = Scores(
            scoring, structure, self.pool, self.ends, self.python, averages, self.validation, setup.curve_points
        )
        self.admission = Admission(
            setup.trials,
            structure,
            self.pool,
            self.log,
            self.python,
            self.ends,
            self._new_row,
            program.lanes_run_sequentially,
        )

    def _new_row(self, seed: int) -> Row:
        """Return the initial state for a seed."""
        return self.averages.with_averages(self.program.fresh_row(seed))

    def _model_of(self, lane: Lane) -> nn.Module:
        """Return the model of a lane with its present weights."""
        return self.program.module(self.pool.row_of(lane) or self._new_row(lane.seed))

    # --- the loop ----------------------------------------------------------------------------------------------------

    def train(self) -> Iterator[Event]:
        """Train until every trial has ended; yield the events."""
        while not self.done:
            yield from self.turn()

    def turn(self, most: int = STRETCH) -> list[Event]:
        """Train up to the next events, or `most` steps; return the events.

        Between turns a cohort may be saved, and trials may be stopped. Raises Differs where the program's steps no
        longer agree with PyTorch's; training since the last save is then invalid.
        """
        with self.python.initial():
            self.python.settle(self.pool.active)
            events = [*self.admission.stop_asked(), *self.admission.advance()]
            if self.pool.active:
                events += self._train_stretch(most)
            self.python.settle(self.pool.active)
            for watcher in self.watchers:
                handle(watcher, events, self)
            return events

    def _train_stretch(self, most: int) -> Iterator[Event]:
        """Train all active lanes up to the next report, rung, fork or end of one of them; yield the events."""
        active = self.pool.active
        self.comparison.check(self.work.lane_steps)
        steps = min([most, *(lane.next_stop() - lane.step for lane in active)])
        steps, errors = self.batches.available(active, steps)
        if steps:
            with self.python.training(active):
                self._note(active)
                trained = self.trainer.train(steps)
            account(active, trained, self.work)
            yield from self.ends.drop_diverged(trained.losses_NS)
        yield from self.ends.fail_each(errors)
        if steps:
            yield from self._validate_due()
        self.program.raised.clear()  # errors of spare rows and of averaged weights, which belong to no trial
        self.program.failed.clear()

    def _validate_due(self) -> Iterator[Event]:
        """Validate the lanes with a report or a score due; runs that share a lane report the same numbers."""
        for k, lane in enumerate(self.pool.active):
            due = [run for run in lane.runs if run.next_report() == lane.step]
            at_rung = [run for run in lane.runs if lane.step in run.trial.rungs]
            metrics: Mapping[str, float] = {}
            if due or (at_rung and self.scores.validates):
                metrics = self.validation.metrics(k)
                if is_diverged(metrics):
                    yield from self.ends.diverge(k)
                    continue
                for run in due:
                    yield from self._report_and_maybe_finish(lane, run, metrics)
                lane.forget_reported_losses()
            if at_rung:
                yield from self.scores.at_rung(k, lane, at_rung, metrics)
        self.pool.free_idle()

    def _report_and_maybe_finish(self, lane: Lane, run: TrialRun, metrics: Mapping[str, float]) -> Iterator[Event]:
        if not run.score:
            try:
                report = self.reports.report(lane, run, metrics)
            except TRANSIENT_ERRORS:
                raise
            except (Exception, SystemExit) as error:  # from a watcher
                yield from self.ends.fail_run(lane, run, error)
                return
            yield report
        if run.trial.steps == lane.step:
            lane.runs.remove(run)
            if run.score:
                yield from self.scores.score(lane, run, run.score, metrics)
            else:
                yield self.ends.end(lane, run, "complete")

    def _note(self, lanes: Sequence[Lane]) -> None:
        self.before([{run.trial.id: lane.step for run in lane.runs} for lane in lanes])

    def observe(self, beat: Callable[[int], None], before: Callable[[Sequence[Mapping[str, int]]], object]) -> None:
        """Call `beat` with the steps that one call is about to make, and `before` with the lanes that train next.

        A lane is given as its trials, each with its step.
        """
        self.program.beat, self.before = beat, before

    # --- for the caller ----------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return not (self.pool.lanes or self.admission.queue or self.admission.freezing.thawing)

    @property
    def idle(self) -> int:
        """How many more lanes could train: neither taken, nor spoken for by lanes that wait or trials of the queue."""
        waiting = len(self.admission.queue) + len(self.admission.freezing.thawing)
        return max(0, self.pool.room - len(self.pool.lanes) - waiting)

    def add(self, trials: Sequence[Trial]) -> None:
        """Take more trials of the same structure, to begin when lanes are free. To be called between turns.

        Their ids must be new. Rungs they may have only where the trials before them had some.
        """
        self.admission.add(trials)

    def thaw(self, trial: Trial, frozen: LaneWithRow) -> None:
        """Let a trial go on from a frozen state of its own, or, as a branch, of another with the same history so far.

        frozen: the `lane` of a `Frozen`, from this cohort or from one of the same structure, maybe through a file.
        Raises ValueError for a state of another structure, or of a cohort that is scored otherwise.
        """
        before = frozen["lane"]["riders"][0]["trial"]
        if trial.id != before:
            self.work.trial_steps += frozen["lane"]["step"]  # which it need not train
        self.admission.thaw(trial, frozen)

    def take_frozen(self) -> list[Frozen]:
        """Return the states that were kept or parked since the last call: to be called after each turn."""
        return self.admission.freezing.take()

    def states(self) -> Iterator[Frozen]:
        """Yield the present states of all trials that train. Raises core.python_state.encoding.Unwritable."""
        return self.admission.freezing.states()

    def stop(self, trial: str, reason: str) -> None:
        """Ask that a trial end as stopped, with `reason` as evidence, before its next step."""
        self.admission.stops[trial] = reason

    def isolate(self, suspects: Mapping[str, int]) -> bool:
        """Train one lane at a time until all suspects have passed, to find the trial that caused a failure.

        suspects: by trial key, the step that it has to pass or end at. Call this before each turn. Return whether any
        is left; if none is, all lanes train together again. Results stay the same: a lane does not depend on its
        neighbours.
        """
        return self.admission.isolate(suspects)

    def leader(self, trial: str) -> str:
        """Return the first of the trials that share this trial's history so far, or shared it to its end."""
        return self.log.leader(trial)

    @property
    def ended(self) -> list[Ended]:
        """The ends so far."""
        return self.log.ended

    def events_so_far(self) -> list[Event]:
        """Return all events so far, for a caller that missed them. Reports have neither verdicts nor ratios."""
        return self.log.replay(self.pool.lanes)

    def glimpse(self) -> tuple[str, int, float] | None:
        """Return the trial with the lowest recent training loss (a mean over a stretch), its step and that loss."""
        recent = [
            (float(np.mean(lane.losses[-STRETCH:])), lane)
            for lane in self.pool.active
            if lane.losses and not lane.is_probe
        ]
        finite = [(loss, lane) for loss, lane in recent if math.isfinite(loss)]
        if not finite:
            return None
        loss, lane = min(finite, key=lambda pair: pair[0])
        return lane.leader.id, lane.step, loss

    @property
    def lane_steps(self) -> int:
        """Steps trained, summed over lanes."""
        return self.work.lane_steps

    @property
    def steps_shared(self) -> int:
        """Steps saved because trials with the same history share a lane."""
        return self.work.trial_steps + self.work.probe_steps - self.work.lane_steps

    # --- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether a checkpoint can hold the trials' state in Python."""
        return self.python.is_writable(self.pool.lanes)

    def state(self) -> "CohortState":
        """Return everything that a resumed cohort needs besides its task, data and trials.

        Raises core.python_state.encoding.Unwritable if the task has state that no checkpoint can hold.
        """
        self.python.claim()
        lanes = pool_state(self.pool, self.python)
        return {**lanes, **self.admission.state(), **self.log.state(), **self.work.state()}

    def load_state(self, saved: Mapping[str, object]) -> None:
        """Go on where `state` was taken. Trials that had ended by then do not train again; see `ended`.

        Trials that were added later train from their beginning.
        """
        state = cast("CohortState", copy.deepcopy(dict(saved)))
        load_pool_state(self.pool, self.python, self.admission.known, state)
        for part in (self.log, self.admission, self.work):
            part.load_state(state)
        self.comparison.restart(self.work.lane_steps)
