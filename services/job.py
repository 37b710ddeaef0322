"""What a job runs, in the cluster: unpack the code that came with the sweep, and drive the sweep.

`python -m espalier.services.job run SWEEP` is a Ray job's entrypoint, in the folder that services.cluster laid out;
`keep FOLDER HOME ENTRYPOINT ...` is the parent of a local one, which confines it and writes down how it ended.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from espalier.core.errors import BadInput
from espalier.core.own import SEARCH_PATH
from espalier.services import archive, confine
from espalier.services.cluster import ARCHIVE_FILE, CHANGED_FILE, SPEC_FILE, STOP_WAIT_S, write_whole
from espalier.services.settings import read_settings
from espalier.sweeps.cli.process import command

HOME, CODE = "SWEEP_JOB_HOME", "SWEEP_JOB_CODE"  # how a keeper tells its job where they are


def unpacked(folder: Path, place: Path, limit_mib: float) -> Path | None:
    """Return the folder of a job's code, under the archive's whole hash, as it was handed in; None if none came."""
    packed = folder / ARCHIVE_FILE
    if not packed.exists():
        return None
    text = packed.read_bytes()
    return archive.kept(text, place / hashlib.sha256(text).hexdigest(), limit_mib)


def arguments(folder: Path, sweep: str) -> list[str]:
    """Return the arguments of the command that drives a sweep: in the Ray cluster whose job this is, else by itself."""
    address = ["--address", "auto"] if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") else []
    spec = str((folder / SPEC_FILE).absolute())
    changed = ["--changed"] if (folder / CHANGED_FILE).exists() else []
    return ["run", spec, "--id", sweep, "--json", *changed, *address]


def run(sweep: str, folder: Path) -> None:
    """Become the driver of a sweep: a job's signals, which Ray sends to all of its processes, reach it once.

    A keeper has said where its home and its code are. In a Ray cluster the home is the service's, in which the job was
    laid out, whatever this process was told of one.
    """
    os.umask(0o077)
    if HOME in os.environ:
        home, place = Path(os.environ.pop(HOME)), Path(os.environ.pop(CODE, "") or folder)
    else:
        home = folder.parents[1]
        place = unpacked(folder, home / "code", read_settings().unpacked_mib) or folder
    os.environ["SWEEP_HOME"] = str(home)
    sys.argv[1:] = arguments(folder, sweep)
    os.chdir(
        place
    )  # where core.loading.scopes finds the code: Python's own search path, which serves all, stays as it is
    command()


# --- the keeper of a local job ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a local job runs: its record, which the service keeps, and the home that is its owner's or the service's.

    A home that belongs to another user than this process is an owner's, and its jobs run as that user.
    """

    folder: Path
    home: Path

    @property
    def uid(self) -> int:
        """The user whose home it is."""
        return self.home.stat().st_uid

    @property
    def confined(self) -> bool:
        """Whether the job runs as a user of its own."""
        return self.uid != os.geteuid()

    def code(self) -> Path | None:
        """Return the job's code, readable for its user, writable for no job."""
        owner = [self.home.name] if self.confined else []
        place = unpacked(self.folder, self.folder.parents[1].joinpath("code", *owner), read_settings().unpacked_mib)
        if place is not None and self.confined:
            _give(place, self.uid)
        return place

    def confinement(self, code: Path | None, temporary: Path) -> confine.Confinement:
        """Return what its process is held to."""
        _give(self.folder / SPEC_FILE, self.uid)
        os.chown(self.folder, self.uid, self.uid)
        readable = ([code] if code else []) + [*confine.python_paths(SEARCH_PATH)]
        return confine.Confinement(self.uid, self.folder, (self.home, temporary), tuple(readable))

    def environment(self, code: Path | None, temporary: Path) -> dict[str, str]:
        """Return the variables that the job finds beside those that the service let through."""
        told = {HOME: str(self.home), "PYTHONDONTWRITEBYTECODE": "1"} | ({CODE: str(code)} if code else {})
        if not self.confined:
            return told
        own = {"HOME": self.home, "TMPDIR": temporary, "TORCHINDUCTOR_CACHE_DIR": self.home / ".cache" / "inductor"}
        return told | {name: str(path) for name, path in own.items()} | dict.fromkeys(("USER", "LOGNAME"), "sweep-job")


def _give(path: Path, uid: int) -> None:
    """Make a file, or a folder with all that is in it, a user's, without following a link."""
    for inner in [path, *path.rglob("*")]:
        os.chown(inner, uid, uid, follow_symlinks=False)


def keep(folder: Path, home: Path, entrypoint: Sequence[str]) -> int:
    """Run a job in a process of its own, pass one signal on to it, and write its exit code beside its log."""
    os.umask(0o077)
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # it came blocked, so that none came too early
    code = 130
    if not asked.is_set():
        try:
            code = _run(Place(folder, home), entrypoint, asked)
        except (BadInput, OSError, subprocess.SubprocessError) as error:
            print(f"sweep: the job cannot start: {error}", file=sys.stderr, flush=True)
            code = 2
    write_whole(folder / "end", str(code).encode())
    return code


def _run(place: Place, entrypoint: Sequence[str], asked: threading.Event) -> int:
    temporary = Path(tempfile.mkdtemp(prefix="sweep-"))  # short: Ray's sockets lie in it
    try:
        code = place.code()
        confined = None
        if place.confined:
            os.chown(temporary, place.uid, place.uid)
            confine.set_process(confine.PR_SET_CHILD_SUBREAPER, 1)  # whatever the job leaves behind becomes ours to end
            confined = place.confinement(code, temporary).enter
        env = os.environ | place.environment(code, temporary)
        driver = subprocess.Popen(
            entrypoint, cwd=place.folder, env=env, start_new_session=True, preexec_fn=confined
        )  # one thread runs here, so preexec_fn is safe
        return _waited_for(driver, asked)
    finally:
        _end_leftovers()
        shutil.rmtree(temporary, ignore_errors=True)


def _end_leftovers() -> None:
    """End the processes that outlive a confined job."""
    for _ in range(100):  # what is killed may have started others
        left = psutil.Process().children(recursive=True)
        for child in left:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(left, timeout=5)
        if not left:
            return


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
            sys.exit(keep(Path(sys.argv[2]).absolute(), Path(sys.argv[3]).absolute(), sys.argv[4:]))
        run(sys.argv[2], Path.cwd())
    except BadInput as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
