"""Results that a command prints: lines of JSON, and lines that a regular expression finds."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from espalier.core.errors import BadInput, brief
from espalier.core.foreign.folder import STEP_MOST, Line, TrialFolder
from espalier.core.foreign.process import OUTPUT_MOST
from espalier.core.foreign.results import NOTHING

STEP = ("step", "iter", "iteration", "global_step", "epoch")
"""The names under which a line of JSON may say after which step its values were measured."""


class OutputReader:
    """Finds reports in the lines that a process prints.

    A line of JSON is one if it is an object with a number under one of STEP, and other numbers. A line that a pattern
    matches is one with the numbers of the pattern's named groups. Values of one step in several lines are one report,
    made when the next step begins: so a report is complete.
    """

    nothing = NOTHING

    def __init__(self, patterns: Sequence[str] = ()):
        """patterns: regular expressions with named groups, `step` among them, or without it: the lines are counted."""
        self.patterns = [compiled(pattern) for pattern in patterns]
        self.step, self.values, self.seen = -1, dict[str, float](), 0
        self.notes: list[str] = []

    def read(self, lines: Sequence[str]) -> list[Line]:
        """Return the reports that these lines complete."""
        reports: list[Line] = []
        for line in lines:
            for step, values in self._found(line):
                if step > STEP_MOST:
                    error = f"it printed step {brief(step, 24)}; the most that is taken is {STEP_MOST:,}: {brief(line)}"
                    return [*reports, Line(end="failed", error=error)]
                if step > self.step:
                    reports += self.rest()
                    self.step = step
                if step == self.step:
                    self.values |= values
        return reports

    def rest(self) -> list[Line]:
        """Return the last report, which no later step has completed."""
        values, self.values = self.values, {}
        return [Line(step=self.step, values=values)] if values else []

    def _found(self, line: str) -> list[tuple[int, dict[str, float]]]:
        if line.lstrip().startswith("{") and (report := _of_json(line)):
            return [report]
        matches = (match for pattern in self.patterns if (match := pattern.search(line)))
        return [report for match in matches if (report := self._of_match(match.groupdict()))]

    def _of_match(self, groups: Mapping[str, str | None]) -> tuple[int, dict[str, float]] | None:
        numbers = {name: value for name, text in groups.items() if (value := _number(text)) is not None}
        step = numbers.pop("step", None)
        if "step" in groups and (step is None or not math.isfinite(step)):
            return None
        if step is None:
            self.seen += 1
            step = self.seen
        return (int(step), numbers) if numbers else None


def recover(folder: TrialFolder, reader: OutputReader) -> None:
    """Record the reports that a process has printed and that its worker, which has died, has not recorded.

    Only where the process goes on from what it has saved: else it prints them again. reader: a new one.
    """
    if not folder.has_saved:
        return
    lines = [*reader.read(folder.unread_output(OUTPUT_MOST)), *reader.rest()]
    if reader.seen:  # lines that are counted: from where is not known
        return
    last = max((line.get("step", -1) for line in folder.lines()), default=-1)
    for line in lines:
        if line.get("step", -1) > last:
            folder.append(line)


def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern for `results.pattern`. Raises BadInput if it is no regular expression, or names no group."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BadInput(f"results.pattern: {brief(pattern)} is no regular expression: {error}") from error
    if not set(expression.groupindex) - {"step"}:
        raise BadInput(
            f"results.pattern: {brief(pattern)} has no named group; write for example "
            r"'step (?P<step>\d+): val loss (?P<valid_loss>\S+)'"
        )
    return expression


def _of_json(line: str) -> tuple[int, dict[str, float]] | None:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    items = cast("dict[str, Any]", fields).items()
    numbers = {name: as_float(value) for name, value in items if type(value) in (int, float)}
    name = next((name for name in STEP if name in numbers and math.isfinite(numbers[name])), None)
    if name is None or len(numbers) < 2:
        return None
    return int(numbers.pop(name)), numbers


def as_float(number: float) -> float:
    """Return a number as a float: an integer beyond all floats as infinity, as JSON reads 1e999.

    >>> as_float(3), as_float(-(10**400))
    (3.0, -inf)
    """
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text.rstrip(",;"))
    except ValueError:
        return None
