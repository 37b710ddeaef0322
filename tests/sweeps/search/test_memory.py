"""A trial that gets no memory has failed, and the search learns to stay away from where it was."""

from pathlib import Path

from espalier.core.measures.verdicts import OUT_OF_MEMORY
from espalier.core.training.events import Started
from espalier.sweeps.search.search import Search
from tests.sweeps.made import end, life, spec_with
from tests.sweeps.search.desk import Desk

WIDTHS = {"lr_exponent": -1.0, "scale": {"low": 1, "high": 4000}}
MOST = 1000.0  # the widest that fits into memory


def test_a_search_proposes_hardly_any_more_of_what_gets_no_memory(tmp_path: Path) -> None:
    spec = spec_with(space=WIDTHS, trials=60, search={"sampler": "tpe", "seed": 1})
    desk = Desk(tmp_path, spec, cohorts=1, cohort_trials=1)
    wide = [number for number in train_all(desk.search) if number >= 30]
    desk.settle()
    assert len(wide) <= 15  # of 30; three quarters of the range get none
    records = desk.take_up().record.trials()
    failed = [record for record in records if record.state == "failed"]
    assert failed and all(record.verdict == OUT_OF_MEMORY and record.value is None for record in failed)
    assert {record.state for record in records} == {"failed", "complete"}


def train_all(search: Search) -> list[int]:
    """Train all trials, each by itself; return those that got no memory."""
    without: list[int] = []
    while plan := search.next_cohort():
        for trial in plan.trials:
            if trial.point["scale"] > MOST:
                without.append(trial.number)
                gone = end(f"{trial.number}/0", 0, 0.0, "failed", verdict=OUT_OF_MEMORY, values={}, reports=[])
                search.take_events([Started(f"{trial.number}/0", 0), gone])
            else:
                search.take_events(life(trial.number, abs(trial.point["scale"] - 900) / 100))
        search.cohort_over(plan.id)
        search.settle(everything=True)
    return without
