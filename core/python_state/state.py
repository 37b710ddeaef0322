"""The state that a task keeps in Python beside its model's tensors: counters, caches, generators.

A program that writes a step down as a list of operations freezes whatever Python decided in it. So a task with such
state trains by plain PyTorch, and what can be kept apart of its state each trial has for itself.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from espalier.core.python_state.copies import UNKEPT, Memo, copied
from espalier.core.python_state.encoding import Decoder, Unwritable, encoded_together
from espalier.core.python_state.snapshot import Roots, Snapshot, by_own_path, changed_variables
from espalier.core.python_state.variables import ABSENT, Variable, as_plain_container

Values = Mapping[str, object]
"""What a trial has in each variable, by the variable's path."""


@dataclass
class PythonState:
    """A task's state in Python, as detected before training.

    reason: one sentence on the state of loss(), "" if there is none. validation: the same for metrics().
    variables: those of which each trial has its own. shared: paths of those that all trials of a process share.
    before: the initial values for a new trial.
    known: by path, the variables that existed before the first step, in any process.
    caches: variables that the detection itself has filled.
    """

    reason: str = ""
    variables: list[Variable] = field(default_factory=list[Variable])
    shared: list[str] = field(default_factory=list[str])
    validation: str = ""
    roots: Roots = field(default_factory=dict[str, object])
    before: Snapshot | None = None
    known: Mapping[str, Variable] = field(default_factory=dict[str, Variable])
    caches: list[Variable] = field(default_factory=list[Variable])

    def clear(self) -> None:
        """Restore the caches to their initial values."""
        if self.before:
            self.before.restore(self.caches)

    # --- one trial's state in the variables --------------------------------------------------------------------------

    @contextmanager
    def of_trial(self, values: Values | None) -> Generator[None]:
        """Set the variables to a trial's state (None: a new trial's) for the block, and to a new trial's after it.

        values: as returned by `taken`. Changes by the trial's code inside them persist.
        """
        if not self.variables:
            yield
            return
        self._set(self.begin() if values is None else values)
        try:
            yield
        finally:
            self._set(self.begin())

    def taken(self) -> dict[str, object]:
        """Return the present values of the variables, by path."""
        return {variable.path: variable.contents() for variable in self.variables}

    def begin(self) -> dict[str, object]:
        """Return the initial values for a new trial."""
        memo = self._memo()
        return {variable.path: copied(self._initial(variable.path), memo) for variable in self.variables}

    def take_new_variables(self) -> dict[str, object]:
        """Return the variables that a trial changed besides the known ones; restore them, and know them from now on.

        A loss may change for the first time at step 1,000 what it left alone before. Call this while all known
        variables have their initial values.
        """
        if self.before is None:
            return {}
        after = Snapshot(self.roots, self.before, values=False)
        old = {variable.path for variable in self.variables} | set(self.shared)
        changed = by_own_path(changed_variables(self.before, self.before, after))
        new = {path: variable for path, variable in changed.items() if path not in old}
        self.shared += [path for path in new if self._initial(path) is UNKEPT]
        apart = [variable for path, variable in new.items() if self._initial(path) is not UNKEPT]
        values = {variable.path: variable.contents() for variable in apart}
        memo = self._memo()
        for variable in apart:
            variable.set(copied(self._initial(variable.path), memo))
        self.variables += apart
        return values

    def copy_for_validation(self, values: Values) -> Values:
        """Return a copy of a trial's state for a validation, which must not change the trial's own."""
        return self.copy(values) if self.validation else values

    def copy(self, values: Values) -> dict[str, object]:
        """Return a copy of a trial's state for another trial that continues from it."""
        memo = self._memo()
        return {path: copied(value, memo) for path, value in values.items()}

    def _set(self, values: Values) -> None:
        memo = self._memo()
        for variable in self.variables:
            path = variable.path
            variable.set(values[path] if path in values else copied(self._initial(path), memo))

    def _memo(self) -> Memo:
        """Return the memo for all copies of one trial's state."""
        return self.before.memo() if self.before else {}

    def _initial(self, path: str) -> object:
        return self.before.value(path) if self.before else ABSENT

    # --- in a checkpoint ---------------------------------------------------------------------------------------------

    def encoded(self, values: Values | None) -> dict[str, object] | None:
        """Return a trial's state encoded for a checkpoint. Raises Unwritable."""
        if values is None:
            return None
        for path in values:
            if path not in self.known:
                raise Unwritable(f"{path}, which was created in training")
        contents = {path: self._without_its_kind(path, value) for path, value in self.copy(values).items()}
        return encoded_together(contents, self.before.names if self.before else {})

    def decoded(self, values: Values | None) -> dict[str, object] | None:
        """Invert `encoded`, possibly in another process."""
        old = {variable.path for variable in self.variables}
        self.variables += [self.known[path] for path in values or () if path not in old]
        decode = Decoder(self.before.identities if self.before else {})
        return None if values is None else {path: decode(value) for path, value in values.items()}

    def _without_its_kind(self, path: str, value: object) -> object:
        """Return a container's contents if a container of its type exists to take them; other values unchanged."""
        return as_plain_container(value) if type(value) is type(self._initial(path)) else value
