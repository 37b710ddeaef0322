"""What a sweep was given to train beyond its spec: how much, when, by whom."""

import getpass
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from espalier.core.errors import BadInput, shown
from espalier.sweeps.spec.overrides import merged
from espalier.sweeps.spec.parts import UNITS
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.values import Fields


def unit_of(spec: SweepSpec) -> str:
    """Return what the budget of a search counts, as the name of its field."""
    names = ("trainings", "hours", "gpu_hours")
    return next((name for name in names if getattr(spec.budget, name) is not None), "trials")


@dataclass(frozen=True)
class More:
    """How much more a sweep is to train. One of the fields is given, which is the unit."""

    trials: float | None = None
    trainings: float | None = None
    hours: float | None = None
    gpu_hours: float | None = None

    @property
    def amount(self) -> tuple[str, float]:
        """The unit, and how much of it. Raises BadInput unless there is one, and it is a number above 0."""
        amounts = {name: value for name, value in vars(self).items() if value is not None}
        if len(amounts) != 1:
            arrived = ", ".join(f"{name} {value:g}" for name, value in amounts.items()) or "nothing"
            raise BadInput(f"extend: {arrived} arrived; give one of {', '.join(UNITS)}, as trials 50")
        ((unit, value),) = amounts.items()
        whole = unit != "trials" or value == int(value) if math.isfinite(value) else False
        if not whole or value <= 0:
            wanted = "whole number" if unit == "trials" else "number"
            raise BadInput(
                f"{unit}: {shown(int(value) if value % 1 == 0 else value)} is nothing to add; give a {wanted} above 0"
            )
        return unit, int(value) if unit == "trials" else value


@dataclass(frozen=True)
class Extension:
    """One extension of a sweep.

    at: when. by: the user of the machine. unit: what its budget counts. before, after: how much of it.
    first: the number of the next trial. finished: whether all before it had ended, so that no state of theirs is left.
    """

    at: str
    by: str
    unit: str
    before: float
    after: float
    first: int
    finished: bool

    @classmethod
    def now(cls, unit: str, before: float, after: float, first: int, finished: bool, by: str = "") -> "Extension":
        """Return an extension at this time. by: whose; "" for this user's."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(at, by or _user(), unit, before, after, first, finished)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Extension":
        """Return an extension as it is stored."""
        return cls(**{field.name: entry[field.name] for field in fields(cls)})

    def to_json(self) -> Fields:
        """Return it for the storage."""
        return asdict(self)

    def applied_to(self, stored: Fields) -> Fields:
        """Return the fields of a spec with its budget."""
        return with_budget(stored, self.unit, self.after)

    @property
    def sentence(self) -> str:
        """What it did.

        >>> Extension("2026-11-30T06:00:00Z", "ann", "trials", 8, 12, 8, True).sentence
        'by 4 trials to 12, on 2026-11-30T06:00:00Z by ann'
        """
        more, unit = self.after - self.before, UNITS[self.unit]
        unit = unit.removesuffix("s") if more == 1 else unit
        return f"by {more:g} {unit} to {self.after:g}, on {self.at}{f' by {self.by}' if self.by else ''}"


def with_budget(fields: Fields, unit: str, amount: float) -> Fields:
    """Return the fields of a spec with another budget.

    >>> with_budget({"trials": 8}, "trials", 12), with_budget({"budget": {"steps": 9}}, "trainings", 2.5)
    ({'trials': 12}, {'budget': {'steps': 9, 'trainings': 2.5}})
    """
    return merged(fields, {"trials": int(amount)} if unit == "trials" else {"budget": {unit: amount}})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return ""
