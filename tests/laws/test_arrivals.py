"""Law: a trial that arrives while others train has the numbers of its solo run, also after a kill."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core import checkpoint
from espalier.core.training.events import Event
from espalier.core.training.trial import Structure, Trial
from tests.laws.cases import Case, Engine, crowds, every_program, results
from tests.laws.resuming import turns
from tests.tiers import examples

pytestmark = pytest.mark.each_value
Crowd = tuple[str, Structure, list[Trial]]


@examples(30)
@given(crowd=crowds(most=7), lanes=st.integers(1, 4), first=st.integers(1, 3), data=st.data())
def test_trials_that_arrive_later_equal_their_solo_runs(
    engine: Engine, crowd: Crowd, lanes: int, first: int, data: st.DataObject
) -> None:
    task, structure, trials = crowd
    cohort = engine.cohort(task, structure, trials[:first], lanes)
    seen: list[Event] = []
    for trial in trials[first:]:
        for turn in itertools.islice(turns(cohort), data.draw(st.integers(0, 4))):
            seen += turn
        cohort.add([trial])
    seen += cohort.train()
    assert results(seen) == engine.all_alone(task, structure, trials)


@every_program
@pytest.mark.parametrize("known", [True, False], ids=["in the checkpoint", "after the checkpoint"])
def test_a_trial_that_arrived_before_a_kill_is_not_lost(
    engine: Engine, program: str, known: bool, tmp_path: Path
) -> None:
    """Whether the last checkpoint was taken before the trial arrived, or after."""
    case = Case("names with BatchNorm", "Adam", "step", 0.0)
    trials, path = case.trials(), tmp_path / "cohort.pt"
    cohort = engine.cohort(case.task, case.structure, trials[:2], 2, program)
    seen = [event for turn in itertools.islice(turns(cohort), 2) for event in turn]
    if known:
        cohort.add(trials[2:])
    checkpoint.save(path, cohort.state())
    again = engine.cohort(case.task, case.structure, trials, 2, program)
    again.load_state(checkpoint.load(path))
    seen += again.train()
    assert results(seen) == engine.all_alone(case.task, case.structure, trials, program)


def test_idle_lanes_are_those_that_nobody_waits_for(engine: Engine) -> None:
    case = Case("names", "SGD", "step", 0.0)
    trials = case.trials()
    cohort = engine.cohort(case.task, case.structure, trials[:1], 3)
    assert cohort.idle == 2
    cohort.turn()
    assert cohort.idle == 2
    cohort.add(trials[1:3])
    assert cohort.idle == 0
    list(cohort.train())
    assert (cohort.idle, cohort.done) == (3, True)
