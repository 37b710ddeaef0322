"""Records: one type for each kind, with its JSON form.

The sweep's loop makes each record once. The recorder writes it to the spool as a line of JSON, and sends it from there.
`trial` is None in the records of the sweep's own run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, cast

MetricPoint = tuple[str, float, float]  # a metric's name, the step, the value


@dataclass(frozen=True)
class SweepOpened:
    """The sweep begins or is resumed."""

    op: ClassVar = "open"
    trial: ClassVar = None
    name: str
    tags: Mapping[str, object]
    params: Mapping[str, object]
    texts: Mapping[str, str]  # text artifacts by name
    view: Mapping[str, object] = field(default_factory=dict[str, object])  # of its trials, see shown.trials_view
    datasets: Sequence[Mapping[str, str]] = ()  # see shown.DatasetRef


@dataclass(frozen=True)
class SweepPaused:
    """The sweep is interrupted and may be resumed."""

    op: ClassVar = "pause"
    trial: ClassVar = None


@dataclass(frozen=True)
class SweepClosed:
    """The sweep has ended: its last values, artifacts and status."""

    op: ClassVar = "close"
    trial: ClassVar = None
    values: Mapping[str, float]
    tags: Mapping[str, object]
    texts: Mapping[str, str]
    files: Sequence[str]  # figures, and the archive of the code: in the folder of the spool
    status: str
    points: Sequence[MetricPoint] = ()  # of metrics that have more than one value


@dataclass(frozen=True)
class TrialStarted:
    """A trial trains, or trains again."""

    op: ClassVar = "start"
    trial: int
    name: str
    params: Mapping[str, object]
    tags: Mapping[str, object]


@dataclass(frozen=True)
class TrialTagged:
    """Tags of a trial that became known later."""

    op: ClassVar = "tag"
    trial: int
    tags: Mapping[str, object]


@dataclass(frozen=True)
class TrialReported:
    """Points of a trial's metrics up to a step. Later reports have later steps: that makes them idempotent."""

    op: ClassVar = "report"
    trial: int
    step: float
    points: Sequence[MetricPoint]


@dataclass(frozen=True)
class TrialEnded:
    """A trial has ended."""

    op: ClassVar = "end"
    trial: int
    name: str
    step: float
    tags: Mapping[str, object]
    texts: Mapping[str, str]
    status: str


ParentRecord = SweepOpened | SweepPaused | SweepClosed
TrialRecord = TrialStarted | TrialTagged | TrialReported | TrialEnded
Record = ParentRecord | TrialRecord
KINDS: Mapping[str, type[Record]] = {
    kind.op: kind
    for kind in (SweepOpened, SweepPaused, SweepClosed, TrialStarted, TrialTagged, TrialReported, TrialEnded)
}
JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "trial": int,
    "name": str,
    "step": (int, float),
    "status": str,
    "tags": dict,
    "params": dict,
    "texts": dict,
    "values": dict,
    "points": list,
    "files": list,
    "view": dict,
    "datasets": list,
}
"""What the JSON of a field is, by its name."""


@dataclass(frozen=True)
class Line:
    """A record in a spool. time_ms: since 1970. position: its offset in the file, in bytes."""

    record: Record
    time_ms: int
    position: int = 0

    @property
    def trial(self) -> int | None:
        """The trial of the record; None for the sweep itself."""
        return self.record.trial


def to_json(record: Record, time_ms: int) -> str:
    """Return a record as a line of JSON.

    >>> to_json(SweepPaused(), 1)
    '{"op": "pause", "time": 1}'
    """
    return json.dumps({"op": record.op, "time": time_ms, **vars(record)})


def from_json(text: bytes, position: int = 0) -> Line | None:
    """Parse a line of the spool; None if it is not valid. Leading zero bytes are left by a lost write.

    Unknown fields are ignored, and those of later versions have their defaults: earlier ones had others.

    >>> from_json(b'\\0\\0{"op": "pause", "time": 1}')
    Line(record=SweepPaused(), time_ms=1, position=0)
    >>> from_json(b'{"op": "pau\\xff"}')
    """
    try:
        content: object = json.loads(text.strip(b"\0\r\n "))
    except (ValueError, RecursionError):
        return None
    return _line(cast("dict[str, Any]", content), position) if isinstance(content, dict) else None


def _line(content: Mapping[str, Any], position: int) -> Line | None:
    """Return a JSON object as a line of the spool, None if it does not have a record's fields."""
    kind, time_ms = KINDS.get(str(content.get("op"))), content.get("time")
    if kind is None or not isinstance(time_ms, int):
        return None
    values: dict[str, Any] = {
        each.name: content.get(each.name) for each in fields(kind) if each.name in content or _is_required(each)
    }
    if not all(isinstance(value, JSON_TYPES[name]) for name, value in values.items()):
        return None
    return Line(kind(**values), time_ms, position)


def _is_required(part: Field[Any]) -> bool:
    return part.default is MISSING and part.default_factory is MISSING
