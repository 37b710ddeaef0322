"""A search without Ray: a sweep on disk, and one process after another that works on it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from espalier.core.training.events import Event
from espalier.sweeps.running.parked_ends import ParkedEnds
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TimeBudget
from espalier.sweeps.search.trial_events import TrialEvent
from espalier.sweeps.spec.space import Choice, DecayPoints, Range
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import life, spec_with

BRANCHED = spec_with(
    space={"lr_exponent": {"low": -3, "high": -1}, "decay_points": {"low": 0.4, "high": 0.9, "branches": 4}},
    search={"sampler": "random", "seed": 3},
    trials=16,
)
STRUCTURED = spec_with(
    space={"lr_exponent": {"low": -3, "high": -1}, "scale": [0.1, 1.0], "batch_size": [4, 11]},
    search={"sampler": "random", "seed": 3},
    trials=20,
)


class Desk:
    """A sweep on disk, and one process after another that works on it; each remembers nothing of the one before."""

    def __init__(
        self,
        folder: Path,
        spec: SweepSpec,
        cohorts: int = 2,
        cohort_trials: int = 4,
        time_of: Callable[[SweepRecord], TimeBudget | None] = lambda record: None,
    ):
        """time_of: the time of a process, where it limits the search."""
        self.spec, self.cohorts, self.cohort_trials = spec, cohorts, cohort_trials
        self.journal = str(folder / "home" / "optuna.journal")
        SweepStore.open(self.journal).create("warm-20260101-abcd", spec, {"created": "2026-01-01"})
        self.events: list[TrialEvent] = []
        self.runs: dict[int, str] = {}
        self.checkpoints: dict[str, str] = {}
        self.ends, self.time_of = ParkedEnds(folder / "states"), time_of
        self.search = self.take_up()

    def take_up(self) -> Search:
        """Return the search of a new process, which knows what the storage knows."""
        record = SweepStore.open(self.journal).find("warm")
        time, find = self.time_of(record), self.ends.find
        self.search = Search(record, self.cohorts, self.cohort_trials, self.checkpoints, find_ends=find, time=time)
        return self.search

    def hear(self, events: Sequence[Event]) -> None:
        """Let the search hear events, and keep what it makes of them."""
        self.events += self.search.take_events(events)

    def settle(self) -> None:
        """Tell Optuna of every trial that has ended."""
        self.search.settle(self.runs, everything=True)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials as another process reads them."""
        return SweepStore.open(self.journal).find("warm").study.get_trials()

    def states(self) -> Counter[str]:
        """How many trials are in each state."""
        return Counter(trial.state.name for trial in self.trials)

    def of(self, kind: type) -> list[Any]:
        """The events of trials of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def loss_of(point: Mapping[str, Any]) -> float:
    return (point["lr_exponent"] + 2) ** 2 + sum(point.get("decay_points", []))


def finish(search: Search, lives: Callable[[int, float], list[Event]] = life) -> list[Sequence[PlannedTrial]]:
    """Train all cohorts to their ends; return the trials of each."""
    seen = []
    while not search.exhausted:
        suggestion = search.next_cohort()
        if suggestion is None and search.exhausted:  # it has just found that nothing is left to be confirmed
            break
        assert suggestion is not None
        seen.append(suggestion.trials)
        for trial in suggestion.trials:
            search.take_events(lives(trial.number, loss_of(trial.point)))
        search.cohort_over(suggestion.id)
    search.settle(everything=True)
    return seen


def assert_inside(point: Mapping[str, Any], spec: SweepSpec) -> None:
    """Hold a point to its space, by the space's own words."""
    named = {name: getattr(spec.space, name) for name in type(spec.space).model_fields} | spec.space.own()
    for name, domain in named.items():
        value = point.get(name)
        if isinstance(domain, Choice):
            assert value in domain.choices
        elif isinstance(domain, DecayPoints):
            assert len(value) == domain.count
            assert value == sorted(value)
            assert all(domain.low <= share <= domain.high for share in value)
        elif isinstance(domain, Range):
            assert domain.low <= value <= domain.high
            assert not domain.integer or value == int(value)
            steps = 0 if domain.step is None else (value - domain.low) / domain.step
            assert abs(steps - round(steps)) < 1e-6
        elif isinstance(domain, list):
            assert value in domain
        else:
            assert value == domain
