"""Give a sweep away: as a folder or a zip that is a home of its own, with this sweep alone.

    manifest.json           which files there are, with their SHA-256
    README.txt              how to open it
    spec.yaml, best.yaml, trials.csv, trials.json, report.html
    optuna.journal          its study
    environments/           what it was trained with
    sweeps/ID/              its records for MLflow, its figures, the archive of its code

No file has a secret: addresses are without logins, and it is recorded in the home's own MLflow wherever it is opened.
"""

import hashlib
import html
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.address import without_secrets
from espalier.sweeps.browse.home_sweep import HomeSweep, read_sweep
from espalier.sweeps.code.copies import FOLDER as CODE
from espalier.sweeps.code.environment import FOLDER as ENVIRONMENTS
from espalier.sweeps.home import JOURNAL, SWEEPS, Home, naming
from espalier.sweeps.identity import ENVIRONMENT, periods
from espalier.sweeps.recording.exported import exported_spool
from espalier.sweeps.recording.names import REPORT
from espalier.sweeps.recording.report_files import report_text
from espalier.sweeps.recording.tracking_uri import AT_HOME
from espalier.sweeps.results.figures import table_csv
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.notify import host_alone

MANIFEST, README, BEST = "manifest.json", "README.txt", "best.yaml"
SCHEMA = 1
"""The version of the manifest."""
TAKEN = (".png", ".html")  # suffixes of the files of a sweep's folder that go along
TEXTS = (".json", ".jsonl", ".journal", ".yaml", ".csv", ".txt", ".html")
TIME = (2020, 1, 1, 0, 0, 0)  # of all files in a zip: equal files give equal bytes


@dataclass(frozen=True)
class Export:
    """What was written. size_bytes: of the zip, or of all files in the folder. notes: on what could not be."""

    sweep: str
    path: str
    files: int
    size_bytes: int
    notes: Sequence[str] = ()


def export_sweep(home: Home, wanted: str, out: str | os.PathLike[str] | None = None) -> Export:
    """Write a sweep into a new folder, or a new zip where `out` ends so. Default: ID.zip in the current folder.

    Raises BadInput for an unknown sweep, for one that runs, and for a place that is taken or cannot be written.
    """
    sweep = read_sweep(home, wanted)
    place = Path(out or f"{sweep.id}.zip")
    if sweep.state == "running":
        raise BadInput(f"{sweep.id} runs; export it when it has ended, or stop it first")
    free_place(place)
    part = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        try:
            notes: list[str] = []
            files = _write(home, sweep, part, notes)
            size = sum(path.stat().st_size for path in files)
            if place.suffix == ".zip":
                packed = part.with_name(f"{part.name}.zip")
                _pack(part, packed)
                size = packed.stat().st_size
                packed.rename(place)
            else:
                part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"{place}: cannot be written ({error.strerror}); name another place by --out") from error
    return Export(sweep.id, str(place), len(files), size, notes)


def free_place(place: Path) -> Path:
    """Return a place in which nothing is yet. Raises BadInput."""
    if os.path.lexists(place):
        raise BadInput(f"{place}: it is there already; name another file or folder by --out")
    return place


def _write(home: Home, sweep: HomeSweep, folder: Path, notes: list[str]) -> list[Path]:
    """Write a sweep into a folder, which is a home then; return its files. Adds to the notes what could not be."""
    with naming(folder):
        (folder / SWEEPS / sweep.id).mkdir(parents=True)
    SweepStore.open_for_reading(home.storage).copy(sweep.id, str(folder / JOURNAL), AT_HOME)
    for lock in folder.glob(f"{JOURNAL}.*"):
        lock.unlink()
    _copy(home, sweep, folder)
    for name, text in _texts(sweep, folder, notes):
        (folder / name).write_text(text, encoding="utf-8")
    address = sweep.spec.notify.webhook if sweep.spec.notify else ""
    for path in [path for path in folder.rglob("*") if path.suffix in TEXTS]:
        text = path.read_text(encoding="utf-8")
        if address:  # what earlier versions recorded has it
            for spelling in (address, html.escape(address)):
                text = text.replace(spelling, host_alone(address))
        path.write_text(without_secrets(text), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "schema": SCHEMA,
        "sweep": sweep.id,
        "name": sweep.spec.name,
        "state": sweep.state,
        "espalier": metadata.version("espalier"),
        "recorded_in": without_secrets(sweep.tracking_uri),
        "files": {path.relative_to(folder).as_posix(): _digest(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return [*files, folder / MANIFEST]


def _copy(home: Home, sweep: HomeSweep, folder: Path) -> None:
    """Copy what a sweep has in its folder, except states, checkpoints and outputs of its trials."""
    source, target = home.sweep(sweep.id), folder / SWEEPS / sweep.id
    lines = list(exported_spool(source))
    if lines:
        (target / "spool.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    code = [path for path in source.glob(f"{CODE}/*") if path.is_file() and path.suffix in (".zip", ".json")]
    figures = [path for path in source.glob("*") if path.is_file() and path.suffix in TAKEN]
    known = {period.get(ENVIRONMENT) for period in periods(sweep.record.facts)}
    environments = [path for path in home.path.glob(f"{ENVIRONMENTS}/*.json") if path.stem in known]
    for path, to in [*((p, target / CODE) for p in code), *((p, target) for p in figures)]:
        to.mkdir(exist_ok=True)
        shutil.copyfile(path, to / path.name)
    for path in environments:
        (folder / ENVIRONMENTS).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / ENVIRONMENTS / path.name)


def _texts(sweep: HomeSweep, folder: Path, notes: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the files for people, by name: made of the copy, which shows that it opens."""
    copy = read_sweep(Home(folder), sweep.id)
    yield "spec.yaml", copy.spec.as_yaml()
    yield "trials.csv", table_csv(copy.trials)
    yield "trials.json", json.dumps(finite([asdict(trial) for trial in copy.trials]), indent=1)
    try:
        yield BEST, copy.best_file()
    except BadInput as error:  # no trial is complete, or the records of the best are lost
        notes.append(f"without a best file: {error}")
    text, problem = report_text(copy.material())
    if text:
        yield REPORT, text
    notes += [problem] if problem else []
    yield README, _readme(sweep)


def _readme(sweep: HomeSweep) -> str:
    return (
        f"The sweep {sweep.id}: {sweep.spec.objective.metric}, {len(sweep.trials)} trials.\n\n"
        "This folder is a home of Espalier with this sweep alone. Checked and unpacked by: sweep unpack FILE.zip\n\n"
        f"    sweep show {sweep.id} --home FOLDER\n"
        f"    sweep best {sweep.id} --home FOLDER > best.yaml\n"
        "    sweep rerun best.yaml --home FOLDER       trains the best trial again; its data have to be here\n"
        f"    sweep resume {sweep.id} --home FOLDER      records it in the folder's own MLflow\n"
        "    sweep ui --home FOLDER\n"
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pack(folder: Path, place: Path) -> None:
    """Write a folder as a zip."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), TIME)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
