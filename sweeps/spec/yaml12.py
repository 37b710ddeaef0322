"""YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): read with limits, written losslessly.

PyYAML parses a text into events; its own schema is YAML 1.1's, where 010 is 8, 1:30 is 90, `off` is false and a date
is no text. Here a plain word is null, a boolean, a whole number (10, 010, 0o17, 0x1F), a number (0.1, 1e-4, .inf) or
else a text. Values are built from the events and counted, so that aliases and merge keys cannot expand a few lines
into billions of values. Only this file reads or writes YAML.
"""

import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeGuard

import yaml

from espalier.core.errors import BadInput, brief
from espalier.sweeps.spec.values import Json

DEPTH = 100  # levels of lists and mappings
ALIASED = 20_000  # the most values that aliases and merge keys may add
DIGITS = 400  # the most digits of a number; the largest float has 309

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_ONCE_A_NUMBER = re.compile(
    r"[-+]?(0b_*[01][01_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)"
)
"""What YAML 1.1 read as a number and 1.2 does not: with underscores, binary, hexadecimal with a sign."""
_NO_SPACE = re.compile(r"\s*([^\W\d][\w.-]*):(\S.*)", re.DOTALL)
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
"""A character beyond U+FFFF as JSON escapes it, by two halves (RFC 8259, section 7)."""
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with libyaml


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes every text that YAML 1.1 or 1.2 would read as another type."""


for _name, _pattern in (("int", _INT), ("float", _FLOAT), ("float", _INF), ("float", _NAN)):
    _Dumper.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789"))
_Dumper.add_implicit_resolver(f"{_TAG}int", re.compile(f"(?:{_ONCE_A_NUMBER.pattern})$"), list("-+0123456789"))


def write(value: object, flow: bool | None = False, width: int = 120) -> str:
    """Return a value as YAML, its fields in their order. flow: None writes the innermost lists on one line.

    >>> write({"a": [1e-4, "1e4", "010", "off"]}, flow=None)
    "a: [0.0001, '1e4', '010', 'off']\\n"
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=flow, width=width)


