"""The spool of a sweep: records as lines of JSON on disk, and how many of them have been sent.

It keeps every line, so that records missing in MLflow can be sent again. The readable part of a damaged file is used.
A mark on disk is the position up to which all lines have been sent; in memory there is one for each trial.
"""

import errno
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from espalier.core.errors import BadInput
from espalier.sweeps.home import NO_ROOM, naming
from espalier.sweeps.recording.records import (
    Line,
    ParentRecord,
    Record,
    SweepClosed,
    TrialEnded,
    TrialReported,
    TrialStarted,
    from_json,
    to_json,
)

MAX_UNSENT_BYTES = 256 * 2**20  # beyond this, reports are dropped and counted; starts and ends never
NAMED_LINES = 3  # how many unreadable parts are named; more are only counted
R = TypeVar("R", bound=Record)


class Spool:
    """Lines on disk in order, and how many of them have been sent."""

    def __init__(self, folder: Path, max_unsent_bytes: int = MAX_UNSENT_BYTES):
        """Open the spool of a folder; create it if it is missing.

        max_unsent_bytes: when more is pending, reports are dropped.
        Raises BadInput for files that cannot be opened.
        """
        self.path, self.mark, self.refused = (folder / f"spool.{end}" for end in ("jsonl", "sent", "refused"))
        self.max_unsent_bytes = max_unsent_bytes
        self.damage: list[str] = []  # a sentence on each unreadable part
        self.reached: dict[int, float] = {}  # trial -> the last step it reported
        self.begun: set[int] = set()
        self.first: dict[int, int] = {}  # trial -> the position of its first line
        self.ended: dict[int, str] = {}  # trial -> the status of its run
        self.own: list[ParentRecord] = []  # the sweep's own records
        self.dropped = 0
        self.sent_at = 0.0  # when a line was last sent, by the monotonic clock
        self._sent_of: dict[int | None, int] = {}  # trial -> the position after its last sent line
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in (self.path, self.mark, self.refused):
                if file.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
            self._cut_torn_line()
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - open as long as the spool is
            self._scan()
            self.sent = self._read_mark()
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise BadInput(
                f"{error.filename or self.path}: cannot be opened ({error.strerror}); move it away, then resume"
            ) from error

    # --- recovery -----------------------------------------------------------------------------

    def _cut_torn_line(self) -> None:
        """Cut off an incomplete last line, left by a crash."""
        if not self.path.exists():
            return
        with open(self.path, "r+b") as file:
            end = position = file.seek(0, os.SEEK_END)
            while position > 0:
                begin = max(0, position - 2**16)
                file.seek(begin)
                if (cut := file.read(position - begin).rfind(b"\n")) >= 0:
                    position = begin + cut + 1
                    break
                position = begin
            if position < end:
                file.truncate(position)

    def _scan(self) -> None:
        """Read the whole spool once: the progress of each trial, and the unreadable lines."""
        bad: list[str] = []
        for number, (position, line) in enumerate(self._lines(), 1):
            if line is None:
                bad.append(f"{self.path}: line {number} (byte {position:,}) cannot be read and is left out")
            else:
                self._index(line.record, position)
        self.damage += bad[:NAMED_LINES]
        if len(bad) > NAMED_LINES:
            self.damage.append(f"{self.path}: {len(bad) - NAMED_LINES} more lines cannot be read and are left out")

    def _index(self, record: Record, position: int) -> None:
        """Update the progress of a record's trial."""
        if record.trial is None:
            self.own.append(record)
            return
        self.begun.add(record.trial)
        self.first.setdefault(record.trial, position)
        if isinstance(record, TrialReported):
            self.reached[record.trial] = max(record.step, self.reached.get(record.trial, -1))
        elif isinstance(record, TrialEnded):
            self.ended[record.trial] = record.status
        elif isinstance(record, TrialStarted):
            self.ended.pop(record.trial, None)

    def _read_mark(self) -> int:
        """Return how many bytes have been sent; 0 if the mark is invalid, since sending twice changes nothing."""
        if not self.mark.exists():
            return 0
        text, size = self.mark.read_bytes()[:40].strip(), self.path.stat().st_size
        position = int(text) if text.isdigit() and len(text) < 20 else -1
        if position == 0 or (0 < position <= size and self._ends_a_line(position)):
            return position
        content = text.decode(errors="replace")
        self.damage.append(
            f"{self.mark}: {content!r} is no place in {self.path.name} ({size:,} bytes); all of it is sent again"
        )
        return 0

    def _ends_a_line(self, position: int) -> bool:
        with open(self.path, "rb") as file:
            file.seek(position - 1)
            return file.read(1) == b"\n"

    # --- lines -------------------------------------------------------------------------------------------------------

    def append(self, record: Record, time_ms: int) -> None:
        """Append a record durably; skip repeated reports, which resumed trials send again."""
        if isinstance(record, TrialReported):
            if record.step <= self.reached.get(record.trial, -1):
                return
            if self._file.tell() - self.sent > self.max_unsent_bytes:
                self.dropped += 1
                return
        position = self._write(to_json(record, time_ms).encode() + b"\n")
        self._index(record, position)

    def _write(self, text: bytes) -> int:
        """Write text completely or not at all; return its position. Raises OSError that names the file."""
        position, rest = self._file.tell(), memoryview(text)
        try:
            with naming(self.path):
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(position)
            self._file.seek(position)
            raise
        return position

    @property
    def size(self) -> int:
        """The position after the last line, in bytes."""
        return self.path.stat().st_size

    def pending(self, most: int = 5000) -> tuple[list[Line], int]:
        """Return at most `most` lines after the mark, and the position after them."""
        lines, position = [], self.sent
        with open(self.path, "rb") as file:
            file.seek(position)
            while len(lines) < most and (text := file.readline()).endswith(b"\n"):
                if (line := from_json(text, position)) is not None:
                    lines.append(line)
                position += len(text)
        return lines, position

    def unsent(self, lines: Iterable[Line]) -> list[Line]:
        """Return the lines that have not been acknowledged."""
        return [line for line in lines if line.position >= self._sent_of.get(line.trial, 0)]

    def acknowledge(self, line: Line) -> None:
        """Mark the lines of a trial up to this one as sent."""
        self._sent_of[line.trial] = max(line.position + 1, self._sent_of.get(line.trial, 0))
        self.sent_at = time.monotonic()

    def move_mark(self, position: int) -> None:
        """Store on disk that everything before a position has been sent."""
        self.sent = position
        temporary = self.mark.with_suffix(".part")
        with naming(self.mark):
            temporary.write_text(str(position))
        os.replace(temporary, self.mark)

    def close(self) -> None:
        """Accept no more lines."""
        self._file.close()

    def _lines(self) -> Iterator[tuple[int, Line | None]]:
        position = 0
        with open(self.path, "rb") as file:
            for text in file:
                if text.endswith(b"\n"):
                    yield position, from_json(text, position)
                position += len(text)

    def records(self, kind: type[R]) -> Iterator[R]:
        """Yield all records of one kind, sent or not."""
        return (line.record for _, line in self._lines() if line and isinstance(line.record, kind))

    def lines_of(self, trials: Collection[int | None]) -> list[Line]:
        """Return all lines of some trials, sent or not; None stands for the sweep itself."""
        return [line for _, line in self._lines() if line and line.trial in trials]

    @property
    def is_closed(self) -> bool:
        """Whether the end of the sweep has been recorded."""
        return any(isinstance(record, SweepClosed) for record in self.own)

    # --- refusals -----------------------------------------------------------------------------------------

    def refuse(self, trial: str, what: str, why: str) -> None:
        """Note a part of a record that MLflow refused. Its lines stay, and are sent again by a resume."""
        with open(self.refused, "a", encoding="utf-8") as file:
            file.write(json.dumps({"trial": trial, "what": what, "why": why}) + "\n")

    def refusals(self) -> list[dict[str, str]]:
        """Return sentences on what MLflow has refused."""
        refusals = []
        for text in self.refused.read_bytes().splitlines() if self.refused.exists() else []:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(text)
                refusals.append({name: str(entry[name]) for name in ("trial", "what", "why")})
        return refusals

    def forget_refusals(self) -> None:
        """Clear the refusals: the refused records are about to be sent again."""
        self.refused.unlink(missing_ok=True)
