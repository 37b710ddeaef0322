"""Multi-tenancy on one machine: a job runs as its owner's unix user, and sees no folder of the service but its own.

If the service runs as root, each owner gets a user id and a home below the service's. A job starts in its own mount
namespace. There, every private folder on its paths is covered by an empty one, into which only the job's own paths
are bind-mounted. So other files are invisible, whatever their mode.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.own import FOLDER, SEARCH_PATH

# constants of <sched.h>, <sys/mount.h> and <sys/prctl.h>
CLONE_NEWNS = 0x20000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 36, 38

libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def set_process(option: int, value: int) -> None:
    """Set a Linux process option (prctl). Raises OSError."""
    _checked(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def hide_environment() -> None:
    """Prevent other processes of this user, such as jobs, from reading this one's environment and memory."""
    if sys.platform == "linux":
        set_process(PR_SET_DUMPABLE, 0)


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, str(target), kind)]
    _checked(libc.mount(*words, flags, options.encode() or None), f"mount {target}")


def _own_namespace() -> None:
    """Give this process its own mount namespace, so that its mounts affect no other process."""
    _checked(libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", Path("/"), None, MS_REC | MS_PRIVATE)


def closed_parent(path: Path) -> Path | None:
    """Return the outermost folder above a path that other users cannot enter; None if all are open.

    >>> closed_parent(Path("/nowhere/at/all"))
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            return None
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


@dataclass(frozen=True)
class Confinement:
    """The confinement of a job's process: its user id, its working folder, and the folders it may write or read."""

    uid: int
    start: Path
    writable: tuple[Path, ...]
    readable: tuple[Path, ...]

    def enter(self) -> None:
        """Confine this process and its children permanently. Needs root; raises OSError."""
        _own_namespace()
        before = os.umask(0o022)  # every user may enter the empty folders
        self._put_back()
        os.umask(before)
        os.chdir(self.start)  # enter it through the new mounts: the old working directory is not read-only
        os.setgroups([])
        os.setgid(self.uid)
        os.setuid(self.uid)
        set_process(PR_SET_NO_NEW_PRIVS, 1)  # setuid programs cannot raise its privileges

    def _put_back(self) -> None:
        """Cover the private folders, and mount this job's own paths back into them."""
        paths = {path.resolve(): True for path in (self.start, *self.readable)}
        paths |= {path.resolve(): False for path in self.writable}
        handles = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths}  # handles of paths below covers
        covers: list[Path] = []
        for path in sorted(paths):  # the outer ones first: a mounted path may contain a private folder, too
            while cover := closed_parent(path):
                _mount("tmpfs", cover, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
                covers.append(cover)
            if any(path.is_relative_to(cover) for cover in covers):
                _put(handles[path], path, read_only=paths[path])
            os.close(handles[path])
        for cover in covers:
            _mount(None, cover, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _put(handle: int, path: Path, read_only: bool) -> None:
    """Bind-mount a folder, open by a handle, at its path again."""
    path.mkdir(parents=True, exist_ok=True)
    _mount(f"/proc/self/fd/{handle}", path, None, MS_BIND)
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV
    _mount(None, path, None, flags | MS_RDONLY if read_only else flags)


def possible() -> str:
    """Return why jobs cannot run as separate users here; "" if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it does not run as root"
    child = os.fork()
    if child == 0:
        try:
            _own_namespace()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"it may not mount ({os.strerror(number)}); in a container, add CAP_SYS_ADMIN" if number else ""


def python_paths() -> tuple[Path, ...]:
    """Return the paths of Python that a job needs to read: library, environment, our packages, $PYTHONPATH."""
    searched = [Path(word) for word in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(word)]
    wanted = (SEARCH_PATH, FOLDER, Path(sys.prefix), Path(sys.base_prefix), *searched)
    return tuple(dict.fromkeys(path.resolve() for path in wanted if path.is_dir() and path != Path("/")))


def entrance(home: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs another as the owner of a home, with that home as working folder and $HOME.

    It starts as root, so Python ignores user site-packages and user settings.
    """
    return [sys.executable, "-s", "-m", "espalier.services.isolation.confine", str(home), *command]


def main(home: Path, command: list[str]) -> None:
    """Replace this process by a command as the owner of a home, in that folder."""
    Confinement(home.stat().st_uid, home, (home,), python_paths()).enter()
    os.execve(command[0], command, os.environ | {"HOME": str(home)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
