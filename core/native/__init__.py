"""A function of one lane as machine code: traced, written in C, compiled by the C compiler of the machine, and kept.

All lanes are one call, one after the other, so a lane has the same bits whatever their number. What has been compiled
once is found again, by its source, at the next start.
"""

import ctypes
import fcntl
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from espalier.core import cache, deadline
from espalier.core.deadline import TooLong
from espalier.core.errors import BadInput
from espalier.core.native.decompositions import simpler
from espalier.core.native.emitter import Argument, Writer
from espalier.core.native.stacked import Stacked, close, largest
from espalier.core.native.tape import traced
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
MOST_LINES = 10_000  # for which gcc takes up to half a minute; for twice as many, as of a long recurrence, four times
COMPILE_S = 300.0  # on a machine that is busy with other things


class Native:
    """The compiled function. It changes its tensors in place, as the function did that it was made of."""

    def __init__(self, library: ctypes.CDLL, writer: Writer, workspace: int):
        self._run = library.run
        self._run.restype = ctypes.c_int64
        self._workspace = torch.empty(max(1, workspace), dtype=torch.uint8)
        self._constants = writer.constants
        self._outputs = [(place.dtype, place.shape) for place in writer.outputs]
        self._arguments = writer.arguments

    def __call__(
        self,
        lanes: int,
        tensors: Sequence[Tensor],
        wanted: int | None = None,
        steps: int = 1,
        lost: Callable[[int, int, Exception], bool] = lambda lane, step, error: False,
    ) -> list[Tensor]:
        """Run all steps of each lane; return the first `wanted` outputs, (steps, lanes ...), without steps if one.

        lost: whether a lane that met an index out of range at a step is past help: then the rest of its losses is NaN,
        and the others go on. Raises IndexError for one that is not.
        """
        for i, (argument, tensor) in enumerate(zip(self._arguments, tensors, strict=True)):
            if (argument.stepped or argument.lanes is not None) and not tensor.is_contiguous():
                raise ValueError(f"argument {i} of a native function lies with gaps")
        given = self._outputs if wanted is None else self._outputs[:wanted]
        several = (steps,) if steps > 1 else ()
        outputs = [
            torch.empty((*several, lanes * shape[0], *shape[1:]) if shape else several, dtype=dtype)
            for dtype, shape in given
        ]
        places = [tensor.data_ptr() for tensor in (*tensors, *self._constants)]
        into = [tensor.data_ptr() for tensor in outputs] + [None] * (len(self._outputs) - len(outputs))
        lane = 0
        while lane < lanes:
            failed = self._run(
                ctypes.c_int64(lane),
                ctypes.c_int64(lanes),
                ctypes.c_int64(steps),
                (ctypes.c_void_p * len(places))(*places),
                (ctypes.c_void_p * len(into))(*into),
                ctypes.c_void_p(self._workspace.data_ptr()),
            )
            if not failed:
                break
            lane, step = divmod(failed - 1, steps)
            error = IndexError("an index is out of range: a class, or a row of an embedding, that is not there")
            if not lost(lane, step, error):
                raise error
            for tensor in [tensor for tensor in outputs if tensor.is_floating_point()]:
                tensor.view(steps, lanes, -1)[step:, lane] = math.nan
            lane += 1
        return outputs


def native_of(
    function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked], stepped: Sequence[int] = ()
) -> Native:
    """Return a function of one lane (an axis of length one in each argument that has lanes), compiled for any number.

    stepped: the arguments of which each step will have one of its own, along a new first axis.
    Raises NotNative where it cannot be traced, written or compiled, or gives something else than the function itself.
    The arguments are left as they are.
    """
    try:
        given = [_argument(a, i in stepped) for i, a in enumerate(arguments)]
        writer = Writer(_traced(function, arguments).graph, given)
        source, workspace = writer.source()
        if (lines := source.count("\n")) > MOST_LINES:
            raise NotNative(f"its {lines:,} lines of C would take minutes to compile; {MOST_LINES:,} are the most")
        native = Native(_library(source), writer, workspace)
        same = _agree(native, function, arguments)
    except (NotNative, BadInput, TooLong):
        raise
    except Exception as error:  # any of what a user's model may do to tracing
        raise NotNative(f"{type(error).__name__}: {error}") from error
    if not same:
        raise NotNative("the compiled function gives other numbers than the function")
    return native


