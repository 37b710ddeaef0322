"""The other programs: bits of their own, at every width; and the plain one, one lane at a time, any model."""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.training.cohort import Cohort
from espalier.core.training.trial import Structure, Trial
from tests.laws.cases import (
    CASES,
    COMMON,
    OPTIMIZERS,
    STEPS,
    TASKS,
    Case,
    Engine,
    crowds,
    lecture_sizes,
    results,
    stacked,
    stream,
)
from tests.laws.resuming import resumed
from tests.tiers import examples

pytestmark = pytest.mark.each_value


@pytest.mark.parametrize(
    "program, tasks, widths",
    [
        ("native", TASKS, range(1, 10)),
        pytest.param("compiled", ["names with BatchNorm"], range(1, 10), marks=pytest.mark.slow),
        ("captured", TASKS, (1, 3, 5, 7)),
    ],
)
@examples(30)
@given(data=st.data(), draw=st.randoms(use_true_random=False))
def test_by_the_other_programs_any_crowd_in_any_order_equals_its_solo_runs(
    engine: Engine, program: str, tasks: list[str], widths: Sequence[int], data: st.DataObject, draw: random.Random
) -> None:
    """Refills, forks, parked branches and neighbours that diverge.

    A captured program keeps a width, a power of two; on a CPU its bits are those of other widths only where a row is
    spare, so its lanes are odd here.
    """
    (task, structure, trials), lanes = data.draw(crowds(tasks=tasks)), data.draw(st.sampled_from(widths))
    mixed = draw.sample(trials, len(trials))
    together = results(engine.cohort(task, structure, mixed, lanes, program).train())
    assert together == engine.all_alone(task, structure, trials, program)


@pytest.mark.parametrize("case", CASES[:: len(COMMON)], ids=str)
def test_the_captured_program_gives_the_numbers_of_the_list_it_captured(engine: Engine, case: Case) -> None:
    captured = results(engine.cohort(case.task, case.structure, case.trials(), 3, "captured").train())
    assert captured == results(engine.cohort(case.task, case.structure, case.trials(), 3).train())


@pytest.mark.slow
def test_by_the_compiled_program_a_lane_equals_a_solo_run_at_the_sizes_of_the_lecture(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lecture_sizes("Nesterov", "compiled", tmp_path_factory)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task_name", TASKS)
def test_by_the_compiled_program_every_optimizer_and_task_keeps_the_laws(
    engine: Engine, task_name: str, optimizer: str, tmp_path: Path
) -> None:
    for schedule, warmup in itertools.product(COMMON, (0.0, 3.5 / STEPS)):
        case = Case(task_name, optimizer, schedule, warmup)

        def make(case: Case = case) -> Cohort:
            return engine.cohort(case.task, case.structure, case.trials(), 3, "compiled")

        whole = list(make().train())
        assert results(whole) == engine.all_alone(case.task, case.structure, case.trials(), "compiled")
        assert resumed(make, [2, 3], tmp_path / "cohort.pt") == stream(whole)


@examples(20)
@given(crowd=crowds(tasks=[*TASKS, "dropout"]))
def test_by_the_plain_program_any_crowd_equals_its_solo_runs(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]]
) -> None:
    """Refills, forks and parked branches in one lane; dropout masks come from (seed, step), not from what ran."""
    task, structure, trials = crowd
    together = results(engine.cohort(task, structure, trials, 1, "plain").train())
    assert together == engine.all_alone(task, structure, trials, "plain")


def test_dropout_draws_another_mask_at_each_step_and_for_each_seed(engine: Engine) -> None:
    task, data = engine.tasks["dropout"], engine.data["dropout"]
    program = PROGRAMS["plain"](task, SGD())
    rows, batch = stacked(program, data, [0])
    losses = {stream_: program.gradients(rows, batch, stream_)[0].item() for stream_ in [(0, 0), (0, 1), (1, 0)]}
    assert len(set(losses.values())) == 3
    assert program.gradients(rows, batch, (0, 1))[0].item() == losses[0, 1]
