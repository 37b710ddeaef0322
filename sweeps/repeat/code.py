"""The code that a rerun trains with: the recorded one of the trial, or today's.

The recorded code is in the best file, in the home that trained the trial, or among the artifacts in MLflow.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from espalier.core.errors import BadInput, counted
from espalier.core.loading.folders import current_folder, restoring_folder, use_copy
from espalier.sweeps.address import no_secret
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.code.changes import changes_since, sentence
from espalier.sweeps.code.choices import HERE
from espalier.sweeps.code.copies import hash_of, lay_out, moved, read_archive
from espalier.sweeps.code.in_file import SUBMITTED, as_submitted
from espalier.sweeps.home import Home
from espalier.sweeps.recording.code import fetch_archive
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri


@dataclass(frozen=True)
class CodeUsed:
    """The code that a rerun trains with. words: where it is from. differing: the files that are others now.

    missing: that the recorded code is nowhere. Then today's has to be the same.
    """

    words: str = ""
    differing: str = ""
    missing: str = ""

    def check(self, then: object, now: object) -> None:
        """Raise BadInput if the recorded code is nowhere, and today's is another. Both are fingerprints."""
        if self.missing and str(then).rpartition(", later ")[2] != now:
            raise BadInput(self.missing)


NO_CODE = CodeUsed()


@contextmanager
def code_of(best: BestFile, source: str, code: str, home: Home) -> Iterator[CodeUsed]:
    """Use the code of a best file's trial during the block. code: "recorded" or "here". source: the file's name.

    Raises BadInput for a damaged archive.
    """
    recorded = best.code
    if recorded is None:
        yield NO_CODE
        return
    packed, words = _found(best, source, home)
    record = recorded.record
    if packed and record.root == SUBMITTED:  # its owner's files are here, or nowhere
        record, packed = moved(*as_submitted(record, packed), os.path.realpath(current_folder()))
    if code == HERE:
        differing = sentence(changes_since(packed, record)) if packed else ""
        yield CodeUsed(", with today's code", differing)
    elif packed is None:
        where = f"neither {source}, nor {home.path}, nor {no_secret(_uri(best, home))} has it"
        yield CodeUsed(missing=_missing(best, source, where))
    else:
        with tempfile.TemporaryDirectory(prefix="sweep-code-") as place, restoring_folder():
            use_copy(lay_out(packed, record, Path(place).resolve()))
            yield CodeUsed(f"{words}{_too_large(recorded.left_out)}")


def _too_large(left_out: Mapping[str, str]) -> str:
    """Return the part of a sentence on files that were too large to be recorded, and are not where they were."""
    missing = [f"{Path(path).name} ({why})" for path, why in left_out.items() if not Path(path).exists()]
    return f"; too large to be recorded, and not here: {', '.join(missing)}" if missing else ""


def _missing(best: BestFile, source: str, where: str) -> str:
    return (
        f"{source}: the code that trial {best.trial} of {best.sweep} was trained with is not here: {where}, and "
        "today's is another; name the home that trained it (--home), or train with today's: --code here"
    )


def _found(best: BestFile, source: str, home: Home) -> tuple[bytes | None, str]:
    """Return the archive of a best file's code, and where it is."""
    assert best.code
    files = counted(best.code.files, "file")
    if packed := best.code.unpacked(source):
        return packed, f", with the code that {source} holds ({files})"
    with suppress(BadInput):  # an id that no folder can have
        packed = read_archive(home.sweep(best.sweep), {"hash": best.code.hash})
        if packed and hash_of(packed) == best.code.hash:
            return packed, f", with the recorded code ({files})"
    with suppress(BadInput):
        packed = fetch_archive(_uri(best, home), best.sweep, best.code.hash)
        if hash_of(packed) == best.code.hash:
            return packed, f", with the code recorded in MLflow ({files})"
    return None, ""


def _uri(best: BestFile, home: Home) -> str:
    wanted = best.spec.get("tracking_uri")
    return resolve_tracking_uri(wanted if isinstance(wanted, str) else None, home.path)
