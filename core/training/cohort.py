"""The training function: trials in, events out. One loop for one trial, a sweep, a rerun and a test.

N = lanes in use, S = steps of a stretch, B = examples in a batch, T = parameter tensors of two or more axes.
"""

import copy
import math
import traceback
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espalier.core.errors import BadInput, Differs, briefly, located
from espalier.core.measures.baselines import Baselines
from espalier.core.measures.ratios import Spacing, between, sample_steps
from espalier.core.order import Order
from espalier.core.programs import PROGRAMS
from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.programs.program import Program
from espalier.core.programs.task_functions import is_finite
from espalier.core.python_state.encoding import Unwritable
from espalier.core.rows import Lanes, Row, own_generators, part
from espalier.core.task import Data, Task
from espalier.core.training import trial as trials_
from espalier.core.training.events import Ended, Event, Forked, Reported, Scored, Started, Status
from espalier.core.training.trial import Structure, Trial
from espalier.core.training.watch import Health, Look, Ratios, Watcher

COMPARE_AT, COMPARE_EVERY = (0, 500), 20_000  # lane-steps at which one lane is held against PyTorch's own step: < 0.5 %
STRETCH = 64  # steps between looks at the losses: short enough to drop a diverged lane soon, long enough to be cheap
BLOCKS_PER_REPORT = 10  # points of the training curve between two reports


PROBES: Mapping[str, float | None] = {"probe": 0.1, "cooldown": None}
"""Scores for which a branch is trained on: the factor of core.training.trial.Probe."""

AVERAGE_EVERY, AVERAGE_POWER = 8, 6.94
"""The averaged weights: beta = (1 - m / t) ** (power + 1) at every m-th step t, so that the average's width stays a
tenth of the steps so far (Karras et al. 2024, arXiv:2312.02696, equation 2 with sigma_rel 0.10)."""


@dataclass(frozen=True)
class Scoring:
    """What trials are scored by at their rungs. Nothing of it changes a trial's own numbers.

    value: the validation there. probe: that of a branch after `steps` steps at a tenth of the rate. cooldown: that of a
    branch whose rate falls in a line to what the schedule ends with. average: that of a moving average of the weights.
    """

    kinds: tuple[str, ...] = ("probe",)
    steps: int = 100


@dataclass
class Rider:
    """A trial in a lane, and what it has said so far. With a `score` it is a probe that stands for the trial."""

    trial: Trial
    score: str = ""
    reported: int = 0  # the step of its last report
    curve: list[tuple[int, float]] = field(default_factory=list)
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)  # the last finite ones
    memory: dict[str, Any] = field(default_factory=dict)  # what watchers remember
    missing: dict[str, list[int]] = field(default_factory=dict)  # by metric: the reports in which it was no number

    def next_report(self) -> int:
        """Return the step after which the trial reports next."""
        return self.trial.next_report(self.reported)


@dataclass
class Lane:
    """Who rides in a lane and how far it is. Its numbers are the row of the same index."""

    riders: list[Rider]
    step: int = 0
    parting: int | None = None
    losses: list[float] = field(default_factory=list)  # of the last steps, back to the oldest report of a rider
    samples: list[list[float]] = field(default_factory=list)  # ratios, as in Reported
    awaited: list[str] = field(default_factory=list)  # trials for which a probe trains: the lane is parked till then
    python: dict[str, Any] | None = None  # what the task keeps in Python (core.python_state); None: as at the begin

    @property
    def trials(self) -> list[Trial]:
        """The trials of the riders."""
        return [rider.trial for rider in self.riders]

    @property
    def seed(self) -> int:
        """The seed that all riders have."""
        return self.riders[0].trial.seed

    def next_stop(self) -> int:
        """Return the step at which something happens to this lane."""
        marks = [mark for rider in self.riders for mark in (rider.next_report(), rider.trial.next_rung(self.step))]
        return min(mark for mark in [*marks, self.parting] if mark is not None)

    def losses_since(self, step: int) -> list[float]:
        """Return the losses of the steps from `step` on."""
        return self.losses[len(self.losses) - (self.step - step) :] if step < self.step else []

    def branch(self, riders: list[Rider], python: dict[str, Any] | None) -> "Lane":
        """Return a lane with the same past, other riders, and a copy of what the task keeps in Python for this one."""
        return Lane(riders, self.step, None, list(self.losses), list(self.samples), python=python)


