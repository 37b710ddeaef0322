"""The arguments of training code, however they were found out: in a signature, in a help text, or in a source."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

UNKNOWN: Final = "unknown"  # in place of a kind
KINDS = ("float", "int", "bool", "str", UNKNOWN)


@dataclass(frozen=True)
class Argument:
    """An argument of training code.

    name: as the code has it, of an option without its hyphens: `batch-size`. option: as a command takes it, `-b` for
    one that has no long name; "" for an argument of a function. kind: one of KINDS. default: None if there is none, or
    it is not known. choices: all values, if they are listed. flag: whether it takes no value. turns_off: of a flag,
    whether it turns off what is on. count: how many values it takes, 1 or more. required: whether it must be given.
    """

    name: str
    option: str = ""
    kind: str = UNKNOWN
    default: Any = None
    choices: tuple[Any, ...] = ()
    flag: bool = False
    turns_off: bool = False
    count: int = 1
    required: bool = False

    @property
    def plain_name(self) -> str:
        """The name in lower case, with _ for hyphens: what its meaning is guessed from."""
        return self.name.lower().replace("-", "_")

    @property
    def plain_default(self) -> Any:
        """The default as a spec has it: a list for a tuple."""
        default: Any = self.default
        return [*default] if isinstance(self.default, tuple) else default

    @property
    def positional(self) -> bool:
        """Whether a command takes it by its place."""
        return bool(self.option) and not self.option.startswith("-")

    def completed(self, other: "Argument") -> "Argument":
        """Return it with what is known of another spelling of the same argument, where it is not known of this one."""
        return replace(
            self,
            kind=other.kind if self.kind == UNKNOWN else self.kind,
            default=other.default if self.default is None else self.default,
            choices=self.choices or other.choices,
            count=max(self.count, other.count),
            required=self.required or other.required,
        )


def kind_of(value: object) -> str:
    """Return the kind of a default.

    >>> [kind_of(value) for value in (0.1, 3, True, "a", None, [0.9, 0.99])]
    ['float', 'int', 'bool', 'str', 'unknown', 'float']
    """
    if isinstance(value, list | tuple) and value:
        return kind_of(value[0])  # pyright: ignore[reportUnknownArgumentType]
    return next((kind.__name__ for kind in (bool, int, float, str) if isinstance(value, kind)), UNKNOWN)


def literal(text: str) -> Any:
    """Return the value that a text means as Python writes it; the text itself if it means none.

    >>> literal("1e-3"), literal("None"), literal("adam"), literal("(0.9, 0.999)"), literal("1.")
    (0.001, None, 'adam', (0.9, 0.999), 1.0)
    """
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text.strip()


def number(text: str) -> float | None:
    """Return the number that a text is; None if it is none."""
    value = literal(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def by_name(arguments: Iterable[Argument]) -> dict[str, Argument]:
    """Return arguments by name; of one that occurs twice, the first, completed by the others."""
    known: dict[str, Argument] = {}
    for argument in arguments:
        earlier = known.get(argument.name)
        known[argument.name] = earlier.completed(argument) if earlier else argument
    return known