def _argument(given: Stacked, stepped: bool) -> Argument:
    tensor = given.tensor
    if tensor.device.type != "cpu":
        raise NotNative("machine code is for the CPU")
    if given.lanes is None:
        return Argument(None, stepped, tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)
    shape = tuple(1 if i == given.lanes else size for i, size in enumerate(tensor.shape))
    return Argument(given.lanes, stepped, shape, tuple(torch.empty(shape, device="meta").stride()), tensor.dtype)


def _traced(function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked]) -> fx.GraphModule:
    function(*(a.with_lanes(1) for a in arguments))  # what it keeps in a cache of its own should have numbers
    with sdpa_kernel(SDPBackend.MATH):  # attention as products
        return traced(function, [a.with_lanes(1) for a in arguments], simpler=simpler())


def _agree(native: Native, function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked]) -> bool:
    """Compare two lanes of the compiled function with the function on each of them: what it returns and changes."""
    many = any(a.lanes is not None for a in arguments)
    lanes = 2 if many else 1
    ours = [a.with_lanes(lanes) for a in arguments]
    kept = [a.with_lanes(lanes) for a in arguments]
    found = native(lanes, ours)
    for lane in range(lanes):
        mine, theirs = (
            [t if a.lanes is None else t.narrow(a.lanes, lane, 1).clone() for a, t in zip(arguments, each, strict=True)]
            for each in (ours, kept)
        )
        expected = [*function(*theirs)]
        given = [t.narrow(0, lane * len(e), len(e)) if many else t for t, e in zip(found, expected, strict=True)]
        pairs = list(zip([*given, *mine], [*expected, *theirs], strict=True))
        scale = max((largest(e) for _, e in pairs if e.is_floating_point()), default=0.0)
        if not all(close(ours, e, scale) for ours, e in pairs):
            return False
    return True


# --- compiling --------------------------------------------------------------------------------------------------------


def compiler() -> str | None:
    """Return the C compiler of this machine, or None."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))), None)


def compiler_version() -> str:
    """Return the first line in which the C compiler of this machine says what it is; "none" without one."""
    command = compiler()
    return _version(command).partition("\n")[0] if command else "none"


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return what the code of a compiler depends on beside the source: the processor's abilities."""
    with suppress(OSError, StopIteration):
        return next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Feat"))
        )
    return platform.platform() + platform.processor()


@lru_cache(maxsize=2)
def _version(command: str) -> str:
    return subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout


def _library(source: str) -> ctypes.CDLL:
    """Compile a source, or find what came of it before, and load it. Raises NotNative."""
    command = compiler()
    if command is None:
        raise NotNative("there is no C compiler here: install gcc")
    facts = [source, command, _version(command), _machine(), FLAGS]
    name = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    kept = cache.folder("native") / f"{name}.so"
    with suppress(OSError):
        return ctypes.CDLL(str(kept))
    with _turn(kept):
        if kept.exists():  # another process was first; a file that was there before cannot be loaded
            with suppress(OSError):
                return ctypes.CDLL(str(kept))
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / f"{name}.so"
            _compile(command, source, made)
            if made.exists():
                cache.keep(kept, made.read_bytes())
            try:
                return ctypes.CDLL(str(kept if kept.exists() else made))
            except OSError as error:
                kept.unlink(missing_ok=True)
                raise NotNative(f"the compiled function cannot be loaded: {error}") from error


@contextmanager
def _turn(kept: Path) -> Iterator[None]:
    """Let one process compile at a time, so that others that need the same find it."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock = open(kept.with_name(f"{kept.name[:2]}.lock"), "w")  # noqa: SIM115 - open as long as the lock is held
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _limited() -> list[str]:
    """Return the command under which the compiler ends when it has computed for as long as may be spent on deciding."""
    seconds, prlimit = deadline.whole(), shutil.which("prlimit")
    return [] if seconds is None or prlimit is None else [prlimit, f"--cpu={math.ceil(seconds)}"]


def _compile(command: str, source: str, made: Path) -> None:
    """Compile with functions of whole vectors where the C library has them, else without."""
    said = ""
    for more in (["-DVECTOR_MATH"], []):
        try:
            run: Any = subprocess.run(
                [*_limited(), command, *FLAGS, *more, "-x", "c", "-", "-o", str(made), "-Wl,--no-undefined", "-lm"],
                input=source,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMPILE_S,
            )
        except subprocess.TimeoutExpired as error:
            raise NotNative(f"{command} took more than {COMPILE_S:g} s") from error
        if run.returncode == 0:
            return
        errors = [line for line in run.stderr.splitlines() if "error" in line]
        said = said or next(iter(errors), f"exit code {run.returncode}")
    raise NotNative(f"{command} failed: {said}")
