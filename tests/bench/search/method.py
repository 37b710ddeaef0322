"""What a way to search has to offer to be measured."""

from collections.abc import Sequence
from typing import Protocol

from tests.bench.search.clock import Finish
from tests.bench.search.table import Table


class Method(Protocol):
    """A way to search.

    needs_budget: whether it proposes otherwise under another budget; else one replay answers for all.
    dear: the repetitions, and the largest budget, are divided by it, where a proposal takes long; else 1.
    """

    @property
    def needs_budget(self) -> bool: ...

    @property
    def dear(self) -> int: ...

    def replay(self, table: Table, budget: float, workers: int, seed: int) -> Sequence[Finish]:
        """Search over a table with a budget in full trainings; return the trials that trained to their end."""
        ...
