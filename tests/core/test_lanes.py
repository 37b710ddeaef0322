"""The stacked state, held against a list of rows that does the same by hand; and the generators it borrows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from core.lanes import Lanes, Layout, Row, seeded


class Odd(nn.Module):
    """Parameters of every kind: scalar, vector, matrix, of one number, frozen; used twice; and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scalar = nn.Parameter(torch.randn(()))
        self.vector = nn.Parameter(torch.randn(5))
        self.matrix = nn.Parameter(torch.randn(3, 7))
        self.single = nn.Parameter(torch.randn(1, 1))
        self.frozen = nn.Parameter(torch.randn(2, 2), requires_grad=False)
        self.twice = self.matrix
        self.kernel = nn.Parameter(torch.randn(2, 3, 2))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def test_a_row_holds_every_trained_parameter_once() -> None:
    model = Odd()
    layout = Layout(model)
    assert layout.parameters == 1 + 5 + 21 + 1 + 12
    assert list(layout.shapes) == ["scalar", "vector", "matrix", "single", "kernel"]
    assert layout.pack(model).shape == (40,)


def test_unpacking_gives_back_what_was_packed_as_views() -> None:
    model = Odd()
    layout = Layout(model)
    row = layout.pack(model)
    parameters = layout.unpack(row)
    assert all(torch.equal(parameters[name], dict(model.named_parameters())[name]) for name in layout.shapes)
    row.zero_()
    assert not parameters["matrix"].any()
    assert model.matrix.any(), "the row is a copy of the model, not the model"


def test_matrices_are_the_parameters_of_two_or_more_axes_and_two_or_more_numbers() -> None:
    """One number has no standard deviation."""
    model = Odd()
    layout = Layout(model)
    row = layout.pack(model)
    places = layout.matrices()
    assert list(places) == ["matrix", "kernel"]
    assert all(torch.equal(row[a:b], dict(model.named_parameters())[name].flatten()) for name, (a, b) in places.items())


def row_of(value: int) -> Row:
    return {
        "theta": torch.full((5,), float(value)),
        "slot.m": torch.full((5,), -float(value)),
        "buffer.n": torch.tensor(value),
    }


def assert_row(row: Row, value: int) -> None:
    assert all(torch.equal(row[name], tensor) for name, tensor in row_of(value).items())


@given(moves=st.lists(st.one_of(st.just("fill"), st.just("fork"), st.integers(0, 5)), max_size=40))
def test_used_rows_stay_together_whatever_is_filled_forked_and_freed(moves: list[str | int]) -> None:
    """Beside a plain list of values: the last lane moves into the place of one that is freed."""
    lanes, values, new = Lanes(row_of(0), 6), [], 0
    for move in moves:
        if isinstance(move, int) and move < len(values):
            assert lanes.free(move) == len(values) - 1
            values[move] = values[-1]
            values.pop()
        elif move in ("fill", "fork") and len(values) < 6:
            new += 1
            fork = move == "fork" and values
            assert lanes.fill(lanes.row(0) if fork else row_of(new)) == len(values)
            values.append(values[0] if fork else new)
        assert lanes.used == len(values)
        for lane, value in enumerate(values):
            assert_row(lanes.row(lane), value)


def test_a_row_that_was_taken_out_is_a_copy() -> None:
    lanes = Lanes(row_of(0), 3)
    lanes.fill(row_of(7))
    row = lanes.row(0)
    lanes.rows["theta"].fill_(math.nan)
    assert_row(row, 7)
    row["slot.m"].fill_(math.nan)
    assert lanes.rows["slot.m"][0].isfinite().all()


def test_a_part_is_a_view_of_the_first_rows_by_the_rest_of_their_name() -> None:
    lanes = Lanes(row_of(3), 4)
    part = lanes.part("slot.", 2)
    assert list(part) == ["m"] and part["m"].shape == (2, 5)
    part["m"].zero_()
    assert lanes.rows["slot.m"][:2].eq(0).all() and lanes.rows["slot.m"][2:].eq(-3).all()


def draws() -> Tensor:
    return torch.rand(4)


@given(seed=st.integers(0, 2**62))
def test_under_a_seed_draws_repeat_and_afterwards_the_generator_goes_on_as_if_nothing_was(seed: int) -> None:
    torch.manual_seed(1)
    expected = [draws(), draws()]
    torch.manual_seed(1)
    before = draws()
    with seeded(seed):
        first = draws()
    after = draws()
    with seeded(seed):
        assert torch.equal(draws(), first)
    assert torch.equal(before, expected[0]) and torch.equal(after, expected[1])
    assert torch.equal(torch.rand(4, generator=torch.Generator().manual_seed(seed)), first)


def test_the_generator_is_put_back_after_an_error() -> None:
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        draws()
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state)
