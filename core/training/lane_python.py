"""A task's state in Python (counters, caches, generators), separate for each lane.

Only the plain program calls Python in each step. It trains one lane at a time, and the state is swapped in and out
with the lane.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from espalier.core.errors import BadInput
from espalier.core.programs.program import Program
from espalier.core.python_state.encoding import Unwritable
from espalier.core.rows import own_generators
from espalier.core.task import Batch
from espalier.core.training.lane import Lane


class LanePython:
    """Swaps in each lane's Python state while it trains or is validated."""

    def __init__(self, program: Program, batch: Batch, valid: Batch):
        """Detect the task's state. Raises BadInput if it has some and the program does not call Python in each step."""
        self.traced = program.min_width > 1
        self.state = program.hidden(batch, valid)
        if self.state.reason and self.traced:
            raise BadInput(f"program: {self.state.reason}; such a task can train only by the plain program")
        if not self.traced:
            self.state.clear()  # a cache of the first batch, say
        self._trained: Lane | None = None  # last

    def initial(self) -> AbstractContextManager[None]:
        """Run a block with the initial state, and restore that state afterwards."""
        return self.state.of_trial(None)

    @contextmanager
    def training(self, active: Sequence[Lane]) -> Generator[None]:
        """Run a block with the generators and the state of the lane that trains."""
        if self.traced:
            yield
            return
        lane = self._trained = active[0]
        with own_generators(), self.state.of_trial(lane.python):
            yield
            if self.state.variables:
                lane.python = self.state.taken()

    def validating(self, lane: Lane) -> AbstractContextManager[None]:
        """Run a block with a copy of the state of the lane that is validated."""
        return self.state.of_trial(lane.python and self.state.copy_for_validation(lane.python))

    def copy_of(self, lane: Lane) -> dict[str, object] | None:
        """Return a copy of a lane's state for a branch."""
        return lane.python and self.state.copy(lane.python)

    def claim(self) -> None:
        """Give the lane that trained last what its task turns out to keep beyond what was known of."""
        if self._trained and (late := self.state.take_new_variables()):
            self._trained.python = (self._trained.python or self.state.begin()) | late

    def settle(self, active: Sequence[Lane]) -> None:
        """Clear the state of a lane that has ended."""
        if self._trained and not any(self._trained is lane for lane in active):
            self.claim()
            self._trained = None

    def is_writable(self, lanes: Sequence[Lane]) -> bool:
        """Whether a checkpoint can hold the state of some lanes."""
        try:
            self.claim()
            for lane in lanes:
                self.encoded(lane)
        except Unwritable:
            return False
        return True

    def encoded(self, lane: Lane) -> dict[str, object] | None:
        """Return a lane's state encoded for a checkpoint. Raises core.python_state.encoding.Unwritable."""
        return self.state.encoded(lane.python)

    def decoded(self, saved: Mapping[str, object] | None) -> dict[str, object] | None:
        """Invert `encoded`, possibly in another process."""
        return self.state.decoded(saved)
