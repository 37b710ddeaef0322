"""What has changed in a user's code since it was recorded."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from espalier.core.errors import BadInput
from espalier.sweeps.code.archive import entries
from espalier.sweeps.code.copies import UNPACKED_MIB, CodeRecord, read_archive, read_record

PROSE = (".md", ".rst")  # a change of them changes no training
SPEC = re.compile(rb"^(task|function|command)\s*:", re.MULTILINE)  # a sweep's spec is stored with it
NAMED = 2


class Change(NamedTuple):
    """A recorded file that is another now. gone: it is not there any more."""

    path: Path
    gone: bool


def changed_files(folder: Path, fact: Mapping[str, object]) -> list[Change]:
    """Return which files of a recorded copy in a sweep's folder are others now; those that the task imports first."""
    packed = read_archive(folder, fact)
    return changes_since(packed, read_record(folder, fact)) if packed else []


def changes_since(packed: bytes, record: CodeRecord) -> list[Change]:
    """Return which files of an archive are others now in their own place."""
    with suppress(BadInput):
        changes = list(_changes(packed))
        needed = set(record.needed)
        return sorted(changes, key=lambda change: (str(change.path) not in needed, change))
    return []


def _changes(packed: bytes) -> Iterator[Change]:
    for name, content in entries(packed, UNPACKED_MIB):
        path = Path(os.sep, name)
        if content is None or path.suffix in PROSE or (path.suffix in (".yaml", ".yml") and SPEC.search(content)):
            continue
        try:
            if path.read_bytes() != content:
                yield Change(path, gone=False)
        except OSError:
            yield Change(path, gone=True)


def sentence(changes: Sequence[Change]) -> str:
    """Return which files have changed.

    >>> sentence([Change(Path("/a/train.py"), False), Change(Path("/a/nets.py"), True)])
    'train.py has changed since, nets.py is gone'
    >>> sentence([Change(Path("/a/train.py"), False), Change(Path("/a/nets.py"), False)])
    'train.py and nets.py have changed since'
    """
    edited, gone = ([change.path.name for change in changes if change.gone == wanted] for wanted in (False, True))
    parts = [f"{_names(edited)} {'has' if len(edited) == 1 else 'have'} changed since"] if edited else []
    parts += [f"{_names(gone)} {'is' if len(gone) == 1 else 'are'} gone"] if gone else []
    return ", ".join(parts)


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join(names)
