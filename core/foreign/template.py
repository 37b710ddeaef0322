"""A process that has imported a training function, and forks for each trial.

A fork takes milliseconds, an import seconds. A forked process has what the import has left, and nothing of another
trial. Where that is not safe, since the import has started threads, it says so, and each trial imports anew.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from espalier.core.foreign import keeper
from espalier.core.foreign.folder import TrialFolder
from espalier.core.foreign.process import TrialProcess

TRIAL, THREADS = "trial", "threads"
CLOSE_S = 2.0  # that it may take to end
_SIZE = 1 << 16


class Template:
    """The process, as a worker sees it."""

    def __init__(self, command: list[str], folder: str, env: Mapping[str, str], grace_s: float):
        """command: that serves as `serve` does; it gets the number of a socket. grace_s: see TrialProcess."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        under_keeper = [*command, str(theirs.fileno()), str(grace_s)]
        self._process = subprocess.Popen(
            under_keeper,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # of the import alone
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=dict(env),
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self.began = time.monotonic()
        self._imported = False
        with suppress(OSError):
            self._socket.send(b"{}")  # answered once the import is done

    def launch(self, folder: TrialFolder) -> TrialProcess | None:
        """Fork a process for a trial, once the import is done; None if that is not safe, or the process has died."""
        control, keepers = socket.socketpair()
        output, theirs = os.pipe()
        self.ready(None)
        try:
            socket.send_fds(self._socket, [json.dumps({TRIAL: str(folder.path)}).encode()], [keepers.fileno(), theirs])
            answer = self._socket.recv(_SIZE)
        except OSError:
            answer = b""
        finally:
            keepers.close()
            os.close(theirs)
        if not answer or json.loads(answer).get(THREADS):
            control.close()
            os.close(output)
            return None
        return TrialProcess(control, output)

    def ready(self, timeout_s: float | None) -> bool:
        """Wait until the import is done, or the process has died; return whether that was in time.

        timeout_s: 0 for a look, None for as long as it takes.
        """
        if not self._imported:
            self._socket.settimeout(timeout_s)
            try:
                self._socket.recv(_SIZE)
            except (TimeoutError, BlockingIOError):
                return False
            except OSError:
                pass  # it has died: a trial that imports by itself will report why
            self._imported = True
            self._socket.settimeout(None)
        return True

    def kill(self) -> None:
        """End the process in the middle of its import."""
        self._kill()
        self.close()

    def close(self) -> None:
        """End the process. Its trials go on."""
        self._socket.close()
        latest = time.monotonic() + CLOSE_S
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT  # as long as nobody has waited for it, its group is its own
        with suppress(ChildProcessError):
            while not os.waitid(os.P_PID, self._process.pid, options) and time.monotonic() < latest:
                time.sleep(0.01)
            self._kill()
        self._process.wait()

    def _kill(self) -> None:
        """Kill it, and what its import has started; its trials are in sessions of their own."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def serve(control: int, grace_s: float, train: Callable[[Path], int]) -> None:
    """Fork a process for each trial that the worker asks for, until it asks no more.

    train: trains the trial of a folder; returns the exit code.
    """
    requests = socket.socket(fileno=control)
    gc.collect()
    gc.freeze()
    while True:
        asked, handles, _, _ = socket.recv_fds(requests, _SIZE, 2)
        if not asked:
            return
        _reap()
        threads = len(os.listdir("/proc/self/task"))
        trial = json.loads(asked).get(TRIAL)  # none: whether the import is done is all that was asked
        if threads == 1 and trial:
            _fork(trial, handles, requests, grace_s, train)
        for handle in handles:
            os.close(handle)
        requests.send(json.dumps({THREADS: threads if threads > 1 else 0}).encode())


def _fork(
    trial: str, handles: list[int], requests: socket.socket, grace_s: float, train: Callable[[Path], int]
) -> None:
    """Fork a keeper, which forks the process that trains."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        return
    try:
        requests.close()
        os.setsid()
        control, output = handles
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for number in keeper.IGNORED:
            keeper.signal.signal(number, keeper.signal.SIG_IGN)
        keeper.keep(control, grace_s, lambda: _train(Path(trial), control, train))
    finally:
        os._exit(0)


def _train(folder: Path, control: int, train: Callable[[Path], int]) -> int:
    """Fork the process that trains; return its pid."""
    parent = os.getpid()
    if child := os.fork():
        return child
    code = 1
    try:
        os.close(control)
        keeper.become(parent)
        code = train(folder)
        _finish_logging()
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _finish_logging() -> None:
    """Wait for what the code logs to MLflow asynchronously: this process ends without Python's own end."""
    finish = getattr(sys.modules.get("mlflow"), "flush_async_logging", None)
    if finish is not None:
        finish()


def _reap() -> None:
    """Forget the keepers that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