class Cohort:
    """Trials that share one program and train together, as a stream of events.

    >>> from espalier.core.tasks.thermometer import Thermometer
    >>> from espalier.core.training.trial import Hyperparameters
    >>> task = Thermometer()
    >>> trials = [Trial(str(k), 0, 100, Hyperparameters(lr=10.0**-k)) for k in (2, 3)]
    >>> cohort = Cohort(task, task.data(), Structure(batch_size=11), trials)
    >>> [(event.trial, round(event.values["valid_loss"], 2)) for event in cohort.train() if isinstance(event, Ended)]
    [('2', 22.08), ('3', 28.94)]
    """

    def __init__(
        self,
        task: Task,
        data: Data,
        structure: Structure,
        trials: Sequence[Trial],
        lanes: int = 64,
        program: str | Program = "vmap",
        device: str = "cpu",
        ratio_samples: int = 50,
        scoring: Scoring = Scoring(),
        ratio_spacing: Spacing = "linear",
        watchers: Sequence[Watcher] = (Ratios(), Health()),
        curve_points: int = BLOCKS_PER_REPORT,
    ):
        """Make a cohort that has not begun.

        lanes: how many may train at once; the plain program takes one.
        program: the name of one, or one that was used before for the same task, optimizer and type.
        ratio_samples: how often the ratios of a trial are taken, 0 for never; ratio_spacing: how they lie.
        scoring: what trials that have rungs are scored by.
        watchers: who looks on. curve_points: blocks of the training curve between two reports.
        """
        dtype = getattr(torch, structure.dtype)
        self.task, self.device = task, device
        self.ratio_samples, self.ratio_spacing, self.curve_points = ratio_samples, ratio_spacing, curve_points
        self.watchers = list(watchers)
        self.scoring, self.averages = scoring, "average" in scoring.kinds and any(t.rungs for t in trials)
        self.program = PROGRAMS[program](task, structure.optimizer, dtype) if isinstance(program, str) else program
        self.structure = replace(structure, clocked=self.program.clocked)
        self.data = data.to(device, dtype)
        self.baselines = Baselines(task, self.data, structure.batch_size, dtype)
        self.matrices = self.program.parameters.matrices()
        self.room = self.most = 1 if self.program.min_width == 1 else max(1, lanes)
        row = {name: tensor.to(device) for name, tensor in self._fresh_row(0).items()}
        batch = tuple(tensor[: structure.batch_size] for tensor in self.data.train)
        self.hidden = self.program.hidden(batch, self.data.valid)
        if self.hidden.reason and self.program.min_width > 1:
            raise BadInput(f"program: {self.hidden.reason}; such a task can train by the plain program alone")
        if self.program.min_width == 1:
            self.hidden.clear()  # a set that remembers, say, the first batch
        self.program.prepare(batch)
        self.lanes = Lanes(row, self.program.width(self.room))
        self.riding: list[Lane] = []
        self.parked: list[tuple[Lane, Row]] = []
        self.queue = list(trials)
        self.known = {trial.id: trial for trial in trials}
        self.lane_steps = self.trial_steps = self.probe_steps = 0
        self.ended: list[Ended] = []
        self.stops: dict[str, str] = {}
        self.leaders: dict[str, str] = {}
        self.noted: list[Event] = []  # starts, forks and scores
        self.queue_first = False  # before lanes that are parked
        self._orders: dict[int, Order] = {}
        self.before: Callable[[Sequence[Lane]], None] = lambda lanes: None  # called with whom trains, or is validated
        self._compare_at, self._compared = list(COMPARE_AT), 0
        self._indexed: dict[tuple[int, int, int], Tensor] = {}
        self._trained: Lane | None = None  # by a plain program last

    def train(self) -> Iterator[Event]:
        """Train until every trial has ended."""
        while not self.done:
            yield from self.turn()

    def turn(self, most: int = STRETCH) -> list[Event]:
        """Train until something happens, or so many steps. Between turns a cohort may be saved, and trials stopped.

        Raises Differs where the program's steps are PyTorch's no more; what was trained since the last save is void.
        """
        with self.hidden.of_trial(None):  # whatever a task keeps in Python is as it was at first when others look on
            return self._turn(most)

    def _turn(self, most: int) -> list[Event]:
        self._settle()
        events = [*self._stop(), *self._part(), *self._fill()]
        while any(lane.parting == lane.step for lane in self.riding):  # one that was parked where its riders part
            events += [*self._part(), *self._fill()]
        if self.riding:
            self._compare()
            steps = min([most, *(lane.next_stop() - lane.step for lane in self.riding)])
            steps, lost = self._ordered(steps)
            if steps:
                with self._python():
                    losses_NS = self._advance(steps)
                events += self._drop_diverged(losses_NS)
            events += self._fail(lost)
            events += self._report() if steps else []
            self.program.raised.clear()  # what nobody took: of spare rows, and of averaged weights
            self.program.failed.clear()
        self._settle()
        for watcher in self.watchers:
            watcher.hear(events, self)
        return events

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return not (self.riding or self.parked or self.queue)

    def stop(self, trial: str, reason: str) -> None:
        """Ask that a trial end as stopped, with `reason` as evidence, before its next step."""
        self.stops[trial] = reason

    def sift(self, suspects: Mapping[str, int]) -> bool:
        """Let lanes train one at a time until the suspects, members of which one broke something, have got past.

        suspects: the step that each has to pass, or end at. To be called before each turn. Return whether any is left,
        or else all lanes train as before. No number changes, since a lane is what it is in any company.
        """

        def suspect(lane: Lane) -> bool:
            return any(lane.step <= suspects.get(rider.trial.id, -1) for rider in lane.riders)

        waiting = any(trial.id in suspects for trial in self.queue)
        left = waiting or any(suspect(lane) for lane in [*self.riding, *(lane for lane, _ in self.parked)])
        self.room = 1 if left else self.most
        self.queue_first = waiting and not any(suspect(lane) for lane, _ in self.parked)
        if left:
            for k in reversed([k for k, lane in enumerate(self.riding) if k or not suspect(lane)]):
                self.parked.append((self.riding[k], self.lanes.row(k)))
                self._free(k)
            self.parked.sort(key=lambda pair: not suspect(pair[0]))
            self.queue.sort(key=lambda trial: trial.id not in suspects)
        return left

    def leader(self, trial: str) -> str:
        """Return the first of the trials whose histories are one with this trial's so far, or were to its end."""
        return self.leaders.get(trial, trial)

    def said(self) -> list[Event]:
        """Return all that has been said so far, for somebody who was not there; of reports not verdicts and ratios."""
        lanes = [*self.riding, *(lane for lane, _ in self.parked)]
        riders = [rider for lane in lanes for rider in lane.riders if not rider.score]
        events: list[Event] = list(self.noted)
        for trial, reports, curve in [
            *((rider.trial.id, rider.reports, rider.curve) for rider in riders),
            *((event.trial, event.reports, event.curve) for event in self.ended),
        ]:
            begin = 0
            for step, values in reports:
                end = bisect_right(curve, step, key=itemgetter(0))
                events.append(Reported(trial, step, dict(values), curve[begin:end]))
                begin = end
        order = [Started, Forked, Reported, Scored]
        return [*sorted(events, key=lambda event: (event.step, order.index(type(event)))), *self.ended]

    def glimpse(self) -> tuple[str, int, float] | None:
        """Return the trial with the least training loss of late, its step and that loss (a mean over a stretch)."""
        seen = [(float(np.mean(lane.losses[-STRETCH:])), lane) for lane in self.riding if lane.losses]
        found = [(loss, lane) for loss, lane in seen if math.isfinite(loss) and not lane.riders[0].score]
        if not found:
            return None
        loss, lane = min(found, key=lambda pair: pair[0])
        return lane.trials[0].id, lane.step, loss

    @property
    def steps_shared(self) -> int:
        """Steps that trials did not have to train because another trial of the same history did."""
        return self.trial_steps + self.probe_steps - self.lane_steps

    # --- the turns of the loop -------------------------------------------------------------------------------------

    def _stop(self) -> Iterator[Event]:
        waiting = [Lane([Rider(trial)]) for trial in self.queue]
        for lane in [*self.riding, *(lane for lane, _ in self.parked), *waiting]:
            for rider in [r for r in lane.riders if r.trial.id in self.stops]:
                lane.riders.remove(rider)
                if not rider.score:
                    yield self._end(lane, rider, "stopped", self.stops[rider.trial.id])
        for lane, _ in self.parked:
            lane.awaited = [trial for trial in lane.awaited if trial not in self.stops]
        self.stops.clear()
        self.queue = [lane.riders[0].trial for lane in waiting if lane.riders]
        self._free_empty()

    def _part(self) -> Iterator[Event]:
        """Where riders' histories part, copy the row: the first group keeps the lane, the others wait for one."""
        for k, lane in enumerate(list(self.riding)):
            if lane.parting != lane.step:
                continue
            self._claim()
            riders = {rider.trial.id: rider for rider in lane.riders}
            groups = trials_.parted(self.structure, lane.trials, lane.step)
            lane.riders, *others = [[riders[trial.id] for trial in group] for group in groups]
            lane.parting = self._parting(lane)
            for other in others:
                branch = lane.branch(other, lane.python and self.hidden.copy(lane.python))
                branch.parting = self._parting(branch)
                self.parked.append((branch, self.lanes.row(k)))
                self._lead(branch)
                for rider in branch.riders:
                    if not rider.score:
                        yield self._note(Forked(rider.trial.id, lane.step, lane.trials[0].id))

    def _fill(self) -> Iterator[Event]:
        """Give free lanes to branches that wait, then to the queue; trials of one beginning get on together."""
        while self.lanes.used < self.room:
            ready = next((k for k, (lane, _) in enumerate(self.parked) if not lane.awaited), None)
            if ready is not None and not self.queue_first:
                lane, row = self.parked.pop(ready)
            elif not self._may_begin():
                return
            else:
                lane = Lane([Rider(trial) for trial in self._next_trials()])
                try:
                    row = self._fresh_row(lane.seed)
                except TRANSIENT_ERRORS:
                    raise
                except (Exception, SystemExit) as error:  # model() raises for this seed
                    yield from self._failed(lane, error)
                    continue
                lane.parting = self._parting(lane)
                self._lead(lane)
                for trial in lane.trials:
                    yield self._note(Started(trial.id, 0))
            self.lanes.fill(row)
            self.riding.append(lane)

    def _note(self, event: Event) -> Event:
        self.noted.append(event)
        return event

    def _lead(self, lane: Lane) -> None:
        self.leaders |= {rider.trial.id: lane.trials[0].id for rider in lane.riders if not rider.score}

    def _may_begin(self) -> bool:
        """Whether the next of the queue gets a free lane.

        One that costs nothing is kept for the first branch of each trunk: then trials end one after the other, and
        not all at last, when many trunks of one age have parted.
        """
        kept = sum(lane.parting is not None for lane in self.riding) if self.program.lanes_run_sequentially else 0
        return bool(self.queue) and (self.lanes.used + kept < self.room or not self.lanes.used)

    def _next_trials(self) -> list[Trial]:
        seed = self.queue[0].seed
        same_seed = [trial for trial in self.queue if trial.seed == seed]
        trials = trials_.parted(self.structure, same_seed, 0)[0]
        taken = {trial.id for trial in trials}
        self.queue = [trial for trial in self.queue if trial.id not in taken]
        return trials

    def _compare(self) -> None:
        """Now and then hold the next step of one lane, another each time, against PyTorch's own."""
        if self.program.min_width == 1 or self.lane_steps < self._compare_at[0]:
            return
        self._compare_at = self._compare_at[1:] or [self.lane_steps + COMPARE_EVERY]
        k = self._compared % len(self.riding)
        self._compared += 1
        lane = self.riding[k]
        row = {name: t for name, t in self.lanes.row(k).items() if not name.startswith("average.")}
        if lane.step >= lane.trials[0].steps or not is_finite(row):
            return
        table_C1 = trials_.history(self.structure, [lane.trials[0]], [lane.step], 1)[0].to(self.program.dtype)
        index_B = self._order(lane.seed, lane.step, 1)[0].to(self.device, torch.int64)
        here = self.data.train, index_B, table_C1.to(self.device), (lane.seed, lane.step)
        if difference := self.program.differs(row, *here):
            raise Differs(f"at step {lane.step} of trial {lane.trials[0].id} {difference}")

    def _ordered(self, steps: int) -> tuple[int, dict[int, BaseException]]:
        """Return how many of so many steps have an order of data for every lane; and the lanes whose next has none."""
        while True:
            lost: dict[int, BaseException] = {}
            for k, lane in enumerate(self.riding):
                try:
                    self._order(lane.seed, lane.step, steps)
                except TRANSIENT_ERRORS:
                    raise
                except (Exception, SystemExit) as error:
                    lost[k] = error
            if not lost or steps == 1:
                return (0 if lost else steps), lost
            steps = max(1, steps // 2)

    def _fail(self, lost: Mapping[int, BaseException]) -> Iterator[Event]:
        for k, error in lost.items():
            yield from self._failed(self.riding[k], error)
        self._free_empty()

    def _failed(self, lane: Lane, error: BaseException) -> Iterator[Event]:
        """End the trials of a lane for which the task raised; no other trial has met that."""
        riders, lane.riders = lane.riders, []
        for rider in riders:
            if rider.score:
                yield self._scored(rider, rider.score, {})
            else:
                reason = f"{located(error)}, at step {lane.step}"
                trace = "".join(traceback.format_exception(error))
                yield self._end(lane, rider, "failed", reason, trace)

    @contextmanager
    def _python(self) -> Iterator[None]:
        """Let the trial of a plain program have its own generators and state in Python while it trains."""
        if self.program.min_width > 1:  # nothing of Python is called
            yield
            return
        lane = self._trained = self.riding[0]
        with own_generators(), self.hidden.of_trial(lane.python):
            yield
            if self.hidden.cells:
                lane.python = self.hidden.taken()

    def _claim(self) -> None:
        """Let the lane that trained last have what its task turns out to keep in Python beyond what was known of."""
        if self._trained and (late := self.hidden.late()):
            self._trained.python = (self._trained.python or self.hidden.begin()) | late

    def _settle(self) -> None:
        """Leave nothing of a lane to the next."""
        if self._trained and not any(self._trained is lane for lane in self.riding):
            self._claim()
            self._trained = None

    def _advance(self, steps: int) -> np.ndarray:
        """Train every lane by `steps` steps and return the losses (N, S), float64."""
        self.before(self.riding)
        used = self.lanes.used
        width = self.lanes.width if self.program.fixed_width else self.program.width(used)
        lanes = [*self.riding, *[self.riding[0]] * (width - used)]  # spare rows take the first lane's batches
        ages = [lane.step for lane in lanes]
        leaders = [lane.trials[0] for lane in lanes]
        table_SCN = trials_.history(self.structure, leaders, ages, steps)
        table_SCN1 = table_SCN.to(self.device, self.program.dtype)[..., None]
        index_SNB = self._indexes(lanes, steps)
        sampled = self._samples_due(steps)
        rows = self.lanes.first(width)
        trained = {name: tensor for name, tensor in rows.items() if not name.startswith("average.")}
        losses: list[Tensor] = []
        ratios: list[tuple[int, list[int], Tensor]] = []
        s = 0
        while s < steps:
            due = sampled.get(s, [])
            stream = leaders[0].seed, ages[0] + s  # a program of many lanes draws nothing at random
            end = s + 1 if due else self._pause(s, steps, sampled)
            given = self.data.train, index_SNB[s:end], table_SCN1[s:end]
            if due:
                before = self._matrices_of(rows, due)
                loss_N, grads = self.program.safe_step(trained, given[0], given[1][0], given[2][0], stream, keep=True)
                after = self._matrices_of(rows, due)
                changes = self._matrices_of({f"theta.{name}": g for name, g in grads.items()}, due)
                ratios.append((s, due, self.program.ratios(before, after, changes)))
                losses.append(loss_N[:, None])
            else:
                losses.append(self.program.steps(trained, *given, stream))
            if self.averages:
                self._average(rows, end)
            s = end
        losses_NS = torch.cat(losses, 1)[:used].double().cpu().numpy()
        self._account(losses_NS, ratios, steps)
        return losses_NS

    def _pause(self, s: int, steps: int, sampled: Mapping[int, Any]) -> int:
        """Return how many of a turn's steps can be taken at once after the first s: up to what looks at the weights."""
        ends = [steps, *(at for at in sampled if at > s)]
        if self.averages:
            ages = (lane.step + s for lane in self.riding if not lane.riders[0].score)
            ends += [s + AVERAGE_EVERY - age % AVERAGE_EVERY for age in ages]
        return min(ends)

    def _drop_diverged(self, losses_NS: np.ndarray) -> Iterator[Event]:
        finite_NS = np.isfinite(losses_NS)
        steps = losses_NS.shape[1]
        for k, lane in enumerate(self.riding):
            if not finite_NS[k].all():
                bad = int(np.argmin(finite_NS[k]))
                lane.losses = lane.losses[: len(lane.losses) - steps + bad]
                lane.step += bad - steps
                yield from self._diverge(k)
        self._free_empty()

    def _diverge(self, k: int) -> Iterator[Event]:
        lane = self.riding[k]
        if k in self.program.failed:
            yield from self._failed(lane, self.program.failed.pop(k))
            return
        riders, lane.riders = lane.riders, []
        raised = self.program.raised.pop(k, "")
        reason = f"the model raised at step {lane.step}: {raised}" if raised else ""
        for rider in riders:
            if rider.score:
                yield self._scored(rider, rider.score, {})
                continue
            if losses := lane.losses_since(rider.reported):
                rider.values["train_loss"] = losses[-1]
            yield self._end(lane, rider, "diverged", reason)

    def _report(self) -> Iterator[Event]:
        """Validate the lanes in which a report or a score is due; riders of one lane say the same numbers."""
        for k, lane in enumerate(self.riding):
            due = [rider for rider in lane.riders if rider.next_report() == lane.step]
            at_rung = [rider for rider in lane.riders if lane.step in rider.trial.rungs]
            if due or (at_rung and "value" in self.scoring.kinds):
                valid = self._validate(k)
                if _lost(valid):
                    yield from self._diverge(k)
                    continue
                for rider in due:
                    yield from self._told(lane, rider, valid)
                kept = max((lane.step - rider.reported for rider in lane.riders), default=0)
                lane.losses = lane.losses[max(0, len(lane.losses) - kept) :]
                if "value" in self.scoring.kinds:
                    for rider in at_rung:
                        yield self._scored(rider, "value", valid, lane.step)
            if at_rung:
                yield from self._score(k, lane, at_rung)
        self._free_empty()

    def _told(self, lane: Lane, rider: Rider, valid: Mapping[str, float]) -> Iterator[Event]:
        if not rider.score:
            try:
                report = self._said(lane, rider, valid)
            except TRANSIENT_ERRORS:
                raise
            except (Exception, SystemExit) as error:  # a watcher's
                lane.riders.remove(rider)
                yield from self._failed(Lane([rider], lane.step, losses=list(lane.losses)), error)
                return
            yield report
        if rider.trial.steps == lane.step:
            lane.riders.remove(rider)
            if rider.score:
                yield self._scored(rider, rider.score, valid)
            else:
                yield self._end(lane, rider, "complete", "")

    def _score(self, k: int, lane: Lane, riders: list[Rider]) -> Iterator[Event]:
        """Score riders by averaged weights; send probes ahead, and park the lane until they are back."""
        self._claim()
        if self.averages:
            averaged = self._validate(k, "average." if lane.step >= AVERAGE_EVERY else "")  # there is none yet
            self.program.failed.pop(k, None)  # a validation of its own weights will tell
            for rider in riders:
                yield self._scored(rider, "average", averaged, lane.step)
        for kind in self.scoring.kinds:
            if kind in PROBES:
                trials = [rider.trial.probed(lane.step, self.scoring.steps, PROBES[kind]) for rider in riders]
                branch = Lane([Rider(trial, kind, reported=lane.step) for trial in trials], lane.step)
                branch.python = lane.python and self.hidden.copy(lane.python)
                branch.parting = self._parting(branch)
                self.parked.append((branch, self.lanes.row(k)))
                lane.awaited += [trial.id for trial in trials]
        if lane.awaited:
            self.parked.append((lane, self.lanes.row(k)))

    def _scored(self, rider: Rider, kind: str, valid: Mapping[str, float], step: int = 0) -> Event:
        """Say a score. That of a probe belongs to the step at which it left, and frees the lane that waits for it."""
        trial = rider.trial
        values = {} if _lost(valid) else _finite(valid)
        if trial.probe:
            step = trial.probe.start
            for lane, _ in self.parked:
                if trial.id in lane.awaited:
                    lane.awaited.remove(trial.id)
        return self._note(Scored(trial.id, step, values, kind, self.leader(trial.id)))

    # --- what the turns are made of --------------------------------------------------------------------------------

    def _fresh_row(self, seed: int) -> Row:
        row = self.program.fresh_row(seed)
        averaged = {name: t for name, t in row.items() if not name.startswith("slot.") and t.is_floating_point()}
        return row | ({f"average.{name}": t.clone() for name, t in averaged.items()} if self.averages else {})

    def _average(self, rows: Mapping[str, Tensor], trained: int) -> None:
        """Move the averages of the lanes that are due, so many steps after the turn's begin."""
        due = [
            (k, lane.step + trained)
            for k, lane in enumerate(self.riding)
            if (lane.step + trained) % AVERAGE_EVERY == 0 and not lane.riders[0].score
        ]
        if not due:
            return
        lanes = [k for k, _ in due]
        share = torch.tensor([1 - (1 - AVERAGE_EVERY / step) ** (AVERAGE_POWER + 1) for _, step in due])
        for name in [name for name in rows if name.startswith("average.")]:
            now, mean = rows[name.removeprefix("average.")][lanes], rows[name][lanes]
            column = share.to(now).view(-1, *[1] * (now.dim() - 1))
            rows[name][lanes] = mean + (now - mean) * column

    def _validate(self, k: int, prefix: str = "") -> dict[str, float]:
        """Return a lane's metrics over the validation split; with "average." those of its averaged weights."""
        rows = {name: rows[k] for name, rows in self.lanes.rows.items()}
        state, lane = rows | part(rows, prefix) if prefix else rows, self.riding[k]
        here = self.data.valid, (lane.seed, lane.step), lane.step / lane.riders[0].trial.budget
        self.before([lane])
        with self.hidden.of_trial(lane.python and self.hidden.spare(lane.python)):
            try:
                return self.program.evaluate(state, *here)
            except TRANSIENT_ERRORS:
                raise
            except (Exception, SystemExit) as error:
                if self.program.lane_caused_error(state, lambda row: self.program.evaluate(row, *here)):
                    self.program.raised[k] = briefly(error)
                else:
                    self.program.failed[k] = error
                return {"loss": math.nan}

    def _parting(self, lane: Lane) -> int | None:
        return trials_.parting_step(self.structure, lane.trials, lane.step) if len(lane.riders) > 1 else None

    def _said(self, lane: Lane, rider: Rider, valid: Mapping[str, float]) -> Event:
        """Make a rider's report of a validation and of what it trained since its last report."""
        losses = lane.losses_since(rider.reported)
        rider.values = _finite(valid)
        missing = {f"valid_{name}": [lane.step] for name, value in valid.items() if not math.isfinite(value)}
        for name in missing:
            rider.missing.setdefault(name, []).append(lane.step)
        rider.values |= {"train_loss": float(np.mean(losses)), "lr": self._rate(rider.trial, lane.step - 1)}
        curve = _blocks(losses, lane.step, self.curve_points)
        rider.curve += curve
        ratios = [row for row in self._samples_of(lane, rider.trial) if row[0] >= rider.reported]
        rider.reported = lane.step
        look = self._look(lane, rider, rider.curve)
        for watcher in self.watchers:
            rider.values |= watcher.measure(look)
        rider.reports.append((lane.step, dict(rider.values)))
        judged = self._judged(look)
        return Reported(rider.trial.id, lane.step, dict(rider.values), curve, ratios, missing=missing, **judged)

    def _look(
        self,
        lane: Lane,
        rider: Rider,
        curve: Sequence[tuple[int, float]],
        over: bool = False,
        diverged_at: int | None = None,
    ) -> Look:
        """Return a trial as its watchers see it."""
        samples = self._samples_of(lane, rider.trial)
        tensors = len(self.matrices)
        size = self.task.evaluation_batch_size
        return Look(
            trial=rider.trial,
            step=lane.step,
            curve=curve,
            tensors=self.matrices,
            ratio_steps=[int(sample[0]) for sample in samples],
            update_ratios=[sample[1 : 1 + tensors] for sample in samples],
            diverged_at=diverged_at,
            over=over,
            values=rider.values,
            baselines=self.baselines,
            memory=rider.memory,
            task=self.task,
            examples=tuple(tensor[:size] for tensor in self.data.valid),
            make_model=lambda: self.program.module(self._row_of(lane)),
        )

    def _row_of(self, lane: Lane) -> Row:
        places = [(riding, self.lanes.row(k)) for k, riding in enumerate(self.riding) if riding is lane] + self.parked
        return next((row for other, row in places if other is lane), None) or self._fresh_row(lane.seed)

    def _judged(self, look: Look) -> dict[str, str]:
        """Return the verdict of the first watcher that has one."""
        found = next((said for watcher in self.watchers if (said := watcher.judge(look))), None)
        return {"verdict": found.name, "evidence": found.evidence} if found else {}

    def _baselines_of(self, trial: Trial) -> dict[str, dict[str, float]]:
        return {"guess": dict(self.baselines.guess), "before": dict(self.baselines.before(trial.seed))}

    def _samples_of(self, lane: Lane, trial: Trial) -> list[list[float]]:
        """Return the ratios of a trial's own sampling steps; a lane may have taken more."""
        own = set(self._sampling(trial))
        return [list(sample) for sample in lane.samples if sample[0] in own]

    def _sampling(self, trial: Trial) -> tuple[int, ...]:
        return sample_steps(trial.steps, self.ratio_samples, self.ratio_spacing)

    def _rate(self, trial: Trial, step: int) -> float:
        schedule, _ = trials_.rates(self.structure, [trial])
        return float(schedule(step / trial.steps)[0])

    def _indexes(self, lanes: Sequence[Lane], steps: int) -> Tensor:
        found: dict[tuple[int, int], Tensor] = {}
        for lane in lanes:
            seed, first = lane.seed, lane.step
            if (seed, first) not in found:
                found[seed, first] = self._order(seed, first, steps)
        return torch.stack([found[lane.seed, lane.step] for lane in lanes], 1).to(self.device, torch.int64)

    def _order(self, seed: int, first: int, steps: int) -> Tensor:
        """Return the examples of some steps; those of the last asked for are kept, since a turn asks twice."""
        key = seed, first, steps
        if key not in self._indexed:
            if seed not in self._orders:
                self._orders[seed] = self.task.order(seed, len(self.data.train[0]), self.structure.batch_size)
            while len(self._indexed) > 2 * self.room:
                del self._indexed[next(iter(self._indexed))]
            self._indexed[key] = self._orders[seed](first, first + steps)
        return self._indexed[key]

    def _samples_due(self, steps: int) -> dict[int, list[int]]:
        """Return, for each step of a stretch, the lanes whose ratios are taken: every so many steps of their own."""
        due: dict[int, list[int]] = {}
        for k, lane in enumerate(self.riding if self.matrices else []):
            if not lane.riders[0].score:
                marks = {s for trial in lane.trials for s in between(self._sampling(trial), lane.step, steps)}
                for s in sorted(marks):
                    due.setdefault(s - lane.step, []).append(k)
        return due

    def _matrices_of(self, rows: Mapping[str, Tensor], lanes: list[int]) -> list[Tensor]:
        """Return a copy of every matrix of some lanes, each (lanes, P)."""
        which = torch.tensor(lanes, device=self.device)
        return [rows[f"theta.{name}"].index_select(0, which).flatten(1) for name in self.matrices]

    def _account(self, losses_NS: np.ndarray, ratios: list[tuple[int, list[int], Tensor]], steps: int) -> None:
        begins = [lane.step for lane in self.riding]
        for s, due, ratios_NT in ratios:
            for k, row in zip(due, ratios_NT.tolist(), strict=True):
                lane = self.riding[k]
                if np.isfinite(losses_NS[k, : s + 1]).all():
                    lane.samples.append([begins[k] + s, *row])
        for k, lane in enumerate(self.riding):
            lane.step += steps
            lane.losses.extend(losses_NS[k].tolist())
            self.lane_steps += steps
            if lane.riders[0].score:
                self.probe_steps += steps
            else:
                self.trial_steps += steps * len(lane.riders)

    def _end(self, lane: Lane, rider: Rider, status: Status, reason: str, trace: str = "") -> Event:
        trial = rider.trial
        curve = rider.curve + _blocks(lane.losses_since(rider.reported), lane.step, self.curve_points)
        look = self._look(lane, rider, curve, True, lane.step if status == "diverged" else None)
        judged = self._judged(look) if status != "failed" else {}
        event = Ended(
            trial.id,
            lane.step,
            status,
            dict(rider.values),
            **judged | ({"evidence": reason} if reason else {}),
            curve=curve,
            ratios=self._samples_of(lane, trial),
            tensors=list(self.matrices),
            reports=copy.deepcopy(rider.reports),
            baselines=self._baselines_of(trial) if status == "complete" and self.watchers else {},
            missing=copy.deepcopy(rider.missing),
            trace=trace,
            leader=self._leader_of_end(trial.id, status),
        )
        self.ended.append(event)
        return event

    def _leader_of_end(self, trial: str, status: Status) -> str:
        return "" if status == "stopped" else self.leader(trial)

    def _free_empty(self) -> None:
        for k in reversed([k for k, lane in enumerate(self.riding) if lane.awaited or not lane.riders]):
            self._free(k)
        self.parked = [(lane, row) for lane, row in self.parked if lane.riders]

    def _free(self, k: int) -> None:
        last = self.lanes.free(k)
        self.riding[k] = self.riding[last]
        self.riding.pop()

    # --- checkpoints -----------------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether a checkpoint takes all that the trials keep in Python."""
        with suppress(Unwritable):
            self._claim()
            for lane in [*self.riding, *(lane for lane, _ in self.parked)]:
                self.hidden.encoded(lane.python)
            return True
        return False

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed cohort needs beside its task, data and trials.

        Raises core.python_state.encoding.Unwritable where the task keeps what no checkpoint takes.
        """

        self._claim()

        def ending(trial: Trial) -> list[Any]:
            return [trial.probe.start, trial.steps - trial.probe.start, trial.probe.factor] if trial.probe else []

        def plain(lane: Lane) -> dict[str, Any]:
            riders = [asdict(rider) | {"trial": rider.trial.id, "probe": ending(rider.trial)} for rider in lane.riders]
            python = self.hidden.encoded(lane.python)
            return {"lane": asdict(replace(lane, python=None)) | {"riders": riders, "python": python}}

        return {
            "riding": [plain(lane) | {"row": self.lanes.row(k)} for k, lane in enumerate(self.riding)],
            "parked": [plain(lane) | {"row": row} for lane, row in self.parked],
            "queue": [trial.id for trial in self.queue],
            "stops": dict(self.stops),
            "leaders": dict(self.leaders),
            "noted": [event.to_json() for event in self.noted],
            "ended": [event.to_json() for event in self.ended],
            "lane_steps": self.lane_steps,
            "trial_steps": self.trial_steps,
            "probe_steps": self.probe_steps,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Trials that had ended by then do not train again; see `ended`."""

        def rider(saved: Mapping[str, Any]) -> Rider:
            pairs = {name: [tuple(pair) for pair in saved[name]] for name in ("curve", "reports")}
            fields: dict[str, Any] = dict(saved) | pairs
            trial, ending = self.known[fields["trial"]], fields.pop("probe")
            fields["trial"] = trial.probed(*ending) if ending else trial
            return Rider(**fields)

        def lane(saved: Mapping[str, Any]) -> Lane:
            python = self.hidden.decoded(saved["python"])
            return Lane(**dict(saved) | {"riders": [rider(r) for r in saved["riders"]], "python": python})

        state = copy.deepcopy(dict(state))
        self.lanes.used = 0
        self.riding = [lane(saved["lane"]) for saved in state["riding"]]
        for saved in state["riding"]:
            self.lanes.fill(saved["row"])
        self.parked = [(lane(saved["lane"]), saved["row"]) for saved in state["parked"]]
        self.queue = [self.known[key] for key in state["queue"]]
        self.stops, self.leaders = dict(state["stops"]), dict(state["leaders"])
        self.noted = [Event.from_json(event) for event in state["noted"]]
        ended = (Event.from_json(event) for event in state["ended"])
        self.ended = [  # a checkpoint of an earlier version does not say which trial leads
            replace(event, leader=self._leader_of_end(event.trial, event.status))
            for event in ended
            if isinstance(event, Ended)
        ]
        for name in ("lane_steps", "trial_steps", "probe_steps"):
            setattr(self, name, state[name])
        self._compare_at = [self.lane_steps + steps for steps in COMPARE_AT]


def _lost(valid: Mapping[str, float]) -> bool:
    """Whether a validation tells that a trial diverged: its loss is no number, or nothing else of it is.

    Another metric may have no value without harm: a precision while nothing is found.
    """
    return not math.isfinite(valid.get("loss", 0.0)) or not any(map(math.isfinite, valid.values()))


def _finite(valid: Mapping[str, float]) -> dict[str, float]:
    return {f"valid_{name}": value for name, value in valid.items() if math.isfinite(value)}


def _blocks(losses: Sequence[float], last: int, most: int) -> list[tuple[int, float]]:
    """Return the means of up to `most` equal blocks, each with the number of the step it ends after."""
    if not losses:
        return []
    parts = np.array_split(np.asarray(losses), min(most, len(losses)))
    ends = last - len(losses) + np.cumsum([len(part) for part in parts])
    return [(int(end), float(part.mean())) for end, part in zip(ends, parts, strict=True)]
