"""The spool of a sweep: what is to be recorded as lines of JSON on disk, and how many of them have been sent.

It keeps every line, so that whatever MLflow lacks can be sent again. A file that was damaged is read as far as it goes.
"""

import errno
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput
from espalier.sweeps.home import NO_ROOM, naming

MOST_BYTES = 256 * 2**20  # beyond this, points of curves are dropped and counted; starts and ends never
NAMED = 3  # lines that cannot be read and are named one by one; of more their number is said
Line = dict[str, Any]

FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "open": {"name": str, "tags": dict, "params": dict, "texts": dict},
    "pause": {},
    "close": {"values": dict, "tags": dict, "texts": dict, "files": list, "status": str},
    "start": {"trial": int, "name": str, "params": dict, "tags": dict},
    "tag": {"trial": int, "tags": dict},
    "report": {"trial": int, "step": (int, float), "points": list},
    "end": {"trial": int, "name": str, "step": (int, float), "tags": dict, "texts": dict, "status": str},
}
"""What a line of each kind has, beside its `op` and its `time` (ms since 1970)."""


def parsed(text: bytes) -> Line | None:
    """Return a line of the spool, None for what is none. Zeros before it are what a lost write has left.

    >>> parsed(b'\\0\\0{"op": "pause", "time": 1}')
    {'op': 'pause', 'time': 1}
    >>> parsed(b'{"op": "pau\\xff"}')
    """
    try:
        line = json.loads(text.strip(b"\0\r\n "))
    except (ValueError, RecursionError):
        return None
    fields = FIELDS.get(str(line.get("op"))) if isinstance(line, dict) else None
    if fields is None or not isinstance(line.get("time"), int):
        return None
    return line if all(isinstance(line.get(name), kind) for name, kind in fields.items()) else None


