"""What the workers of a cohort have left, where it may have two.

Tune begins a new worker for a cohort, and may then give the cohort to another that has become free. The new one may
load the task before Tune ends it. Each writes files of its own (watchdog), and the driver reads all.
"""

import uuid
from contextlib import suppress
from pathlib import Path

from espalier.sweeps.running import watchdog
from espalier.sweeps.running.watchdog import Death


def own_name(folder: Path, cohort: str) -> str:
    """Return a name for the files of one more worker of a cohort: the cohort's own, where no other worker has it."""
    with suppress(OSError):  # where nothing can be written a worker leaves nothing
        folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / f"{cohort}.note").touch(exist_ok=False)
    except FileExistsError:
        return f"{cohort}.{uuid.uuid4().hex}"
    except OSError:
        pass
    return cohort


def forget(folder: Path, cohort: str) -> None:
    """Remove what earlier workers of a cohort have left."""
    for name in _names(folder, cohort):
        watchdog.forget(folder, name)


def read_death(folder: Path, cohort: str) -> Death:
    """Return why the worker of a cohort ended: of two that one's death which trained, or else did what is certain."""
    deaths = [watchdog.read_death(folder, name) for name in _names(folder, cohort)]
    return max(deaths, key=lambda death: (bool(death.lanes), death.certain))


def kill_workers(folder: Path, cohort: str) -> None:
    """Kill the workers of a cohort that are on this machine and still there."""
    for name in _names(folder, cohort):
        watchdog.kill_worker(folder, name)


def _names(folder: Path, cohort: str) -> list[str]:
    return [cohort, *(note.stem for note in folder.glob(f"{cohort}.*.note"))]
