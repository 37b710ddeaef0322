"""Stopping: a watcher that hears a cohort's trials, compares them with those of all cohorts, and says who stops."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espalier.core.training.events import Ended, Event, Reported, Scored, TrialId
from espalier.core.training.watch import Stops, Watcher
from espalier.sweeps.running.board import Judge
from espalier.sweeps.search.halving import RungKey
from espalier.sweeps.search.replicates import Gathering, leader_of, mean_score

COLLAPSED = "collapsed"
HOPELESS = ("diverged", COLLAPSED)  # verdicts that end a trial whatever its rank


class Referee(Watcher):
    """Hears what a cohort's members (a trial's replicates) say, and tells which of them stop, and why."""

    def __init__(
        self, rungs: Sequence[int], metric: str, sign: float, replicates: int, judge: Judge, collapsed: float = 0.01
    ):
        """sign: -1 where the metric is to grow. collapsed: the share of that threshold (verdicts.Thresholds)."""
        self.metric, self.sign, self.replicates = metric, sign, replicates
        self.rungs, self.ask, self.collapsed = rungs, judge, collapsed
        self.own: dict[RungKey, tuple[float, int]] = {}  # score, leader
        self.waiting: dict[int, Gathering[float]] = {}  # trial -> scores of its members, until all have theirs
        self.hopeless: dict[int, dict[str, int]] = {}  # trial -> member -> reports in a row that said so
        self.rates: dict[str, float] = {}  # at a member's last report
        self.lows: dict[int, float] = {}  # the least training loss of all members at each step
        self.over: set[int] = set()

    def hear(self, events: Iterable[Event], cohort: Stops) -> None:
        """Stop who is to stop."""
        for member, reason in self.rule(events).items():
            cohort.stop(member, reason)

    def rule(self, events: Iterable[Event]) -> dict[str, str]:
        """Take events in order and return the members to stop, each with the reason."""
        fresh: list[RungKey] = []
        stopped: dict[int, str] = {}
        for event in events:
            trial = event.trial_id.number
            match event:
                case Scored():
                    fresh += self._scored(trial, event)
                case Reported() if reason := self._reported(trial, event):
                    stopped[trial] = reason
                case Ended(status="diverged"):
                    stopped |= self._diverged(trial, event)
                case Ended(status="failed") if self.replicates > 1:
                    stopped[trial] = f"another seed failed: {event.evidence}"
                case _:
                    pass
        if fresh:
            entries = [(*place, *worth) for place, worth in self.own.items()]
            reasons = {trial: reason for (_, trial), reason in self.ask(entries, fresh).items() if reason}
            stopped = reasons | stopped
        for trial in [t for t in stopped if t in self.over]:
            del stopped[trial]
        self.over |= set(stopped)
        return {str(TrialId(trial, r)): reason for trial, reason in stopped.items() for r in range(self.replicates)}

    def _scored(self, trial: int, event: Scored) -> list[RungKey]:
        """Note a member's score; return the (rung, trial) that is complete with it, if any."""
        key = event.step, trial
        value = self.sign * event.values.get(self.metric, math.nan)
        waiting = self.waiting.setdefault(trial, Gathering(self.replicates))
        scores = waiting.add(event.step, event.trial_id, math.inf if math.isnan(value) else value)
        if not scores or key in self.own:
            return []
        self.own[key] = mean_score(scores), leader_of(event)
        return [key]

    def _reported(self, trial: int, event: Reported) -> str:
        """Return why a trial is hopeless: all its members have said so in their last two reports."""
        of_trial, member, step = self.hopeless.setdefault(trial, {}), event.trial, event.step
        loss, rate = event.values.get("train_loss", math.inf), event.values.get("lr", math.nan)
        rising, self.rates[member] = rate > self.rates.get(member, math.inf), rate
        self.lows[step] = min(loss, self.lows.get(step, math.inf))
        bad = event.verdict in HOPELESS and step >= self.rungs[0]
        if bad and event.verdict == COLLAPSED:
            bad = not rising and self._left_behind(step, loss)
        of_trial[member] = of_trial.get(member, 0) + 1 if bad else 0
        if len(of_trial) == self.replicates and min(of_trial.values()) >= 2:
            return f"{event.verdict} at step {step}: {event.evidence}"
        return ""

    def _left_behind(self, step: int, loss: float) -> bool:
        """Whether another member had left the loss of a constant guess by this step.

        Many a model begins on a plateau there, and leaves it late; where none has yet, none is worse than the others.
        """
        return min(low for at, low in self.lows.items() if at <= step) < loss * (1 - self.collapsed)

    def _diverged(self, trial: int, event: Ended) -> dict[int, str]:
        """A diverged trial is the worst at every rung it did not reach, and its other members end."""
        for rung in self.rungs:
            if rung > event.step:
                self.own[rung, trial] = math.inf, leader_of(event)
        return {trial: f"another seed diverged: {event.evidence}"} if self.replicates > 1 else {}

    def state(self) -> dict[str, Any]:
        """Return what a resumed referee needs."""
        return {
            "own": [[*place, *worth] for place, worth in self.own.items()],
            "heard": [
                [rung, trial, {str(member): score for member, score in scores.items()}]
                for trial, waiting in self.waiting.items()
                for rung, scores in waiting.waiting.items()
            ],
            "hopeless": self.hopeless,
            "rates": self.rates,
            "lows": self.lows,
            "over": sorted(self.over),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.own = {(rung, trial): (score, leader) for rung, trial, score, leader in state["own"]}
        self.waiting = {}
        for rung, trial, scores in state["heard"]:
            if (rung, trial) not in self.own:  # earlier versions kept also what was complete
                waiting = self.waiting.setdefault(trial, Gathering(self.replicates))
                waiting.waiting[rung] = {TrialId.parse(member): score for member, score in scores.items()}
        self.hopeless = {trial: dict(reports) for trial, reports in state["hopeless"].items()}
        self.rates, self.lows = dict(state["rates"]), dict(state["lows"])
        self.over = set(state["over"])
