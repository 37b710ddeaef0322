"""The draft of a spec: what was found out about training code, and the text of a spec with its comments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.core.errors import BadInput, brief
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.rules import WAYS
from espalier.sweeps.spec.space import ENGINE
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.starting.arguments import Argument

TRIALS = 16
WIDTH = 44  # columns before a comment
COMMENT_MOST = 200  # characters of a comment, which is one line
OWN_MEANING = {
    "lr_exponent": "the exponent of the rate",
    "decay_points": "where the rate decays, as shares of the budget",
    "decay_factor": "by what the rate decays",
    "floor": "the rate at the end, as a share of the peak",
    "power": "the exponent of a polynomial decay",
    "div": "the first rate, as a part of the peak",
    "schedule": "the kinds of schedule that a sweep knows",
}
"""Names that mean something of their own in a space."""


def meaning_in_a_space(name: str, domain: Any) -> str:
    """Return what a name means in a space where that is not what some code means by it; "" where it may stand there.

    >>> meaning_in_a_space("floor", [1, 2]), meaning_in_a_space("momentum", [True, False])
    ('the rate at the end, as a share of the peak', 'a number of its own')
    >>> meaning_in_a_space("momentum", [0.0, 0.9]), meaning_in_a_space("truth", [True, False])
    ('', '')
    """
    if name in OWN_MEANING:
        return OWN_MEANING[name]
    if name not in ("lr", *ENGINE):
        return ""
    try:
        make_spec({"name": "a", "function": "a.py:a", "space": {name: domain}})
    except BadInput:
        return "a number of its own"
    return ""


@dataclass(frozen=True)
class Line:
    """A line of the space. domain: as a spec has it. comment: "" for none. active: whether it counts."""

    name: str
    domain: Any
    comment: str = ""
    active: bool = True


@dataclass
class Draft:
    """What is known of a spec before it is written.

    origin: the command that wrote it. way: one of task, function, command; code: its value. steps: of a trial, and
    what they count. space: its lines. first: the defaults of what is searched. objective: metric and mode. pattern:
    for the output of a command. notes: what could not be told, or what is to be known.
    """

    origin: str
    name: str
    way: str
    code: str | Sequence[str]
    steps: int = 1000
    steps_comment: str = ""
    space: list[Line] = field(default_factory=list[Line])
    first: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metric: str = "valid_loss"
    mode: str = "min"
    metric_comment: str = ""
    pattern: str = ""
    pattern_comment: str = ""
    trials: int = TRIALS
    notes: list[str] = field(default_factory=list[str])

    @property
    def searched(self) -> list[str]:
        """The names that are searched."""
        return [line.name for line in self.space if line.active]

    def text(self) -> str:
        """Return the spec as YAML, with comments."""
        assert self.way in WAYS
        origin = brief(self.origin, COMMENT_MOST)
        lines = [f"# Written by `{origin}`. All fields: sweep schema", f"name: {value_text(self.name)}"]
        lines.append(f"{self.way}: {value_text(self.code)}")
        lines += self._results()
        lines += [_commented(f"budget: {{steps: {self.steps}}}", self.steps_comment)]
        lines += self._space() + self._first()
        objective = f"objective: {value_text({'metric': self.metric, 'mode': self.mode})}"
        lines += [_commented(objective, self.metric_comment), f"trials: {self.trials}"]
        lines += self._hints()
        return "\n".join(lines) + "\n"

    def _results(self) -> list[str]:
        if self.pattern:
            return ["results:", _commented(f"  pattern: {value_text(self.pattern)}", self.pattern_comment)]
        if self.way == "command" and self.pattern_comment:
            example = r"# results: {pattern: 'step (?P<step>\d+): val loss (?P<valid_loss>\S+)'}"
            return [f"{example}   # {self.pattern_comment}"]
        return []

    def _space(self) -> list[str]:
        active = [line for line in self.space if line.active]
        rest = [line for line in self.space if not line.active]
        lines = ["space:" if active else "space: {}"]
        lines += [_commented(f"  {value_text(line.name)}: {value_text(line.domain)}", line.comment) for line in active]
        lines += ["  # not searched, with its default:"] * bool(rest)
        return lines + [_commented(f"  # {line.name}: {value_text(line.domain)}", line.comment) for line in rest]

    def _first(self) -> list[str]:
        return ["first:", _commented(f"  - {value_text(dict(self.first))}", "the defaults")] if self.first else []

    def _hints(self) -> list[str]:
        hints = [_commented("# stopping: {}", "ends early what falls behind")]
        if self.way != "task":
            hints.append(_commented("# resources: {timeout: 3600}", "seconds that a trial may take"))
        return hints


def value_text(value: Any) -> str:
    """Return a value as YAML on one line.

    >>> value_text(["python", "${args}"]), value_text({"low": 1e-4, "log": True}), value_text("off"), value_text(None)
    ("[python, '${args}']", '{low: 0.0001, log: true}', "'off'", 'null')
    >>> value_text(["a\\nb: {"])
    '["a\\\\nb: {"]'
    """
    plain: Any = [*value] if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownVariableType]
    text = yaml12.write(plain, flow=True, width=1 << 20).removesuffix("...\n").strip()
    return json.dumps(plain) if "\n" in text else text  # a text of several lines; JSON is YAML on one line


def _commented(text: str, comment: str) -> str:
    return f"{text.ljust(WIDTH)}  # {brief(comment, COMMENT_MOST)}" if comment else text


def comment_on_default(argument: Argument) -> str:
    """Return the comment on an argument that is searched."""
    if argument.default is None:
        return "needed: no default" if argument.required else "its default is not known"
    return f"default {value_text(argument.default)}"


def default_line(argument: Argument, comment: str = "") -> Line:
    """Return the line of an argument that is not searched, with its default."""
    if argument.required:
        comment = comment or "needed: no default"
    elif argument.default is None and not argument.flag:
        comment = comment or "its default is not known"
    elif argument.choices:
        comment = comment or f"of {', '.join(map(str, argument.choices[:8]))}"
    return Line(argument.name, argument.plain_default, comment, active=False)
