"""Watchers: callbacks on trials in training - ratios, activations, verdicts, stopping. All get the same events.

A watcher changes no trial's numbers. It may add values to a report, judge a trial, stop one, or only observe.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from espalier.core.measures.activations import listening
from espalier.core.measures.ratios import summary
from espalier.core.measures.verdicts import Thresholds, Verdict, median, no_better, verdict, while_learning
from espalier.core.task import Batch, Task, call
from espalier.core.training.baselines import Baselines
from espalier.core.training.events import Ended, Event, Forked, Parked, Reported, Scored, Started
from espalier.core.training.trial import Trial


@dataclass(frozen=True)
class Look:
    """A trial at a report or at its end, as passed to watchers.

    curve: (step, mean training loss) of all blocks so far.
    ratio_steps: where ratios were sampled. update_ratios: a row for each of these, a number for each of `tensors`.
    diverged_at: the step of a non-finite loss. over: whether the trial has ended. values: its last report.
    baselines: the values of a constant guess, and of the trial's model before training.
    memory: plain values by name that watchers store with this trial; saved with checkpoints.
    examples: the first of the validation split; do not change them.
    """

    trial: Trial
    step: int
    curve: Sequence[tuple[int, float]]
    tensors: Sequence[str]
    ratio_steps: Sequence[int]
    update_ratios: Sequence[Sequence[float]]
    diverged_at: int | None
    over: bool
    values: Mapping[str, float]
    baselines: Baselines
    memory: dict[str, object]
    task: Task
    examples: Batch
    make_model: Callable[[], nn.Module]

    @property
    def batch(self) -> Batch:
        """Return a copy of the first validation examples."""
        return tuple(tensor.clone() for tensor in self.examples)

    def model(self) -> nn.Module:
        """Return a copy of the trial's present model, in evaluation mode."""
        return self.make_model().eval()


class Stops(Protocol):
    """The methods of a cohort that a watcher may use."""

    def stop(self, trial: str, reason: str) -> None:
        """Ask that a trial end as stopped, with `reason` as evidence, before its next step."""
        ...

    def leader(self, trial: str) -> str:
        """Return the first of the trials that share this trial's history so far, or shared it to its end."""
        ...


class Watcher:
    """The base of watchers. Override what you need; the other methods do nothing.

    Events are `espalier.Event`s, and `cohort.stop(event.trial, reason)` stops a trial.
    """

    def measure(self, look: Look) -> Mapping[str, float]:
        """Return values to add to a trial's report. They are recorded like the others."""
        return {}

    def judge(self, look: Look) -> Verdict | None:
        """Return a verdict on a trial, or None to leave it to the next watcher."""
        return None

    def handle(self, events: Iterable[Event], cohort: Stops) -> None:
        """Handle the events of a turn, in order: each goes to the method of its type."""
        for event in events:
            match event:
                case Started():
                    self.start(event, cohort)
                case Forked():
                    self.fork(event, cohort)
                case Reported():
                    self.report(event, cohort)
                case Scored():
                    self.score(event, cohort)
                case Parked():
                    self.park(event, cohort)
                case Ended(status="stopped"):
                    self.stop(event, cohort)
                case Ended():
                    self.finish(event, cohort)
                case _:
                    raise TypeError(f"no kind of event: {event}")

    def start(self, event: Started, cohort: Stops) -> None:
        """A trial begins."""

    def report(self, event: Reported, cohort: Stops) -> None:
        """A trial was validated."""

    def fork(self, event: Forked, cohort: Stops) -> None:
        """A branch leaves its trunk."""

    def score(self, event: Scored, cohort: Stops) -> None:
        """A trial was scored at a rung."""

    def park(self, event: Parked, cohort: Stops) -> None:
        """A trial has left its cohort before its end."""

    def finish(self, event: Ended, cohort: Stops) -> None:
        """A trial was completed, diverged, or failed."""

    def stop(self, event: Ended, cohort: Stops) -> None:
        """A trial was stopped."""


class Ratios(Watcher):
    """Adds the median, the spread over tensors and the trend of the update ratios so far."""

    def measure(self, look: Look) -> Mapping[str, float]:
        measured = summary(look.ratio_steps, look.update_ratios)
        values = {
            "update_ratio": measured.median,
            "update_ratio_spread": measured.spread,
            "update_ratio_trend": measured.trend,
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}


class Health(Watcher):
    """Judges by loss and ratios; at the end by the objective, too: is it better than its baselines?"""

    def __init__(self, thresholds: Thresholds | None = None, metric: str = "valid_loss", mode: str = "min"):
        """metric, mode: the objective; a trial that does not report it is judged by its training loss."""
        self.thresholds = thresholds or Thresholds()
        self.metric, self.mode = metric, mode

    def judge(self, look: Look) -> Verdict | None:
        still = -math.inf  # after a step that changed no tensor
        ratios = [still if row and set(row) == {still} else median(row) for row in look.update_ratios]
        guess = look.baselines.guess.get("train_loss", math.nan)
        over = look.over and look.diverged_at is None
        start, beaten = math.nan, ""
        if over:
            start = look.baselines.before(look.trial.seed).get("train_loss", math.nan)
            beaten = self._beaten(look)
        sampled = list(zip(look.ratio_steps, ratios, strict=True))
        return verdict(
            [loss for _, loss in look.curve],
            while_learning(look.curve, sampled, start),
            look.diverged_at,
            guess,
            self.thresholds,
            start=start,
            over=look.over,
            beaten=beaten,
        )

    def _beaten(self, look: Look) -> str:
        """Return why the objective ended no better than its baselines; "" if it is better, or unknown."""
        guess, before = look.baselines.guess, look.baselines.before(look.trial.seed)
        name, mode = (self.metric, self.mode) if self.metric in look.values else ("train_loss", "min")
        value = look.values.get(name, math.nan)
        return no_better(name, value, guess.get(name, math.nan), before.get(name, math.nan), mode, self.thresholds)


class Activations(Watcher):
    """Adds to each report the share of activations that are saturated or dead, over all layers of that kind.

    activation_saturated: outputs of tanh and sigmoid where they pass hardly any gradient.
    activation_dead: units after a ReLU or the like that are at zero or below for every example. See
    core.measures.activations.
    """

    def measure(self, look: Look) -> Mapping[str, float]:
        model = look.model()
        with torch.no_grad(), listening(model) as layers:
            call(look.task.metrics, model, look.batch)
        measured = {
            "activation_saturated": [layer.saturated() for layer in layers],
            "activation_dead": [layer.dead() for layer in layers],
        }
        known = {name: [share for share in shares if share is not None] for name, shares in measured.items()}
        return {name: sum(shares) / len(shares) for name, shares in known.items() if shares}
