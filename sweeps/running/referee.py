"""Early stopping: a watcher that compares a cohort's trials with those of all cohorts, and stops some."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espalier.core.training.events import Ended, Event, Reported, Scored, TrialId
from espalier.core.training.watch import Stops, Watcher
from espalier.sweeps.running.board import Judge
from espalier.sweeps.search.halving import RungKey
from espalier.sweeps.search.replicates import Gathering, leader_of, mean_score

COLLAPSED = "collapsed"
HOPELESS = ("diverged", COLLAPSED)  # verdicts that stop a trial whatever its rank


class Referee(Watcher):
    """Decides by the events of a cohort's replicates which of them stop, and why."""

    def __init__(
        self, rungs: Sequence[int], metric: str, sign: float, replicates: int, judge: Judge, collapsed: float = 0.01
    ):
        """sign: -1 for a metric to maximise. collapsed: the threshold of that name (verdicts.Thresholds)."""
        self.metric, self.sign, self.replicates = metric, sign, replicates
        self.rungs, self.ask, self.collapsed = rungs, judge, collapsed
        self.own: dict[RungKey, tuple[float, int]] = {}  # score, leader
        self.waiting: dict[int, Gathering[float]] = {}  # trial -> scores of its replicates, until all have been scored
        self.hopeless: dict[int, dict[str, int]] = {}  # trial -> replicate -> hopeless reports in a row
        self.rates: dict[str, float] = {}  # at a replicate's last report
        self.lows: dict[int, float] = {}  # the lowest training loss of all replicates at each step
        self.over: set[int] = set()

    def handle(self, events: Iterable[Event], cohort: Stops) -> None:
        """Stop the replicates that `rule` returns."""
        for replicate, reason in self.rule(events).items():
            cohort.stop(replicate, reason)

    def rule(self, events: Iterable[Event]) -> dict[str, str]:
        """Take events and return the replicates to stop, each with the reason.

        Only the order of a trial's own events matters: those of one call are judged together.
        """
        events, fresh = list(events), list[RungKey]()
        self._note_lows(event for event in events if isinstance(event, Reported))
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
        """Add a replicate's score; return the (rung, trial) that it completes, if any."""
        key = event.step, trial
        value = self.sign * event.values.get(self.metric, math.nan)
        waiting = self.waiting.setdefault(trial, Gathering(self.replicates))
        scores = waiting.add(event.step, event.trial_id, math.inf if math.isnan(value) else value)
        if not scores or key in self.own:
            return []
        self.own[key] = mean_score(scores), leader_of(event)
        return [key]

    def _reported(self, trial: int, event: Reported) -> str:
        """Return why a trial is hopeless, else "": the last two reports of each replicate have a hopeless verdict."""
        of_trial, replicate, step = self.hopeless.setdefault(trial, {}), event.trial, event.step
        loss, rate = _loss(event), event.values.get("lr", math.nan)
        rising, self.rates[replicate] = rate > self.rates.get(replicate, math.inf), rate
        bad = event.verdict in HOPELESS and step >= self.rungs[0]
        if bad and event.verdict == COLLAPSED:
            bad = not rising and self._left_behind(step, loss)
        of_trial[replicate] = of_trial.get(replicate, 0) + 1 if bad else 0
        if len(of_trial) == self.replicates and min(of_trial.values()) >= 2:
            return f"{event.verdict} at step {step}: {event.evidence}"
        return ""

    def _note_lows(self, reports: Iterable[Reported]) -> None:
        for report in reports:
            self.lows[report.step] = min(_loss(report), self.lows.get(report.step, math.inf))

    def _left_behind(self, step: int, loss: float) -> bool:
        """Whether another replicate was better than a constant guess by this step.

        Many models start on a plateau there, and leave it late. While all are on it, none is worse than the others.
        """
        return min(low for at, low in self.lows.items() if at <= step) < loss * (1 - self.collapsed)

    def _diverged(self, trial: int, event: Ended) -> dict[int, str]:
        """Rank a diverged trial worst at every rung it did not reach, and stop its other replicates."""
        for rung in self.rungs:
            if rung > event.step:
                self.own[rung, trial] = math.inf, leader_of(event)
        return {trial: f"another seed diverged: {event.evidence}"} if self.replicates > 1 else {}

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "own": [[*place, *worth] for place, worth in self.own.items()],
            "heard": [
                [rung, trial, {str(replicate): score for replicate, score in scores.items()}]
                for trial, waiting in self.waiting.items()
                for rung, scores in waiting.waiting.items()
            ],
            "hopeless": self.hopeless,
            "rates": self.rates,
            "lows": self.lows,
            "over": sorted(self.over),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.own = {(rung, trial): (score, leader) for rung, trial, score, leader in state["own"]}
        self.waiting = {}
        for rung, trial, scores in state["heard"]:
            if (rung, trial) not in self.own:  # earlier versions also stored complete trials
                waiting = self.waiting.setdefault(trial, Gathering(self.replicates))
                waiting.waiting[rung] = {TrialId.parse(replicate): score for replicate, score in scores.items()}
        self.hopeless = {trial: dict(reports) for trial, reports in state["hopeless"].items()}
        self.rates, self.lows = dict(state["rates"]), dict(state["lows"])
        self.over = set(state["over"])


def _loss(report: Reported) -> float:
    return report.values.get("train_loss", math.inf)
