"""The numbers that a schedule or an optimizer takes, each declared once: its default, its limits, its meaning.

Specs, their JSON Schema, errors and the engine use these declarations. No torch is needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from espalier.core.arguments import check_fields, choice, number, text, truth, word
from espalier.core.errors import BadInput

Home = Literal["both", "spec", "space"]
"""Where a number may stand in a spec: fixed beside its kind, searched in the space, or in either."""
WORD, DOC = word("a name"), text("what it does, in a text", empty=True)


@dataclass(frozen=True)
class Number:
    """A number with its name, default and limits.

    low, high: the limits. above, below: whether low, or high, itself is excluded.
    fixed_high: a tighter upper limit where the number stands beside its kind in the spec: a larger one is a likely
    typo.
    typical: a value at which it has an effect, for comparing programs; its default if it has none.

    >>> momentum = Number("momentum", 0.0, 0.0, 1.0, "how much of the last step is kept", below=True)
    >>> momentum.limits, momentum.accepts(0.9), momentum.accepts(1.0), momentum.accepts(True)
    ('[0, 1)', True, False, False)
    """

    name: str
    default: float
    low: float
    high: float
    doc: str = ""
    above: bool = False
    below: bool = False
    home: Home = "both"
    fixed_high: float | None = None
    typical: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, name=WORD, doc=DOC, above=truth(), below=truth(), home=choice(get_args(Home)))
        check_fields(self, default=number(), low=number(), high=number())
        check_fields(self, fixed_high=number(optional=True), typical=number(optional=True))
        for name, value in (("default", self.default), ("typical", self.typical)):
            if value is not None and not self.accepts(value):
                raise BadInput(f"{name}: {value:g} arrived for the number '{self.name}'; give one in {self.limits}")

    @property
    def limits(self) -> str:
        """The limits as an interval, such as "[0, 1)"."""
        return f"{'(' if self.above else '['}{self.low:g}, {self.high:g}{')' if self.below else ']'}"

    def accepts(self, value: object) -> bool:
        """Whether a value is a number within the limits."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        too_low = value <= self.low if self.above else value < self.low
        too_high = value >= self.high if self.below else value > self.high
        return not (too_low or too_high) and value == value


@dataclass(frozen=True)
class Flag:
    """A boolean option, which changes the program."""

    name: str
    default: bool = False
    doc: str = ""

    def __post_init__(self) -> None:
        check_fields(self, name=WORD, default=truth(), doc=DOC)


def by_name(*lists: Iterable[Number | Flag]) -> dict[str, Number | Flag]:
    """Return the numbers or flags of several kinds by name, each once, in the order of first appearance.

    >>> list(by_name([Number("a", 0, 0, 1), Flag("b")], [Number("a", 1, 0, 1), Number("c", 0, 0, 1)]))
    ['a', 'b', 'c']
    """
    named: dict[str, Number | Flag] = {}
    for entries in lists:
        for entry in entries:
            named.setdefault(entry.name, entry)
    return named
