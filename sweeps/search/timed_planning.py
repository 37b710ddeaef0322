"""Plan whole trials for a budget in time: each begins only if it can end in time, by the speed measured so far."""

from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.cohort_plan import CohortPlan
from espalier.sweeps.search.planning import Planner
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TimeBudget
from espalier.sweeps.spec.spec import TRIALS_MOST


class TimedPlanner(Planner):
    """Asks for trials until none more would end in time; of a grid for no more than its points."""

    def __init__(self, asker: Asker, cohorts: int, cohort_trials: int, time: TimeBudget, record: SweepRecord):
        super().__init__(asker, cohorts, cohort_trials)
        self.time, self.record = time, record
        self.closed = record.search_over

    @property
    def wanted(self) -> int:
        """How many trials there are, and one more while the search goes on."""
        return self.asker.asked + (not self.all_asked)

    def may_ask(self) -> int:
        """Return how many more trials may be asked for now; none more once there were none."""
        most = self.spec.space.grid_size() if self.spec.search.sampler == "grid" else TRIALS_MOST
        if self.asker.asked >= most or self.time.reach < 1:
            self.close()
        return 0 if self.closed else most - self.asker.asked

    @property
    def all_asked(self) -> bool:
        """Whether no more trials are asked for."""
        return self.closed

    def ask(self) -> list[CohortPlan]:
        """Ask for the trials of a trunk; return them as cohorts."""
        return self._grouped(self._asked(self.spec.branches))

    def close(self) -> None:
        """Ask for no more."""
        self.closed = True
        self.record.set_search_over()
