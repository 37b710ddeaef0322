# pyright: basic
# any value of Python, whatever it holds
"""Variables in which a task keeps state: where one is, how its value is taken out and put back.

A trial that trains has its own objects in the variables; between its turns they lie aside. To swap them costs the same
however large they have grown.
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

    path: how it is called in sentences and checkpoints, as `self.stats`. key: the attribute's name, or the item's key.
    """

    path: str
    owner: Any
    key: Any
    attribute: bool

    def get(self) -> object:
        """Return the value itself; ABSENT if there is none."""
        try:
            if not self.attribute:
                return self.owner[self.key]
            own = getattr(self.owner, "__dict__", {})
            if self.key in own:  # and not what the class has for all that have none of their own
                return own[self.key]
            return getattr(self.owner, self.key) if _is_slot(type(self.owner), self.key) else ABSENT
        except (AttributeError, KeyError, ValueError):  # a closure's variable without a value
            return ABSENT

    def contents(self) -> object:
        """Return what `set` puts back later; ABSENT if there is no value. What is inside of it is not copied."""
        return contents_of(self.get())

    def set(self, value: object) -> None:
        """Put back what `contents` gave; a container or a generator stays the object that others may hold."""
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
    """Return what `Variable.set` puts back: a container with the same contents, a generator's state, or the value."""
    if isinstance(value, tuple(GENERATORS.values())):
        return GeneratorState.of(value)  # type: ignore[arg-type]
    return copy.copy(value) if isinstance(value, list | deque | dict | set) else value


def as_plain_container(value: object) -> object:
    """Return the contents of a container, whatever its kind, in a plain list, dictionary or set; others as they are."""
    return next((plain(value) for kinds, plain in _PLAIN_KINDS.items() if isinstance(value, kinds)), value)


def _refill(present: object, value: Any) -> bool:
    """Replace the contents of the container that is present, if it can take those of a value: whether it could.

    It takes one of its own type, or the plain container that a checkpoint gives for it.
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
