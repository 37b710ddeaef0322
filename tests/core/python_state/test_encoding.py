"""What a checkpoint takes of Python's values comes back; with what it cannot take there is none."""

import io
import threading
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from espalier.core.python_state.encoding import Unwritable, decoded, encoded
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from tests.core.python_state.stateful import PLAIN_SGD, Base, trials


class Strange(Base):
    """Keeps what no checkpoint takes, from the tenth step on."""

    def __init__(self) -> None:
        self.n, self.what = 0, []  # type: ignore[var-annotated]

    def share(self, model: nn.Module) -> float:
        self.n += 1
        if self.n > 10:
            self.what.append(threading.Lock())
        return self.n / 100


def test_what_no_checkpoint_takes_makes_none() -> None:
    cohort = Cohort(CohortSetup(Strange(), Strange().data(), PLAIN_SGD, trials(1), 1, "plain"))
    while cohort.lane_steps < 8:
        cohort.turn(4)
    assert cohort.writable and cohort.state()
    while cohort.lane_steps < 20:
        cohort.turn(4)
    assert not cohort.writable
    with pytest.raises(Unwritable):
        cohort.state()


LITTLE = st.binary()


@given(
    st.recursive(
        st.sampled_from([None, True, -(3**3000), 1j]) | st.integers() | st.floats(allow_nan=False) | st.text() | LITTLE,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    )
)
def test_what_a_checkpoint_takes_comes_back(value: Any) -> None:
    for each in (value, deque([value], 3), OrderedDict(a=value), np.float32(0.5), np.arange(6, dtype=">i2")[::2]):
        with io.BytesIO() as file:
            torch.save(encoded(each), file)
            file.seek(0)
            again = decoded(torch.load(file, weights_only=True))
        assert type(again) is type(each)
        assert np.array_equal(again, each) if isinstance(each, np.ndarray) else again == each
