"""The engine that the laws are held on: what trains alone is trained once for all of them."""

from collections.abc import Mapping

import pytest
from torch import nn

from espalier.core.task import Task
from tests.laws.cases import Engine, Regression, through


@pytest.fixture(scope="session")
def engine(small_tasks: Mapping[str, Task]) -> Engine:
    odd = {"dropout": Regression(lambda: through(nn.Dropout(0.4))), "linear": Regression(lambda: nn.Linear(3, 1))}
    return Engine({**small_tasks, **odd})
