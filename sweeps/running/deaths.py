"""Files left by a cohort's workers, of which there may be two.

Tune may start a new worker for a cohort, and then give the cohort to another that has become free. The new one may
load the task before Tune ends it. Each worker has its own files (watchdog), and the driver reads all.
"""

import uuid
from contextlib import suppress
from pathlib import Path

from espalier.sweeps.running import watchdog
from espalier.sweeps.running.watchdog import Death


def own_name(folder: Path, cohort: str) -> str:
    """Return a file name for one more worker of a cohort: the cohort's own name if it is unused."""
    with suppress(OSError):  # if nothing can be written, a worker leaves no files
        folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / f"{cohort}.note").touch(exist_ok=False)
    except FileExistsError:
        return f"{cohort}.{uuid.uuid4().hex}"
    except OSError:
        pass
    return cohort


def forget(folder: Path, cohort: str) -> None:
    """Delete the files of a cohort's earlier workers."""
    for name in _names(folder, cohort):
        watchdog.forget(folder, name)


def read_death(folder: Path, cohort: str) -> Death:
    """Return why a cohort's worker ended; of two, the one that trained, else the one with a certain cause."""
    deaths = [watchdog.read_death(folder, name) for name in _names(folder, cohort)]
    return max(deaths, key=lambda death: (bool(death.lanes), death.certain))


def kill_workers(folder: Path, cohort: str) -> None:
    """Kill the workers of a cohort that still run on this machine."""
    for name in _names(folder, cohort):
        watchdog.kill_worker(folder, name)


def _names(folder: Path, cohort: str) -> list[str]:
    return [cohort, *(note.stem for note in folder.glob(f"{cohort}.*.note"))]
