"""The options in a help text, as argparse, click and typer write it.

argparse: `--lr LR  learning rate (default: 0.1)`, `--opt {sgd,adam}`, `-b N, --batch N`, `--amp, --no-amp`.
click: `--lr FLOAT  Learning rate.  [default: 0.1]`, `--opt [sgd|adam]`, `-b, --batch INTEGER`, `--amp / --no-amp`.
typer: as click, or in boxes drawn with lines.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.sweeps.starting.arguments import UNKNOWN, Argument, by_name, kind_of, literal

_FRAME = re.compile(r"^\s*[│┃]|[│┃]\s*$|[╭╮╰╯─━┏┓┗┛]+")
_OPTION = re.compile(r"(?<![\w-])(--?[A-Za-z][\w.-]*)")
_DEFAULT = re.compile(
    r"[\[(][^\[\]()]*?\bdefault(?:s to|:|=)?\s*((?:\([^()]*\)|\[[^\[\]]*\]|[^\[\]();])*)", re.IGNORECASE
)
_LISTED = re.compile(r"[{\[<]([^{}\[\]<>]+)[}\]>]")  # {a,b}, [a|b], <a|b>; typer's <float> is a kind
_KINDS = {
    "float": ("FLOAT", "NUMBER", "DOUBLE"),
    "int": ("INTEGER", "INT"),
    "bool": ("BOOLEAN", "BOOL"),
    "str": ("TEXT", "PATH", "FILE", "FILENAME", "DIRECTORY", "DIR", "STR", "STRING", "UUID", "DATETIME"),
}
_METAVARS = {word: kind for kind, words in _KINDS.items() for word in words}
_HELP = ("help", "version", "install-completion", "show-completion")
_HEADINGS = re.compile(r"^\S.*:\s*$|^\s{0,2}(Usage|usage):")


@dataclass
class _Entry:
    """An option as the text has it: what stands left, and the words on it."""

    left: str
    words: list[str] = field(default_factory=list[str])


def options(text: str) -> list[Argument]:
    """Return the options and positional arguments that a help text lists; none of a text that is no help.

    >>> options("usage: train.py [-h] [--lr LR]\\n\\noptions:\\n  --lr LR  the rate (default: 0.1)")
    [Argument(name='lr', option='--lr', kind='float', default=0.1, choices=(), flag=False, turns_off=False, count=1, \
required=False)]
    """
    arguments = [argument for entry in _entries(text) if (argument := _argument(entry))]
    needed = _needed(text)
    known = by_name(argument for argument in arguments if argument.name not in _HELP)
    named = [a if a.option not in needed else _required(a) for a in known.values()]
    return named + [Argument(name, name, required=True) for name in _positional(text)]


def _positional(text: str) -> list[str]:
    """Return what has to be given by its place: a section of argparse's, the line of usage of click's."""
    section = re.search(r"^positional arguments:\n((?:[ \t]+.*\n?)+)", text, re.MULTILINE)
    if section:
        return re.findall(r"^ {2}([A-Za-z][\w-]*)", section[1], re.MULTILINE)
    usage = re.search(r"^\s*Usage:.*\[OPTIONS\]([ {}\w]*)", text, re.MULTILINE)
    return [word.strip("{}").lower() for word in usage[1].split() if word not in ("COMMAND", "ARGS")] if usage else []


def _required(argument: Argument) -> Argument:
    return argument.completed(Argument(argument.name, required=True))


def _entries(text: str) -> Iterator[_Entry]:
    """Yield what the text lists: lines that begin with an option, each with the further lines on it."""
    entry: _Entry | None = None
    indent = 0
    for raw in text.splitlines():
        line = _FRAME.sub(" ", raw).expandtabs(4).rstrip()
        stripped = line.strip().removeprefix("*").strip()
        begin = len(line) - len(line.lstrip())
        if not stripped or _HEADINGS.match(line):
            if entry:
                yield entry
            entry = None
        elif stripped.startswith("-") and len(stripped) > 1 and (entry is None or begin <= indent + 4):
            if entry:
                yield entry
            left, words = _parted(stripped)
            entry, indent = _Entry(left, words), begin
        elif entry:
            entry.words.append(stripped)
    if entry:
        yield entry


def _parted(line: str) -> tuple[str, list[str]]:
    """Return what a line has of options and their values, and the rest."""
    cells = re.split(r"\s{2,}", line)
    count = 1
    while count < len(cells) and (cells[count].startswith("-") or _is_metavar(cells[count])):
        count += 1
    return "  ".join(cells[:count]), cells[count:]


def _is_metavar(cell: str) -> bool:
    first = cell.split(" ")[0].strip("<>.").upper()
    listed = _LISTED.fullmatch(cell) is not None and ("|" in cell or "," in cell) and "default" not in cell
    return first in _METAVARS or listed


def _argument(entry: _Entry) -> Argument | None:
    left = _LISTED.sub(lambda listed: "" if re.search("[,|]", listed[1]) else listed[0], entry.left)
    names = _OPTION.findall(left)
    longs = [name for name in names if name.startswith("--")]
    if not names:
        return None
    pair = _pair(longs)
    option = (longs or names)[0]
    words = " ".join(entry.words)
    value = re.sub(r"[\s,/]+", " ", _OPTION.sub(" ", left[left.rfind(names[-1]) :])).strip()
    default = _default(words)
    if pair or value.strip("<>").upper() == "BOOL" or not (value or _LISTED.search(entry.left)):
        on = default in (True, "True", "true", (pair or option).lstrip("-")) or (pair and default == pair[2:])
        if pair and default is not None and on:
            return Argument(f"no-{pair[2:]}", f"--no-{pair[2:]}", "bool", default=False, flag=True, turns_off=True)
        return Argument(option.lstrip("-"), option, "bool", default=False, flag=True)
    choices = _choices(entry.left)
    kind = _kind(value, default, choices)
    if kind == "bool":  # an option that takes a truth as a value; of argparse's type=bool every text is true
        kind, choices = "str", ("true", "false") if re.search(r"\[[A-Z_0-9]+\]|BOOL", left) else ()
    required = re.search(r"[\[;]\s*required\]", words) is not None
    count = _count(value)
    return Argument(option.lstrip("-"), option, kind, _typed(default, kind), choices, count=count, required=required)


def _pair(longs: Sequence[str]) -> str:
    """Return the option of a pair that turns something on and off, "" if there is none."""
    return next((name for name in longs if f"--no-{name[2:]}" in longs or f"--no_{name[2:]}" in longs), "")


def _choices(left: str) -> tuple[Any, ...]:
    for listed in _LISTED.findall(left):
        values = re.split(r"\s*[,|]\s*", listed.strip())
        if len(values) > 1:
            return tuple(_word(value) for value in values)
    return ()


def _word(text: str) -> Any:
    """Return a choice: a number where it is one, else its text."""
    value = literal(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _kind(value: str, default: Any, choices: Sequence[Any]) -> str:
    first = value.split(" ")[0].strip("[]<>.").upper()
    if first in _METAVARS:
        return _METAVARS[first]
    known = kind_of(default)
    return kind_of(choices[0]) if known == UNKNOWN and choices else known


def _typed(default: Any, kind: str) -> Any:
    """Return a default as its kind has it: click writes 1.0 for the float 1."""
    if kind == "float" and isinstance(default, int) and not isinstance(default, bool):
        return float(default)
    return str(default) if kind == "str" and default is not None else default


def _count(value: str) -> int:
    """Return how many values an option takes, by its repeated words: `--betas BETAS BETAS`, `<FLOAT FLOAT>...`."""
    words = [word.strip("<>.") for word in value.split(" ")]
    return len(words) if len(words) > 1 and len({*words}) == 1 else 1


def _default(words: str) -> Any:
    defaults = _DEFAULT.findall(words)  # the last: libraries add it to what the author wrote
    text = defaults[-1].strip().rstrip(",") if defaults else ""
    if not text or text in ("None", "null", "==SUPPRESS=="):
        return None
    return literal(text.split("; ")[0])


def _needed(text: str) -> set[str]:
    """Return the options that argparse's line of usage has outside brackets: those are required."""
    usage = re.search(r"^usage:(.*?)(?:\n\s*\n|\Z)", text, re.DOTALL | re.MULTILINE)
    if not usage:
        return set()
    depth, outside = 0, ""
    for character in usage[1]:
        depth += (character in "[{") - (character in "]}")
        outside += character if depth == 0 else " "
    return {*re.findall(r"(?<!\S)(--?[A-Za-z][\w-]*)", outside)}
