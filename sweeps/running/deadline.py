"""The end of a search whose budget is in time: what trains when the time is up is asked to end, by a file."""

from contextlib import suppress
from pathlib import Path
from time import monotonic

from espalier.sweeps.running.machine import Allocation
from espalier.sweeps.running.progress import clock
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TimeBudget

KEEP_S = 15.0  # between writes of what is used: a driver that is killed loses so much at most


def time_budget(record: SweepRecord, allocation: Allocation) -> TimeBudget:
    """Return the time of a sweep as this driver has it, from now on."""
    budget, (used_s, training_s) = record.spec.budget, record.time
    assert budget.seconds
    weight = 1.0 if budget.gpu_hours is None else allocation.cohorts * allocation.gpus
    return TimeBudget(budget.seconds, budget.steps, used_s, training_s, weight)


class Deadline:
    """Watches over the time of a search. file: once it is there, workers end what they train of the search."""

    def __init__(self, record: SweepRecord, search: Search, time: TimeBudget, file: Path):
        self.record, self.search, self.time, self.file = record, search, time, file
        self.kept_at = 0.0
        self.called = False  # whether what trains was asked to end

    @property
    def searching(self) -> bool:
        """Whether trials of the search train, or may be asked for; not confirmations, nor references."""
        search = self.search
        return not search.planner.all_asked or bool(search.merging.keys() - search.asker.confirmations.keys())

    def begin(self, cohort: str, ago_s: float) -> None:
        """Note that a worker began to train a cohort so long ago: its start is no part of the speed of training."""
        if plan := self.search.live.get(cohort):
            self.time.rebegin(plan.numbers, ago_s)

    def check(self) -> None:
        """Ask what trains to end if the time is up, and store from time to time what is used. Called often."""
        if not self.searching:
            self.time.stop()
        elif self.time.over and not self.called:
            self.called = True
            self.search.planner.close()
            with suppress(OSError):  # without it they train to the ends of their pieces
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.touch()
        if monotonic() - self.kept_at > KEEP_S:
            self.keep()

    def keep(self) -> None:
        """Store what is used."""
        self.kept_at = monotonic()
        self.record.set_time(self.time.state())

    @property
    def ends_at(self) -> float | None:
        """When the time will be up, on the monotonic clock; None once the search has ended."""
        return monotonic() + self.time.left_s if self.searching else None

    @property
    def why_over(self) -> str:
        """Why the search has ended, if that is for its time; else ""."""
        if self.searching or self.time.reach >= 1:
            return ""
        rest = "" if self.time.over else f", but for {clock(self.time.left_s)} in which nothing more would have ended"
        return f"the budget of {self.record.spec.budget.time_text} is spent{rest}"
