"""Registries: the classes of one kind by name, this program's and users' own by reference.

A registry is the only list of its names. It stores where each class is defined, so names can be listed without torch.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from espalier.core import own
from espalier.core.errors import BadInput, brief, nearest
from espalier.core.loading.references import load_class

T = TypeVar("T")


def is_reference(name: object) -> bool:
    """Whether a name is a reference to a user's own class in a file or a module.

    >>> is_reference("mine.py:Sawtooth"), is_reference("cosine")
    (True, False)
    """
    return isinstance(name, str) and ":" in name


def short_name(name: str) -> str:
    """Return how messages name a kind: its name, or the class name of a user's own.

    >>> short_name("average"), short_name("/home/me/mine.py:Trend")
    ('average', 'Trend')
    """
    return name.rpartition(":")[2]


class Registry(Generic[T]):
    """Classes by name, imported on first use.

    >>> tasks: Registry[object] = Registry("task", "builtins:object", {"line": "core.tasks.line:Line"})
    >>> tasks.names, "line" in tasks, tasks["line"].__name__
    (('line',), True, 'Line')
    >>> tasks["lime"]
    Traceback (most recent call last):
    espalier.core.errors.BadInput: task: unknown name 'lime'; did you mean 'line'? Your own is file.py:Class
    """

    def __init__(self, field: str, base: str, places: Mapping[str, str], noun: str = "name"):
        """Make a registry of `places`: by name, a `module:Class` of this program.

        field: the field of a spec whose value is looked up; errors begin with it. noun: the word for a value in errors.
        base: the `module:Class` that a user's own class inherits from.
        """
        self.field, self.base, self.noun = field, base, noun
        self._places = dict(places)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of this program's classes, in their listed order."""
        return tuple(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        """Whether a name is one of this program's."""
        return name in self._places

    def __getitem__(self, name: str) -> type[T]:
        """Return the class of a name, or of a reference: `file.py:Class` or `package.module:Class`.

        Raises BadInput with the known names, or with what is wrong with the reference.
        """
        return self.find(name, self.field)

    def find(self, name: str, field: str) -> type[T]:
        """Return the class of a name or a reference, as [] does; errors begin with another field."""
        if name in self._places:
            return _imported(self._places[name])
        if not is_reference(name):
            hint = nearest(str(name), self._places)
            hint += "" if hint.endswith("?") else "."
            raise BadInput(f"{field}: unknown {self.noun} '{brief(name)}'; {hint} Your own is file.py:Class")
        kind, base = load_class(name, field), _imported(self.base)
        if not issubclass(kind, base):
            raise BadInput(f"{field}: {name} is no {base.__name__}; inherit from {own.NAME}.{base.__name__}")
        return kind


def _imported(place: str) -> type:
    module, _, name = place.partition(":")
    path = module if module == "builtins" else f"{own.NAME}.{module}"
    return getattr(importlib.import_module(path), name)
