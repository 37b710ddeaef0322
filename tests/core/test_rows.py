"""The stacked state, held against a list of rows that does the same by hand; and the generators it borrows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core.rows import Lanes, ParameterShapes, Row, part, seeded


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
    parameters = ParameterShapes(model)
    assert parameters.count == 1 + 5 + 21 + 1 + 12
    assert list(parameters.shapes) == ["scalar", "vector", "matrix", "single", "kernel"]
    assert sum(tensor.numel() for tensor in parameters.take(model).values()) == 40


def test_what_is_taken_of_a_model_is_a_copy() -> None:
    model = Odd()
    taken = ParameterShapes(model).take(model)
    assert all(torch.equal(taken[name], dict(model.named_parameters())[name]) for name in taken)
    taken["matrix"].zero_()
    assert model.matrix.any(), "the row is a copy of the model, not the model"


def test_matrices_are_the_parameters_of_two_or_more_axes_and_two_or_more_numbers() -> None:
    """One number has no standard deviation."""
    assert ParameterShapes(Odd()).matrices() == ["matrix", "kernel"]


def row_of(value: int) -> Row:
    return {
        "theta.w": torch.full((5,), float(value)),
        "slot.m.w": torch.full((5,), -float(value)),
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
    lanes.rows["theta.w"].fill_(math.nan)
    assert_row(row, 7)
    row["slot.m.w"].fill_(math.nan)
    assert lanes.rows["slot.m.w"][0].isfinite().all()


def test_a_part_of_the_first_rows_is_a_view_by_the_rest_of_its_name() -> None:
    lanes = Lanes(row_of(3), 4)
    found = part(lanes.first(2), "slot.m.")
    assert list(found) == ["w"] and found["w"].shape == (2, 5)
    found["w"].zero_()
    assert lanes.rows["slot.m.w"][:2].eq(0).all() and lanes.rows["slot.m.w"][2:].eq(-3).all()


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
