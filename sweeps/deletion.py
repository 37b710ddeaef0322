"""Delete a sweep from its home: its study, its folder and, on request, its runs in MLflow."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret
from espalier.sweeps.home import Home

if TYPE_CHECKING:
    from espalier.sweeps.search.store import SweepStore


@dataclass(frozen=True)
class Deletion:
    """What was deleted of a sweep, and where its remaining runs are."""

    sweep: str
    folder: str
    runs: int | None
    """MLflow's runs that were deleted; None: they stay"""
    tracking_uri: str
    """"": unknown, since its spec cannot be read"""

    def lines(self) -> Iterator[str]:
        """Yield lines on what was deleted and what stays."""
        yield f"deleted {self.sweep}: its trials and {self.folder}"
        place = no_secret(self.tracking_uri) or "MLflow"
        if self.runs is None:
            yield (
                f"its runs stay in {place}: tag espalier.sweep = {self.sweep}; a new sweep of this id takes none of "
                "them. With --records they would have been deleted too"
            )
        else:
            yield f"deleted {self.runs} runs in {place}; `mlflow gc` frees their space"


def find_deletable(home: Home, wanted: str) -> str:
    """Return the id of a sweep by its id or name, even if its trials are lost. Raises BadInput for an unknown one."""
    from espalier.sweeps.search.store import SweepStore, find_sweep

    if wanted in home.lost(()):
        return wanted
    return find_sweep(home, SweepStore.open_for_reading(home.storage), wanted).id


def delete_sweep(home: Home, sweep: str, records: bool = False) -> Deletion:
    """Remove a sweep by its id from a home: its trials, its folder, and with `records` its runs in MLflow.

    Raises BadInput, with nothing deleted, if a process drives it or MLflow does not answer.
    """
    from espalier.sweeps.search.driver_lock import DriverLock
    from espalier.sweeps.search.store import SweepStore

    folder = home.sweep(sweep)
    if folder.is_symlink():
        raise BadInput(
            f"{folder}: it is a link to {folder.resolve()}, which is no part of the home; remove it yourself"
        )
    store = SweepStore.open(home.storage)
    known = store.exists(sweep)
    if not known and not folder.is_dir():
        raise BadInput(f"unknown sweep '{sweep}'; `sweep list` names those of {home.path}")
    with DriverLock(home, sweep):
        uri = _tracking_uri(home, sweep, known, needed=records)
        runs = _delete_runs(uri, sweep, _birth(folder, store, sweep, known)) if records else None
        if known:
            store.delete(sweep)
        shutil.rmtree(folder)
    return Deletion(sweep, str(folder), runs, uri)


def _tracking_uri(home: Home, sweep: str, known: bool, needed: bool) -> str:
    """Return where a sweep is recorded; "" if that is unknown and not needed."""
    from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri, sweep_tracking_uri
    from espalier.sweeps.search.store import SweepStore

    if not known:
        return resolve_tracking_uri(None, home.path)
    try:
        return sweep_tracking_uri(SweepStore.open_for_reading(home.storage).load(sweep), home)
    except BadInput:
        if needed:
            raise
        return ""


def _birth(folder: Path, store: "SweepStore", sweep: str, known: bool) -> str | None:
    """Return a sweep's birth, which tells its runs from those of others with its id; None if it is unknown."""
    from espalier.sweeps.recording.names import BIRTH_TAG
    from espalier.sweeps.recording.records import SweepOpened
    from espalier.sweeps.recording.spool import Spool

    if known:
        return store.load(sweep).birth
    if not (folder / "spool.jsonl").is_file():
        return None
    with closing(Spool(folder)) as spool:
        return next((str(record.tags.get(BIRTH_TAG, "")) for record in spool.records(SweepOpened)), None)


def _delete_runs(uri: str, sweep: str, birth: str | None) -> int:
    from espalier.sweeps.recording.removal import delete_runs

    return delete_runs(uri, sweep, birth)
