# pyright: basic
# any Python value
"""Variables that hold a task's state: where they are, how to take out a value and put it back.

While a trial trains, its own objects are in the variables; between its turns they are set aside. The cost of a swap
does not depend on their size.
"""

import copy
import inspect
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espalier.core.python_state.generators import GENERATORS, GeneratorState

ABSENT = object()  # the value of a variable that does not exist
_PLAIN_KINDS: Mapping[Any, type] = {(list, deque): list, dict: dict, set: set}


@dataclass(frozen=True)
class Variable:
    """One variable: an attribute of an object (`attribute`), or an item of a dictionary.

    path: its name in messages and checkpoints, such as `self.stats`. key: the attribute's name, or the item's key.
    """

    path: str
    owner: Any
    key: Any
    attribute: bool

    def get(self) -> object:
        """Return the value itself; ABSENT if the variable does not exist."""
        try:
            if not self.attribute:
                return self.owner[self.key]
            own = getattr(self.owner, "__dict__", {})
            if self.key in own:  # the instance's own attribute, not the class's
                return own[self.key]
            return getattr(self.owner, self.key) if _is_slot(type(self.owner), self.key) else ABSENT
        except (AttributeError, KeyError, ValueError):  # an empty closure cell
            return ABSENT

    def contents(self) -> object:
        """Return what `set` restores later; ABSENT if there is no value. Nested objects are not copied."""
        return contents_of(self.get())

    def set(self, value: object) -> None:
        """Restore a result of `contents`. Containers and generators stay the same objects: others may refer to them."""
        present = self.get()
        if isinstance(value, GeneratorState):
            value = value.set_into(present)
        if value is ABSENT:
            if present is not ABSENT:
                delattr(self.owner, self.key) if self.attribute else self.owner.pop(self.key)
        elif not _refill(present, value):
            if self.attribute:
                setattr(self.owner, self.key, value)
            else:
                self.owner[self.key] = value


def contents_of(value: object) -> object:
    """Return what `Variable.set` restores: a container with the same contents, a generator's state, or the value."""
    if isinstance(value, tuple(GENERATORS.values())):
        return GeneratorState.of(value)  # type: ignore[arg-type]
    return copy.copy(value) if isinstance(value, list | deque | dict | set) else value


def as_plain_container(value: object) -> object:
    """Return a container's contents as a plain list, dictionary or set; other values unchanged."""
    return next((plain(value) for kinds, plain in _PLAIN_KINDS.items() if isinstance(value, kinds)), value)


def _refill(present: object, value: Any) -> bool:
    """Replace the contents of `present` by those of `value`, if their types agree; return whether they do.

    It accepts its own type, or the plain container that a checkpoint has for it.
    """
    plain = next((plain for kinds, plain in _PLAIN_KINDS.items() if isinstance(present, kinds)), None)
    if plain is None or type(value) not in (type(present), plain):
        return False
    if isinstance(present, dict | set):
        present.clear()
        present.update(value)
    elif isinstance(present, list | deque):
        present.clear()
        present.extend(value)
    return True


def _is_slot(kind: type, name: str) -> bool:
    return hasattr(inspect.getattr_static(kind, name, None), "__set__")
