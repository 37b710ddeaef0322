"""What a job runs, in the cluster: unpack the code that came with the sweep, and drive the sweep.

`python -m services.job run SWEEP` is the entrypoint of a Ray job, in the folder that services.cluster laid out;
`keep FOLDER ENTRYPOINT ...` is the parent of a local one, which writes down how it ended.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from core.errors import BadInput
from services import archive
from services.cluster import ARCHIVE_FILE, SPEC_FILE, STOP_WAIT_S, write_whole
from services.settings import read_settings
from sweeps.cli import command


def unpacked(folder: Path, home: Path, limit_mib: float) -> Path:
    """Return the folder that the sweep runs in: its code, in a place of the home that every node sees."""
    packed = folder / ARCHIVE_FILE
    if not packed.exists():
        return folder
    text = packed.read_bytes()
    place = home / "code" / hashlib.sha256(text).hexdigest()[:16]
    if not place.exists():
        part = place.with_name(f"{place.name}.{os.getpid()}")
        archive.unpack(text, part, limit_mib)
        try:
            part.rename(place)
        except OSError:  # another job of the same code was quicker
            if not place.exists():
                raise
    return place


def arguments(folder: Path, sweep: str) -> list[str]:
    """Return the arguments of the command that drives a sweep: in the Ray cluster whose job this is, else by itself."""
    address = ["--address", "auto"] if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") else []
    spec = str((folder / SPEC_FILE).absolute())
    return ["run", spec, "--id", sweep, "--json", *address]


def run(sweep: str, folder: Path) -> None:
    """Become the driver of a sweep: a job's signals, which Ray sends to all of its processes, reach it once.

    Its home is the service's, in which the job was laid out, whatever this process was told of one.
    """
    home = folder.parents[1]
    place = unpacked(folder, home, read_settings().unpacked_mib)
    os.environ["SWEEP_HOME"] = str(home)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.path[0] = str(place)
    sys.argv[1:] = arguments(folder, sweep)
    os.chdir(place)
    command()


def keep(folder: Path, entrypoint: Sequence[str]) -> int:
    """Run a job in a process of its own, pass one signal on to it, and write its exit code beside its log."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # it came blocked, so that none came too early
    code = 130
    if not asked.is_set():
        driver = subprocess.Popen(entrypoint, cwd=folder, start_new_session=True)
        code = _waited_for(driver, asked)
    write_whole(folder / "end", str(code).encode())
    return code


def _waited_for(driver: subprocess.Popen[bytes], asked: threading.Event) -> int:
    """Wait for a driver; pass a wish to stop on, once: a second signal would end it before its checkpoints."""
    told_at = None
    while (code := driver.poll()) is None:
        if told_at is None and asked.is_set():
            driver.send_signal(signal.SIGTERM)
            told_at = time.monotonic()
        if told_at is not None and time.monotonic() - told_at > STOP_WAIT_S:
            os.killpg(driver.pid, signal.SIGKILL)
        time.sleep(0.1)
    return code


if __name__ == "__main__":
    try:
        if sys.argv[1] == "keep":
            sys.exit(keep(Path(sys.argv[2]).absolute(), sys.argv[3:]))
        run(sys.argv[2], Path.cwd())
    except BadInput as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
