"""What all servers share: a folder of ports and secrets, and background processes known by their pid files."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.errors import BadInput

LOOPBACK = "127.0.0.1"
PATIENCE_S = 120.0  # an idle machine needs 2 to 15 s for a server; a loaded one several times as much
STOPPING_S = 20.0


@dataclass(frozen=True)
class StateFolder:
    """The folder of the servers' state: `ports.json`, `secrets.json` (mode 0600), logs and pid files."""

    path: Path

    @classmethod
    def at(cls, folder: Path) -> "StateFolder":
        """Open a folder; create it if it is missing. Raises BadInput if it cannot be written."""
        try:
            folder = folder.expanduser().absolute()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "logs").mkdir(exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
        return cls(folder)

    def port(self, name: str) -> int:
        """Return the port of this name: a free one at the first call, the same one at later calls."""
        return int(self._chosen_once("ports.json", name, lambda: str(free_port())))

    def secret(self, name: str) -> str:
        """Return the secret of this name: random at the first call, the same one at later calls."""
        return self._chosen_once("secrets.json", name, lambda: secrets.token_urlsafe(24))

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self.path / "logs" / f"{name}.log"

    def _chosen_once(self, file: str, name: str, make: Callable[[], str]) -> str:
        path = self.path / file
        with open(self.path / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # servers start in parallel
            known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
            if name not in known:
                known[name] = make()
                write_secret(path, json.dumps(known, indent=2))
            return known[name]


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically, with mode 0600."""
    part = path.with_name(f"{path.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(part, path)


def free_port() -> int:
    """Return a port of this machine on which no process listens now."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return free.getsockname()[1]


def listens(port: int, host: str = LOOPBACK) -> bool:
    """Whether a process accepts connections at a port."""
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False


# --- processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process identified by its pid and its start time, so that a reused pid is recognised.

    born: the start time in clock ticks since boot, as /proc/PID/stat has it.
    """

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the process with this pid; None if there is none, or only a zombie."""
        fields = _stat(pid)
        return cls(pid, fields[19]) if fields and fields[0] not in "ZX" else None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def family(self) -> list["Process"]:
        """Return it and all its descendants, as they are now."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        family: list[Process] = [self]
        waiting = [self.pid]
        while waiting:
            below = children.get(waiting.pop(), [])
            family += [process for child in below if (process := Process.of(child))]
            waiting += below
        return family


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@dataclass(frozen=True)
class Daemon:
    """A background process with a pid file: it keeps running when the process that started it ends."""

    state: StateFolder
    name: str

    @property
    def file(self) -> Path:
        return self.state.path / f"{self.name}.pid"

    @property
    def process(self) -> Process | None:
        """The process, if it runs."""
        try:
            process = Process(**json.loads(self.file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return process if process.alive else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], ready: Callable[[], bool]) -> None:
        """Start it, if it does not run, and wait until it is ready. Its output goes to its log.

        It gets `environment` and little else (PATH, HOME ...). Secrets belong there or in files: command lines are
        public.
        Raises BadInput with the end of its log if it ends, or is not ready within PATIENCE_S seconds.
        """
        if self.process is None:
            with open(self.state.log(self.name), "ab") as log:
                started = subprocess.Popen(
                    command,
                    cwd=self.state.path,
                    env=_bare() | dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            _children[started.pid] = started
            known = Process.of(started.pid)
            self.file.write_text(json.dumps({"pid": started.pid, "born": known.born if known else ""}))
        self._await(ready)

    def _await(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not ready():
            if self.process is None:
                raise BadInput(f"{self.name} ended at once; {self._end_of_log()}")
            if time.monotonic() > end:
                self.stop()
                raise BadInput(f"{self.name} was not ready after {PATIENCE_S:g} s; {self._end_of_log()}")
            time.sleep(0.1)

    def _end_of_log(self) -> str:
        log = self.state.log(self.name)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        return f"{log} ends with: {lines[-1].strip()[:300]}" if lines else f"{log} is empty"

    def stop(self) -> None:
        """End it and its descendants, if it runs: SIGTERM, then SIGKILL after STOPPING_S seconds."""
        if process := self.process:
            family = process.family()
            process.send(signal.SIGTERM)
            _wait_for_end(process)
            for other in family:
                other.send(signal.SIGKILL)
            _wait_for_end(process)
            if child := _children.pop(process.pid, None):
                child.wait()
        self.file.unlink(missing_ok=True)


_children: dict[int, "subprocess.Popen[bytes]"] = {}  # what this process has started and not yet stopped


def _wait_for_end(process: Process) -> None:
    end = time.monotonic() + STOPPING_S
    while process.alive and time.monotonic() < end:
        time.sleep(0.05)


def _bare() -> dict[str, str]:
    """Return this process's environment without tokens, passwords and addresses of other servers."""
    names = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "USER", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
    bare = {name: os.environ[name] for name in names if name in os.environ}
    return bare | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]
