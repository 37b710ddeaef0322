"""The order of data: epochs without replacement, from (seed, step) alone. More of it among the laws (law 8)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.checks import preflight
from espalier.core.errors import BadInput
from espalier.core.order import Order, mix, shuffled
from espalier.core.tasks.thermometer import Thermometer

sizes = {"seed": st.integers(0, 2**40), "examples": st.integers(2, 90), "batch_size": st.integers(1, 30)}


@given(**sizes)
def test_no_example_is_seen_twice_in_an_epoch_and_a_short_last_batch_is_left_out(
    seed: int, examples: int, batch_size: int
) -> None:
    batches = max(1, examples // batch_size)
    index_SB = shuffled(seed, examples, batch_size)(0, 3 * batches)
    for epoch in index_SB.split(batches):
        seen = epoch.flatten().tolist()
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(examples))
        assert examples - len(seen) < max(batch_size, 1)


@given(**sizes, first=st.integers(0, 500), steps=st.integers(1, 9))
def test_an_order_gives_integers_of_one_batch_a_step(
    seed: int, examples: int, batch_size: int, first: int, steps: int
) -> None:
    index_SB = shuffled(seed, examples, batch_size)(first, first + steps)
    assert index_SB.dtype == torch.int64
    assert index_SB.shape == (steps, min(batch_size, examples))


def test_a_batch_of_everything_comes_in_the_datas_own_order() -> None:
    for batch_size in (11, 12, 1000):
        assert shuffled(3, 11, batch_size)(5, 7).tolist() == [list(range(11))] * 2


def test_epochs_and_near_seeds_differ() -> None:
    epochs = [
        shuffled(seed, 50, 50 - 1)(epoch, epoch + 1).flatten().tolist() for seed in range(5) for epoch in range(5)
    ]
    assert len({tuple(epoch) for epoch in epochs}) == 25


def test_many_seeds_asked_in_turn_do_not_disturb_each_other() -> None:
    """More of them than are kept in memory at once."""
    orders = {seed: shuffled(seed, 40, 7) for seed in range(40)}
    whole = {seed: order(0, 12) for seed, order in orders.items()}
    for step in range(12):
        for seed, order in orders.items():
            assert torch.equal(order(step, step + 1)[0], whole[seed][step])


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_a_mix_is_a_seed_that_torch_takes(numbers: list[int]) -> None:
    assert 0 <= mix(*numbers) < 2**63
    torch.Generator().manual_seed(mix(*numbers))


def test_mixes_of_near_numbers_are_unrelated() -> None:
    found = [mix(seed, step) for seed in range(100) for step in range(100)]
    assert len(set(found)) == len(found)
    ones = sum(bin(found[i] ^ found[i + 1]).count("1") for i in range(1000)) / 1000
    assert ones == pytest.approx(31.5, abs=0.5), "half of the 63 bits change from one to the next"


class Drawn(Thermometer):
    """Draws the examples of its steps as `how` says."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.own = np.random.default_rng(0)

    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        g = torch.Generator().manual_seed(seed)

        def order(first: int, last: int) -> torch.Tensor:
            shape = last - first, batch_size
            if self.how == "torch":
                return torch.randint(examples, shape)
            if self.how == "numpy":
                return torch.from_numpy(np.random.randint(examples, size=shape))
            if self.how == "own":
                return torch.from_numpy(self.own.integers(examples, size=shape))
            if self.how == "one generator":
                return torch.randint(examples, shape, generator=g)
            if self.how == "by pieces":
                return torch.randint(examples, shape, generator=g.manual_seed(mix(seed, first)))
            each = [torch.Generator().manual_seed(mix(seed, step)) for step in range(first, last)]
            return torch.stack([torch.randint(examples, shape[1:], generator=of_step) for of_step in each])

        return order


@pytest.mark.parametrize("how", ["torch", "numpy", "own", "one generator", "by pieces"])
def test_an_order_that_is_not_of_seed_and_step_is_refused_before_anything_trains(how: str) -> None:
    with pytest.raises(BadInput, match=r"order\(\) of .* gives a step other examples"):
        preflight.check(Drawn(how), 5)
    preflight.check(Drawn("each step"), 5)