class Spool:
    """Lines on disk in the order they were said, and how many of them have been sent."""

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None):
        """Open the spool of a folder. note: told in one sentence what of it is damaged.

        Raises BadInput for files that cannot be opened.
        """
        self.path, self.mark, self.refused = (folder / f"spool.{end}" for end in ("jsonl", "sent", "refused"))
        self.note = note
        self.reached: dict[int, float] = {}  # trial -> its last step said
        self.begun: set[int] = set()
        self.first: dict[int, int] = {}  # trial -> the place of its first line
        self.ended: dict[int, str] = {}  # trial -> the status of its run
        self.own: list[Line] = []  # the sweep's own lines: open, pause, close
        self.dropped = 0
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

    # --- what a crash or a disk has left -----------------------------------------------------------------------------

    def _cut_torn_line(self) -> None:
        """Cut off a last line that a crash left unfinished."""
        if not self.path.exists():
            return
        with open(self.path, "r+b") as file:
            end = place = file.seek(0, os.SEEK_END)
            while place > 0:
                begin = max(0, place - 2**16)
                file.seek(begin)
                if (cut := file.read(place - begin).rfind(b"\n")) >= 0:
                    place = begin + cut + 1
                    break
                place = begin
            if place < end:
                file.truncate(place)

    def _scan(self) -> None:
        """Read the whole spool once: how far each trial is, and which lines cannot be read."""
        bad: list[str] = []
        for number, (place, line) in enumerate(self._lines(), 1):
            if line is None:
                bad.append(f"{self.path}: line {number} (byte {place:,}) cannot be read and is left out")
            else:
                self._take_note(line, place)
        for sentence in bad[:NAMED]:
            self.note(sentence)
        if len(bad) > NAMED:
            self.note(f"{self.path}: {len(bad) - NAMED} more lines cannot be read and are left out")

    def _take_note(self, line: Line, place: int) -> None:
        if "trial" not in line:
            self.own.append(line)
            return
        self.begun.add(line["trial"])
        self.first.setdefault(line["trial"], place)
        if line["op"] == "report":
            self.reached[line["trial"]] = max(line["step"], self.reached.get(line["trial"], -1))
        elif line["op"] == "end":
            self.ended[line["trial"]] = line["status"]
        elif line["op"] == "start":
            self.ended.pop(line["trial"], None)

    def _read_mark(self) -> int:
        """Return how many bytes have been sent; 0 where the mark cannot be right: sending twice changes nothing."""
        if not self.mark.exists():
            return 0
        text, size = self.mark.read_bytes()[:40].strip(), self.path.stat().st_size
        place = int(text) if text.isdigit() and len(text) < 20 else -1
        if place == 0 or (0 < place <= size and self._ends_a_line(place)):
            return place
        told = text.decode(errors="replace")
        self.note(f"{self.mark}: {told!r} is no place in {self.path.name} ({size:,} bytes); all of it is sent again")
        return 0

    def _ends_a_line(self, place: int) -> bool:
        with open(self.path, "rb") as file:
            file.seek(place - 1)
            return file.read(1) == b"\n"

    # --- lines -------------------------------------------------------------------------------------------------------

    def append(self, line: Line) -> None:
        """Write one line so that it outlives this process; but no report again, as trials that resume say them all."""
        if line["op"] == "report":
            if line["step"] <= self.reached.get(line["trial"], -1):
                return
            if self._file.tell() - self.sent > MOST_BYTES:
                self.dropped += 1
                return
        place = self._write(json.dumps(line).encode() + b"\n")
        self._take_note(line, place)

    def _write(self, text: bytes) -> int:
        """Write whole text or nothing; return its place. Raises OSError, which names the file."""
        place, rest = self._file.tell(), memoryview(text)
        try:
            with naming(self.path):
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(place)
            self._file.seek(place)
            raise
        return place

    def pending(self, most: int = 5000) -> tuple[list[Line], int]:
        """Return lines that wait, each with its place in the file as `at`, and the place after them."""
        lines, place = [], self.sent
        with open(self.path, "rb") as file:
            file.seek(place)
            while len(lines) < most and (text := file.readline()).endswith(b"\n"):
                if (line := parsed(text)) is not None:
                    lines.append(line | {"at": place})
                place += len(text)
        return lines, place

    def done(self, place: int) -> None:
        """Remember that everything before a place has been sent."""
        self.sent = place
        temporary = self.mark.with_suffix(".part")
        with naming(self.mark):
            temporary.write_text(str(place))
        os.replace(temporary, self.mark)

    def close(self) -> None:
        """Take no more lines."""
        self._file.close()

    def _lines(self) -> Iterator[tuple[int, Line | None]]:
        place = 0
        with open(self.path, "rb") as file:
            for text in file:
                if text.endswith(b"\n"):
                    yield place, parsed(text)
                place += len(text)

    def said(self, op: str) -> Iterator[Line]:
        """Yield all lines of one kind, sent or not."""
        return (line for _, line in self._lines() if line and line["op"] == op)

    def of(self, trials: Collection[int | None]) -> list[Line]:
        """Return all lines of some trials, sent or not; None stands for the sweep itself."""
        return [line | {"at": place} for place, line in self._lines() if line and line.get("trial") in trials]

    # --- what MLflow refuses -----------------------------------------------------------------------------------------

    def refuse(self, trial: str, what: str, why: str) -> None:
        """Note a part of a record that MLflow does not take; its lines are kept, and sent again by a resume."""
        with open(self.refused, "a", encoding="utf-8") as file:
            file.write(json.dumps({"trial": trial, "what": what, "why": why}) + "\n")

    def refusals(self) -> list[dict[str, str]]:
        """Return what MLflow has refused."""
        found = []
        for text in self.refused.read_bytes().splitlines() if self.refused.exists() else []:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(text)
                found.append({name: str(entry[name]) for name in ("trial", "what", "why")})
        return found

    def forget_refusals(self) -> None:
        """Begin anew: what was refused is about to be sent again."""
        self.refused.unlink(missing_ok=True)
