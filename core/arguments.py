"""Checked arguments: what each argument of the public calls may be, and one message for all that it may not be."""

import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from espalier.core.errors import BadInput, shown

P = ParamSpec("P")
R = TypeVar("R")
LIBRARIES = ("numpy", "torch", "pandas")
ITEMS_MOST = 20_000  # items of an array or a range that becomes a list


def plain(value: object) -> Any:
    """Return a value of numpy, torch or pandas, a range or a path as the plain value that it means.

    >>> import numpy as np
    >>> plain(np.int64(3)), plain(np.array([0.5, 1.0])), plain(range(4, 7)), plain("a"), plain(PurePath("a") / "b")
    (3, [0.5, 1.0], [4, 5, 6], 'a', 'a/b')
    """
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, range):
        return value if value[ITEMS_MOST : ITEMS_MOST + 1] else list(value)
    if type(value).__module__.partition(".")[0] in LIBRARIES and hasattr(value, "tolist"):
        array: Any = value
        return value if math.prod(getattr(value, "shape", ())) > ITEMS_MOST else array.tolist()
    return value


def a_noun(noun: str) -> str:
    """Return a noun with its article.

    >>> a_noun("int64"), a_noun("list")
    ('an int64', 'a list')
    """
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


@dataclass(frozen=True)
class Rule:
    """What an argument may be.

    read: returns the argument as the call uses it; raises TypeError or ValueError for a wrong one. wanted: the same
    in words. optional: whether None will do.
    """

    read: Callable[[Any], Any]
    wanted: str
    optional: bool = False

    def check(self, name: str, value: object) -> Any:
        """Return an argument as the call uses it. Raises BadInput with its name, what arrived and what would work."""
        if value is None and self.optional:
            return None
        try:
            return self.read(value)
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise BadInput(f"{name}: {shown(value)} arrived; give {self.wanted}") from None


def checked(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the named arguments of a function at each call, and hand over what the rules make of them.

    >>> @checked(steps=whole(1))
    ... def train(steps: int) -> int:
    ...     return steps
    >>> train(steps=2.5)
    Traceback (most recent call last):
    espalier.core.errors.BadInput: steps: 2.5 arrived; give a whole number of at least 1
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            for name, rule in rules.items():
                if name in bound.arguments:
                    bound.arguments[name] = rule.check(name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def whole(least: int, optional: bool = False) -> Rule:
    """Return the rule of a whole number from `least` on."""

    def read(value: object) -> int:
        whole_number = operator.index(plain(value))
        return _only(whole_number, not isinstance(plain(value), bool) and whole_number >= least)

    return Rule(read, f"a whole number of at least {least}", optional)


def number(low: float = -math.inf, high: float = math.inf, above: bool = False, optional: bool = False) -> Rule:
    """Return the rule of a finite number from `low` to `high`. above: `low` itself will not do."""

    def read(value: object) -> float:
        real = plain(value)
        fits = isinstance(real, int | float) and not isinstance(real, bool) and math.isfinite(real)
        return _only(real, fits and (low < real if above else low <= real) and real <= high)

    ends = "" if low == -math.inf else f" above {low:g}" if above else f" from {low:g} to {high:g}"
    return Rule(read, f"a finite number{ends}", optional)


def check_fields(fields: object, of: str = "", /, **rules: Rule) -> None:
    """Check the fields of a new frozen dataclass as `checked` does arguments, and store what the rules make of them.

    of: what messages have before a field's name.
    """
    for name, rule in rules.items():
        object.__setattr__(fields, name, rule.check(of + name, getattr(fields, name)))


def text(wanted: str, optional: bool = False, empty: bool = False) -> Rule:
    """Return the rule of a text. empty: whether one without a letter will do."""
    return Rule(lambda value: _only(value, isinstance(value, str) and (empty or value.strip())), wanted, optional)


def choice(names: Sequence[str]) -> Rule:
    """Return the rule of one of these names."""
    return Rule(lambda value: _only(value, value in names), f"one of {', '.join(names)}")


def word(wanted: str) -> Rule:
    """Return the rule of a name as Python and YAML both can write it: letters, digits and _.

    >>> word("a name").check("name", "decay factor")
    Traceback (most recent call last):
    espalier.core.errors.BadInput: name: 'decay factor' arrived; give a name of letters, digits and _
    """
    wanted += " of letters, digits and _"
    return Rule(lambda value: _only(value, isinstance(value, str) and value.isidentifier()), wanted)


def path(wanted: str, optional: bool = False) -> Rule:
    """Return the rule of a path: a text, or a Path."""
    return Rule(lambda value: _only(_path(value), bool(_path(value))), wanted, optional)


def truth() -> Rule:
    """Return the rule of True or False."""
    return Rule(lambda value: _only(plain(value), isinstance(plain(value), bool)), "True or False")


def mapping(wanted: str) -> Rule:
    """Return the rule of a mapping."""
    return Rule(lambda value: _only(value, isinstance(value, Mapping)), wanted)


def instance(kind: Callable[[], type], wanted: str) -> Rule:
    """Return the rule of an object of a class. kind: returns the class, which may be slow to import."""
    return Rule(lambda value: _only(value, isinstance(value, kind())), wanted)


def _path(value: object) -> str:
    written: object = str(value) if isinstance(value, PurePath) else getattr(value, "__fspath__", lambda: value)()
    return _only(written, isinstance(written, str) and "\0" not in written)


def _only(value: Any, fits: object) -> Any:
    if not fits:
        raise ValueError
    return value
