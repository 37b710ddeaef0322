"""Multi-tenancy on one machine: a job runs as its owner's own unix user, and sees no folder of the service but its own.

Where the service runs as root, each owner gets a user id and a home below the service's, and a job of theirs starts in
a mount namespace of its own: every folder on the way that others cannot enter is covered by an empty one, in which only
the job's own paths are put back (a bind mount). What is not there cannot be read, whatever its mode.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.own import FOLDER, SEARCH_PATH

# of <sched.h>, <sys/mount.h> and <sys/prctl.h>
CLONE_NEWNS = 0x20000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 36, 38

libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def set_process(option: int, value: int) -> None:
    """Set one of Linux' process options (prctl). Raises OSError."""
    _checked(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def hide_environment() -> None:
    """Keep other processes of this user, jobs among them, from reading this one's environment and memory."""
    if sys.platform == "linux":
        set_process(PR_SET_DUMPABLE, 0)


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, str(target), kind)]
    _checked(libc.mount(*words, flags, options.encode() or None), f"mount {target}")


def _own_namespace() -> None:
    """Give this process mounts of its own: what it covers, nobody else misses."""
    _checked(libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", Path("/"), None, MS_REC | MS_PRIVATE)


def closed_parent(path: Path) -> Path | None:
    """Return the outermost folder above a path that strangers cannot enter, as mounts stand now; None if all are open.

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
    """What a job's process is held to: a user id, the folder it starts in, those it may write, those it may read."""

    uid: int
    start: Path
    writable: tuple[Path, ...]
    readable: tuple[Path, ...]

    def enter(self) -> None:
        """Confine this process and all that it starts, for ever. Only root can; raises OSError."""
        _own_namespace()
        before = os.umask(0o022)  # the empty folders are for all to enter
        self._put_back()
        os.umask(before)
        os.chdir(self.start)  # through the new mounts: the folder that this process was in is not read-only
        os.setgroups([])
        os.setgid(self.uid)
        os.setuid(self.uid)
        set_process(PR_SET_NO_NEW_PRIVS, 1)  # no setuid program makes it more than it is

    def _put_back(self) -> None:
        """Cover the folders that are closed to strangers, and put this job's own paths back into them."""
        paths = {path.resolve(): True for path in (self.start, *self.readable)}
        paths |= {path.resolve(): False for path in self.writable}
        handles = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths}  # of what will lie below covers
        covers: list[Path] = []
        for path in sorted(paths):  # the outer ones first: one that was put back may hold a closed folder, too
            while cover := closed_parent(path):
                _mount("tmpfs", cover, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
                covers.append(cover)
            if any(path.is_relative_to(cover) for cover in covers):
                _put(handles[path], path, read_only=paths[path])
            os.close(handles[path])
        for cover in covers:
            _mount(None, cover, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _put(handle: int, path: Path, read_only: bool) -> None:
    """Have a folder that is open by a handle appear at its path again."""
    path.mkdir(parents=True, exist_ok=True)
    _mount(f"/proc/self/fd/{handle}", path, None, MS_BIND)
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV
    _mount(None, path, None, flags | MS_RDONLY if read_only else flags)


def possible() -> str:
    """Return why jobs cannot have users of their own here; nothing if they can."""
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
    """Return what a job needs to read of this Python: its library, its environment, our packages, $PYTHONPATH."""
    searched = [Path(word) for word in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(word)]
    wanted = (SEARCH_PATH, FOLDER, Path(sys.prefix), Path(sys.base_prefix), *searched)
    return tuple(dict.fromkeys(path.resolve() for path in wanted if path.is_dir() and path != Path("/")))


def entrance(home: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs another as the owner of a home, in that folder, with that folder as $HOME.

    It begins as root: so Python reads nothing of a user's, neither their packages nor what names more of them.
    """
    return [sys.executable, "-s", "-m", "espalier.services.isolation.confine", str(home), *command]


def main(home: Path, command: list[str]) -> None:
    """Become a command that runs as the owner of a home, in that folder."""
    Confinement(home.stat().st_uid, home, (home,), python_paths()).enter()
    os.execve(command[0], command, os.environ | {"HOME": str(home)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
