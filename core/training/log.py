"""A log of a cohort's events and of its leading trials, to replay for a caller that missed them."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TypedDict

from espalier.core.training.events import Ended, Event, EventJson, Forked, Parked, Reported, Scored, Started, Status
from espalier.core.training.lane import Lane

_ORDER: Sequence[type[Event]] = [Started, Forked, Reported, Scored, Parked]  # the order of events at one step


class LogState(TypedDict):
    """An EventLog in a checkpoint: leaders and events. noted: starts, forks, scores and parkings."""

    leaders: dict[str, str]
    noted: list[EventJson]
    ended: list[EventJson]


class EventLog:
    """Starts, forks, scores and parkings (`events`), and the ends. Reports are stored with their trials."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended: list[Ended] = []
        self.leaders: dict[str, str] = {}

    def note(self, event: Event) -> Event:
        """Add a start, a fork, a score or a parking, and return it."""
        self.events.append(event)
        return event

    def end(self, event: Ended) -> Ended:
        """Add an end, and return it."""
        self.ended.append(event)
        return event

    def lead(self, lane: Lane) -> None:
        """Record that the first trial of a lane leads the others."""
        self.leaders |= {run.trial.id: lane.leader.id for run in lane.runs if not run.score}

    def leader(self, trial: str) -> str:
        """Return the first of the trials that share this trial's history so far, or shared it to its end."""
        return self.leaders.get(trial, trial)

    def leader_at_end(self, trial: str, status: Status) -> str:
        """Return the value of `Ended.leader`."""
        return "" if status == "stopped" else self.leader(trial)

    def reports_of(self, lane: Lane) -> Iterator[Event]:
        """Yield the reports so far of a lane's trials. They have neither verdicts nor ratios."""
        for run in lane.runs:
            if not run.score:
                yield from reported(run.trial.id, run.reports, run.curve)

    def replay(self, lanes: Sequence[Lane]) -> list[Event]:
        """Return all events so far, in order. Reports have neither verdicts nor ratios.

        lanes: those that have not ended.
        """
        events = [*self.events, *(report for lane in lanes for report in self.reports_of(lane))]
        for event in self.ended:
            events += reported(event.trial, event.reports, event.curve)
        return [*sorted(events, key=lambda event: (event.step, _ORDER.index(type(event)))), *self.ended]

    def state(self) -> LogState:
        """Return the state for a checkpoint."""
        return {
            "leaders": dict(self.leaders),
            "noted": [event.to_json() for event in self.events],
            "ended": [event.to_json() for event in self.ended],
        }

    def load_state(self, state: LogState) -> None:
        """Continue from `state`, also of an earlier version, whose ends do not name the leading trial."""
        self.leaders = dict(state["leaders"])
        self.events = [Event.from_json(event) for event in state["noted"]]
        ended = (Event.from_json(event) for event in state["ended"])
        self.ended = [
            replace(event, leader=self.leader_at_end(event.trial, event.status))
            for event in ended
            if isinstance(event, Ended)
        ]


def reported(
    trial: str, reports: Sequence[tuple[int, Mapping[str, float]]], curve: Sequence[tuple[int, float]]
) -> Iterator[Reported]:
    """Yield a trial's reports from what its run has kept of them. They have neither verdicts nor ratios."""
    begin = 0
    for step, values in reports:
        end = bisect_right(curve, step, key=itemgetter(0))
        yield Reported(trial, step, dict(values), curve[begin:end])
        begin = end
