"""The machine's C compiler, and a cache of the shared libraries it made, keyed by their source."""

import ctypes
import fcntl
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from espalier.core import cache, deadline
from espalier.core.native.tensor_refs import NotNative

FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-strict-aliasing",
    "-shared",
    "-fPIC",
)
COMPILE_S = 300.0  # also on a busy machine


def compiler() -> str | None:
    """Return the C compiler of this machine, or None."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))), None)


def compiler_version() -> str:
    """Return the first line of the C compiler's --version; "none" without a compiler."""
    command = compiler()
    return _version(command).partition("\n")[0] if command else "none"


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return what compiled code depends on besides the source: the processor's instruction sets."""
    with suppress(OSError, StopIteration):
        return next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Feat"))
        )
    return platform.platform() + platform.processor()


@lru_cache(maxsize=2)
def _version(command: str) -> str:
    return subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout


def library(source: str, flags: Sequence[str] = FLAGS) -> ctypes.CDLL:
    """Compile a source, or take its library from the cache, and load it. Raises NotNative."""
    command = compiler()
    if command is None:
        raise NotNative("there is no C compiler here: install gcc")
    facts = [source, command, _version(command), _machine(), tuple(flags)]
    name = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    file = cache.folder("native") / f"{name}.so"
    with suppress(OSError):
        return ctypes.CDLL(str(file))
    with _compiling_alone(file):
        if file.exists():  # another process was first; or the file was already there and could not be loaded
            with suppress(OSError):
                return ctypes.CDLL(str(file))
        with tempfile.TemporaryDirectory() as folder:
            compiled = Path(folder) / f"{name}.so"
            _compile([command, *flags], source, compiled)
            if compiled.exists():
                cache.keep(file, compiled.read_bytes())
            try:
                return ctypes.CDLL(str(file if file.exists() else compiled))
            except OSError as error:
                file.unlink(missing_ok=True)
                raise NotNative(f"the compiled function cannot be loaded: {error}") from error


@contextmanager
def _compiling_alone(file: Path) -> Generator[None]:
    """Hold a lock while compiling, so that processes that need the same library compile it once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = open(file.with_name(f"{file.name[:2]}.lock"), "w")  # noqa: SIM115 - open as long as the lock is held
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _time_limit() -> list[str]:
    """Return a command prefix that ends the compiler when it has used the CPU time of core.deadline."""
    seconds, prlimit = deadline.whole(), shutil.which("prlimit")
    return [] if seconds is None or prlimit is None else [prlimit, f"--cpu={math.ceil(seconds)}"]


def _compile(command: Sequence[str], source: str, target: Path) -> None:
    """Compile with the C library's vector functions (libmvec) where it has them, else without."""
    first_error = ""
    for more in (["-DVECTOR_MATH"], []):
        try:
            run = subprocess.run(
                [
                    *_time_limit(),
                    *command,
                    *more,
                    "-x",
                    "c",
                    "-",
                    "-o",
                    str(target),
                    "-Wl,--no-undefined",
                    "-lm",
                ],
                input=source,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMPILE_S,
            )
        except subprocess.TimeoutExpired as error:
            raise NotNative(f"{command[0]} took more than {COMPILE_S:g} s") from error
        if run.returncode == 0:
            return
        errors = [line for line in run.stderr.splitlines() if "error" in line]
        first_error = first_error or next(iter(errors), f"exit code {run.returncode}")
    raise NotNative(f"{command[0]} failed: {first_error}")
