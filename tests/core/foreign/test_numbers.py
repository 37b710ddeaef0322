"""What a report takes for a number."""

import math
import warnings

import numpy as np
import pytest
import torch

from espalier.core.foreign.report import number


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5], requires_grad=True)])
def test_a_number_may_be_of_any_library_and_a_loss_with_its_gradient_warns_of_nothing(value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert number("valid_loss", value) == 0.5


@pytest.mark.parametrize("value", ["0.5", None, True, torch.zeros(2)])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(TypeError, match="valid_loss"):
        number("valid_loss", value)


def test_what_is_not_finite_is_a_number() -> None:
    assert math.isnan(number("valid_loss", torch.tensor(math.nan)))
