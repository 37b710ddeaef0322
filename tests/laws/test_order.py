"""Law 8: the order of data is a pure function of (seed, step)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.order import Order, shuffled
from espalier.core.rows import seeded
from espalier.core.tasks.names import Lecture, Names
from espalier.core.training.trial import Trial
from tests.laws.cases import BATCH, STEPS, Case, Engine

pytestmark = pytest.mark.each_value


@given(
    seed=st.integers(0, 2**32),
    examples=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), min_size=1, max_size=6),
)
def test_the_order_of_data_depends_on_seed_and_step_alone(
    seed: int, examples: int, batch_size: int, cuts: list[tuple[int, int]]
) -> None:
    """Asked in any pieces, in any order, with other seeds asked in between: the same examples."""
    whole = shuffled(seed, examples, batch_size)(0, 50)
    order = shuffled(seed, examples, batch_size)
    for first, length in cuts:
        shuffled(seed + 1, examples, batch_size)(first, first + 1)
        assert torch.equal(order(first, first + length), whole[first : first + length])


@given(seed=st.integers(0, 2**32), batches=st.integers(1, 9), batch_size=st.integers(1, 9), epoch=st.integers(0, 5))
def test_an_epoch_covers_each_example_once(seed: int, batches: int, batch_size: int, epoch: int) -> None:
    examples = batches * batch_size
    seen = shuffled(seed, examples, batch_size)(epoch * batches, (epoch + 1) * batches)
    assert sorted(seen.flatten().tolist()) == list(range(examples))


@pytest.mark.parametrize("kind", (Names, Lecture))
def test_every_task_draws_its_order_from_seed_and_step_alone(kind: type[Names], words_file: Path) -> None:
    order: Order = kind(str(words_file)).order(11, 436, BATCH)
    whole = kind(str(words_file)).order(11, 436, BATCH)(0, 90)
    for first, last in [(0, 64), (64, 90), (3, 7), (70, 71), (0, 1), (1, 90)]:
        torch.manual_seed(first)
        assert torch.equal(order(first, last), whole[first:last])
    assert not torch.equal(kind(str(words_file)).order(12, 436, BATCH)(0, 90), whole)


def test_a_lane_sees_the_examples_of_its_seed_and_step(engine: Engine) -> None:
    """With a rate of 0 nothing moves, so every loss says which examples it was taken on."""
    case = Case("names", "SGD", "constant", 0.0)
    trials = [Trial(f"t{seed}", seed, STEPS, replace(case.hyper, lr=0.0), reports=2) for seed in (0, 1, 2)]
    ends = {event.trial: event for event in engine.cohort(case.task, case.structure, trials, 2).train()}
    task, data = engine.tasks[case.task], engine.data[case.task]
    for trial in trials:
        with seeded(trial.seed):
            model = task.model()
        indexes = task.order(trial.seed, len(data.train[0]), BATCH)(0, STEPS)
        losses = [task.loss(model, tuple(tensor[i] for tensor in data.train)).item() for i in indexes]
        assert [loss for _, loss in ends[trial.id].curve] == pytest.approx(losses, rel=1e-6)
