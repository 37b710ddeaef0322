"""Law 3: a resumed run equals the uninterrupted run."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core import checkpoint
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event
from espalier.core.training.scores import Scoring
from espalier.core.training.trial import Structure, Trial
from tests.laws.cases import (
    OPTIMIZERS,
    STEPS,
    TASKS,
    Case,
    Engine,
    crowds,
    every_case,
    every_program,
    stream,
)
from tests.laws.resuming import counts, resumed, turns
from tests.laws.scoring import with_rungs
from tests.tiers import examples

pytestmark = pytest.mark.each_value


@every_case
def test_a_resumed_run_equals_the_uninterrupted_run(engine: Engine, case: Case, tmp_path: Path) -> None:
    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, case.trials(), lanes=3, new=True)

    whole = stream(engine.cohort(case.task, case.structure, case.trials(), lanes=3).train())
    kill = random.Random(str(case)).randint(1, 6)
    assert resumed(make, [kill], tmp_path / "cohort.pt") == whole, f"killed after {kill} turns"


@pytest.mark.sampled(3)
@every_program
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_may_be_killed_after_any_turn(engine: Engine, optimizer: str, program: str, tmp_path: Path) -> None:
    """Before the first turn too, and after the last; with branches parked, a queue waiting and a lane that diverged."""
    case = Case("names with BatchNorm", optimizer, "step", 1 / STEPS)

    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, case.trials(), lanes=2, program=program)

    by_turn = list(turns(make()))
    whole = stream(itertools.chain.from_iterable(by_turn))
    wrong = [kill for kill in range(len(by_turn) + 1) if resumed(make, [kill], tmp_path / "cohort.pt") != whole]
    assert not wrong, f"other events after a kill after these turns of {len(by_turn)}"


def test_a_run_may_be_killed_between_two_reports(engine: Engine, tmp_path: Path) -> None:
    """Losses and ratios that no report has carried yet survive; a turn without any event is a kill point too.

    Each cohort has a program of its own, which traces its step anew.
    """
    case = Case("names", "Adam", "cosine", 0.1)
    trials = [Trial(f"t{seed}", seed, 150, case.hyper, reports=1) for seed in (0, 1)]

    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, trials, lanes=2, new=True)

    by_turn = list(turns(make()))
    assert [] in by_turn
    whole = stream(itertools.chain.from_iterable(by_turn))
    for kill in range(len(by_turn)):
        assert resumed(make, [kill], tmp_path / "cohort.pt") == whole


@examples(30)
@given(crowd=crowds(most=5), lanes=st.integers(1, 4), kills=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_a_run_may_be_killed_again_and_again(
    engine: Engine,
    crowd: tuple[str, Structure, list[Trial]],
    lanes: int,
    kills: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def make() -> Cohort:
        return engine.cohort(*crowd, lanes)

    assert resumed(make, kills, tmp_path_factory.getbasetemp() / "again.pt") == stream(make().train())


@pytest.mark.parametrize(
    "program, lanes, tasks",
    [
        ("plain", 1, [*TASKS, "dropout"]),
        ("native", 3, TASKS),
        pytest.param("compiled", 3, [TASKS[1]], marks=pytest.mark.slow),
        ("captured", 3, TASKS),
    ],
)
@examples(20)
@given(data=st.data(), kills=st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_by_the_other_programs_a_resumed_run_equals_the_uninterrupted_run(
    engine: Engine,
    program: str,
    lanes: int,
    tasks: list[str],
    data: st.DataObject,
    kills: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    crowd = data.draw(crowds(tasks=tasks))

    def make() -> Cohort:
        return engine.cohort(*crowd, lanes, program)

    assert resumed(make, kills, tmp_path_factory.getbasetemp() / f"{program}.pt") == stream(make().train())


def test_a_resumed_run_counts_the_steps_of_the_uninterrupted_run(engine: Engine, tmp_path: Path) -> None:
    """Those of its probes too, whether they ended before the kill, were training, or came after it."""
    case = Case("names", "SGD", "step", 0.0)
    trials = with_rungs([trial for trial in case.trials() if trial.id != "diverging"], [6])

    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, trials, lanes=2, scoring=Scoring(("probe",), 3))

    cohort = make()
    saved = [cohort.state() for _ in turns(cohort)]
    whole = counts(cohort)
    assert cohort.work.probe_steps == 3 * 3, "two of the trials share a lane up to the rung, and so a probe"
    for state in saved[::2]:
        checkpoint.save(tmp_path / "cohort.pt", state)
        again = make()
        again.load_state(checkpoint.load(tmp_path / "cohort.pt"))
        list(again.train())
        assert counts(again) == whole


def test_a_stop_that_was_asked_for_before_a_kill_is_not_forgotten(engine: Engine, tmp_path: Path) -> None:
    case = Case("names", "SGD", "constant", 0.0)

    def asked() -> tuple[Cohort, list[Event]]:
        cohort = engine.cohort(case.task, case.structure, case.trials(), lanes=5)
        seen = cohort.turn()
        cohort.stop("slow", "enough")
        return cohort, seen

    cohort, seen = asked()
    whole = [*seen, *cohort.train()]
    assert [event.evidence for event in whole if isinstance(event, Ended) and event.status == "stopped"] == ["enough"]
    cohort, seen = asked()
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    again = engine.cohort(case.task, case.structure, case.trials(), lanes=5)
    again.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    assert stream([*seen, *again.train()]) == stream(whole)


def test_a_saved_state_does_not_change_while_its_cohort_goes_on(engine: Engine) -> None:
    case = Case("names with BatchNorm", "Adam", "step", 0.0)
    cohort = engine.cohort(case.task, case.structure, case.trials(), lanes=3)
    seen = [*cohort.turn(), *cohort.turn()]
    state = cohort.state()
    whole = [*seen, *cohort.train()]
    for _ in range(2):
        again = engine.cohort(case.task, case.structure, case.trials(), lanes=3)
        again.load_state(state)
        assert stream([*seen, *again.train()]) == stream(whole)