def read(text: str, source: str) -> Any:
    """Return the value of a YAML document. Raises BadInput with the line and column of a mistake.

    Also refused: two documents, duplicate keys, keys that are not texts, tags outside the core schema, recursive
    aliases, more than `DEPTH` levels, and more than `ALIASED` values from aliases and merge keys.

    >>> read("{a: 010, b: [off, 1e-4, 1:30], c: &c {d: 0x1F}, e: {<<: *c, f: ~}}", "s")
    {'a': 10, 'b': ['off', 0.0001, '1:30'], 'c': {'d': 31}, 'e': {'d': 31, 'f': None}}
    """
    _check_characters(text, source)
    loader = yaml.SafeLoader if _SURROGATES.search(text) else _Loader  # libyaml refuses halves, even two that match
    try:
        return _Builder(yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{source}{where}: not valid YAML: {brief(error.problem or error.context, 300)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{source}: not valid YAML: {brief(str(error).splitlines()[0])}") from error


def _check_characters(text: str, source: str) -> None:
    if unreadable := _UNREADABLE.search(text, 1 if text.startswith("\ufeff") else 0):
        line = text.count("\n", 0, unreadable.start()) + 1
        column = unreadable.start() - text.rfind("\n", 0, unreadable.start())
        what = f"the character U+{ord(unreadable[0]):04X} belongs in no text"
        raise BadInput(f"{source}, line {line}, column {column}: not valid YAML: {what}")


def _wrong(event: yaml.Event, what: str) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, what, event.start_mark)


def scalar(text: str) -> bool | int | float | str | None:
    """Return the value of a plain word. Raises ValueError for a number in YAML 1.1's notation, or one that is too long.

    >>> [scalar(word) for word in ("010", "0o17", "1e4", "off", "~", "+.inf", "1:30")]
    [10, 15, 10000.0, 'off', None, inf, '1:30']
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INF.fullmatch(text):
        return float(text.replace(".", ""))
    if _NAN.fullmatch(text):
        return float("nan")
    if (whole := _INT.fullmatch(text)) or _FLOAT.fullmatch(text):
        if len(text) > DIGITS:
            raise ValueError(f"a number of {len(text):,} characters; {DIGITS} at most")
        return _whole(text) if whole else float(text)
    if _ONCE_A_NUMBER.fullmatch(text):
        raise ValueError(_meaning(text))
    return text


def _whole(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _meaning(text: str) -> str:
    """Return a hint for a number in YAML 1.1's notation."""
    plain = text.replace("_", "")
    if plain.lstrip("+-")[:2] in ("0b", "0x") and len(plain) < DIGITS:
        plain = str(int(plain, 0))
    return f"{brief(text)} is no number in YAML 1.2; write {brief(plain)}, or '{brief(text)}' in quotes for the text"


class _Builder:
    """Builds the value of a document from its events, and counts the values copied by aliases and merge keys."""

    def __init__(self, events: Iterator[yaml.Event]):
        self.events = events
        self.anchored: dict[str, tuple[Json, int]] = {}  # by anchor: a value, and how many values it contains
        self.open: set[str] = set()  # anchors of incomplete values
        self.aliased = 0

    def document(self) -> Json:
        """Return the value of the only document; None if there is none."""
        value = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                value, _ = self._node(next(self.events), 0)
                next(self.events)  # the end of the document
                if isinstance(further := next(self.events), yaml.DocumentStartEvent):
                    _wrong(further, "a second document; one is taken")
        return value

    def _node(self, event: yaml.Event, depth: int) -> tuple[Json, int]:
        """Return the value that starts with an event, and how many values it contains."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if depth > DEPTH:
            _wrong(event, f"more than {DEPTH} levels of lists and mappings")
        if event.anchor:
            self.open.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            built = _text_or_number(event), 1
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, "seq")
            built = self._sequence(depth)
        else:
            _check_tag(event, "map")
            built = self._mapping(event, depth)
        if event.anchor:
            self.open.discard(event.anchor)
            self.anchored[event.anchor] = built
        return built

    def _alias(self, event: yaml.AliasEvent) -> tuple[Json, int]:
        if event.anchor in self.open:
            _wrong(event, f"the alias *{brief(event.anchor)} stands inside of what it stands for")
        if event.anchor not in self.anchored:
            _wrong(event, f"the alias *{brief(event.anchor)} has no anchor before it")
        value, size = self.anchored[event.anchor]
        self._count(event, size)
        return value, size

    def _count(self, event: yaml.Event, size: int) -> None:
        self.aliased += size
        if self.aliased > ALIASED:
            _wrong(event, f"aliases and merge keys that stand for more than {ALIASED:,} values")

    def _sequence(self, depth: int) -> tuple[list[Json], int]:
        values: list[Json] = []
        total = 1
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            value, size = self._node(event, depth + 1)
            values.append(value)
            total += size
        return values, total

    def _mapping(self, begin: yaml.Event, depth: int) -> tuple[dict[str, Json], int]:
        own: dict[str, Json] = {}
        merged: dict[str, Json] = {}
        total, merges = 1, False
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = "<<" if merge else self._key(event)
            if key in own or (merge and merges):
                _wrong(begin, f"the key '{brief(key)}' stands twice, again in line {event.start_mark.line + 1}")
            value_event = next(self.events)
            _check_space(event, value_event)
            value, size = self._node(value_event, depth + 1)
            total += size + 1
            if merge:
                merged, merges = self._merged(event, value, size), True
            else:
                own[key] = value
        return merged | own if merged else own, total

    def _key(self, event: yaml.Event) -> str:
        if isinstance(event, yaml.AliasEvent):
            key, _ = self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            key, _ = self._node(event, 0)
        else:
            key = None
        if not isinstance(key, str):
            word = brief(event.value) if isinstance(event, yaml.ScalarEvent) else "..."
            _wrong(event, f"a key that is no text; put it in quotes: '{word}'")
        return key

    def _merged(self, event: yaml.Event, value: Json, size: int) -> dict[str, Json]:
        """Return the fields of a merge key; the first of a list takes precedence."""
        merged: dict[str, Json] = {}
        for mapping in reversed(value if isinstance(value, list) else [value]):
            if not isinstance(mapping, dict):
                _wrong(event, "the key '<<' merges a mapping, or a list of mappings")
            merged |= mapping
        self._count(event, size)
        return merged


def _text_or_number(event: yaml.ScalarEvent) -> bool | int | float | str | None:
    """Return the value of a scalar: by its tag, else by its plain word, else its text."""
    event.value = _joined(event)
    if event.tag is None and event.implicit[0]:
        try:
            return scalar(event.value)
        except ValueError as error:
            _wrong(event, str(error))
    tag = (event.tag or "").removeprefix(_TAG)
    if tag in ("", "!", "str"):
        return event.value
    _check_tag(event, "null", "bool", "int", "float")
    try:
        value = scalar(event.value)
    except ValueError:
        value = event.value
    if tag == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(event.value) if _FLOAT.fullmatch(event.value) else float(value)
    if type(value) is not {"null": type(None), "bool": bool, "int": int, "float": float}[tag]:
        _wrong(event, f"'{brief(event.value)}' is no {tag}")
    return value


def _joined(event: yaml.ScalarEvent) -> str:
    """Return the text of a scalar, two matching halves of a character as that character."""
    if event.style != '"' or event.value.isascii():
        return event.value
    try:
        return event.value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        _wrong(event, "half of a character; write the character, or both halves")


def _check_space(key: yaml.Event, value: yaml.Event) -> None:
    """Refuse {low:-4}, which YAML reads as the key `low:-4` with value null."""
    if _is_plain(key) and _is_plain(value) and value.value == "" and (missing := missing_space(key.value)):
        _wrong(key, missing)


def _is_plain(event: yaml.Event) -> TypeGuard[yaml.ScalarEvent]:
    """Whether an event is a scalar without quotes and tag."""
    return isinstance(event, yaml.ScalarEvent) and event.implicit[0]


def missing_space(text: str) -> str:
    """Return a hint if a text lacks the space after a field's colon; "" for any other text.

    >>> missing_space("low:-4"), missing_space("a: 1")
    ("no space after the colon of 'low:-4'; write low: -4", '')
    """
    parts = _NO_SPACE.fullmatch(text)
    if not parts:
        return ""
    return f"no space after the colon of '{brief(text)}'; write {brief(parts[1])}: {brief(parts[2])}"


def _check_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent, *kinds: str) -> None:
    if event.tag not in (None, "!", *(f"{_TAG}{kind}" for kind in kinds)):
        tag = event.tag.replace(_TAG, "!!")
        _wrong(event, f"the tag '{brief(tag)}'; only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are read")
