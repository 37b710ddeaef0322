"""The records of a sweep, as they are given away: with their files where these are in the copy."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from espalier.sweeps.recording.records import SweepClosed, from_json, to_json
from espalier.sweeps.recording.spool import Spool


def exported_spool(folder: Path) -> Iterator[str]:
    """Yield the lines of a sweep's spool for another machine, which are all sent there. folder: the sweep's."""
    if not (folder / "spool.jsonl").is_file():
        return
    with closing(Spool(folder)) as spool, open(spool.path, "rb") as file:
        for text in file:
            if line := from_json(text):
                record = line.record
                if isinstance(record, SweepClosed):
                    record = replace(record, files=[_within(name, folder) for name in record.files])
                yield to_json(record, line.time_ms)


def _within(name: str, folder: Path) -> str:
    """Return a file of a sweep's folder by its path in there: earlier versions recorded whole paths."""
    path = Path(name)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else name
