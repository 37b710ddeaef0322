"""A function of one lane as machine code: traced, written in C, compiled by the machine's C compiler, and cached.

One call runs all lanes, one after the other, so a lane's bits do not depend on their number. The cache is keyed by
the C source, so a later process loads the same library.
"""

import ctypes
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from espalier.core.deadline import TooLong
from espalier.core.errors import BadInput
from espalier.core.native.compile import FLAGS, library
from espalier.core.native.compile import compiler as compiler
from espalier.core.native.compile import compiler_version as compiler_version
from espalier.core.native.decompositions import decompositions
from espalier.core.native.function import Argument, CFunction
from espalier.core.native.stacked import Stacked, close, largest
from espalier.core.native.tape import traced
from espalier.core.native.tensor_refs import NotNative

MOST_LINES = 10_000  # gcc takes up to half a minute for so many, four times that for twice as many (a long recurrence)

Lost = Callable[[int, int, Exception], bool]
"""Whether a lane is past help that met an error at a step: given the lane, the step and the error."""


def _never(lane: int, step: int, error: Exception) -> bool:
    return False


class Native:
    """The compiled function. It changes its tensors in place, as the traced function does."""

    def __init__(self, library: ctypes.CDLL, function: CFunction, workspace_bytes: int):
        self._run = library.run
        self._run.restype = ctypes.c_int64
        self._workspace = torch.empty(max(1, workspace_bytes), dtype=torch.uint8)
        self._constants = function.constants
        self._outputs = [(ref.dtype, ref.shape) for ref in function.outputs]
        self._arguments = function.arguments

    def __call__(
        self,
        lanes: int,
        tensors: Sequence[Tensor],
        wanted: int | None = None,
        steps: int = 1,
        lost: Lost = _never,
    ) -> list[Tensor]:
        """Run all steps of each lane; return the first `wanted` outputs, each (steps, lanes ...).

        With one step there is no axis of steps.
        lost: called with (lane, step, error) where an index is out of range. If it returns True, the later losses of
        that lane are NaN and the other lanes continue. Otherwise IndexError is raised.
        """
        self._check(tensors)
        outputs = self._empty_outputs(lanes, steps, wanted)
        read = _pointers([*tensors, *self._constants])
        written = _pointers(outputs, len(self._outputs))
        workspace, count = ctypes.c_void_p(self._workspace.data_ptr()), (ctypes.c_int64(lanes), ctypes.c_int64(steps))
        lane = 0
        while lane < lanes and (failed := self._run(ctypes.c_int64(lane), *count, read, written, workspace)):
            lane, step = divmod(failed - 1, steps)
            error = IndexError("an index is out of range: a class, or a row of an embedding, that is not there")
            if not lost(lane, step, error):
                raise error
            for tensor in [tensor for tensor in outputs if tensor.is_floating_point()]:
                tensor.view(steps, lanes, -1)[step:, lane] = math.nan
            lane += 1
        return outputs

    def _check(self, tensors: Sequence[Tensor]) -> None:
        for i, (argument, tensor) in enumerate(zip(self._arguments, tensors, strict=True)):
            if (argument.stepped or argument.lanes is not None) and not tensor.is_contiguous():
                raise ValueError(f"argument {i} of a native function lies with gaps")

    def _empty_outputs(self, lanes: int, steps: int, wanted: int | None) -> list[Tensor]:
        several = (steps,) if steps > 1 else ()
        return [
            torch.empty((*several, lanes * shape[0], *shape[1:]) if shape else several, dtype=dtype)
            for dtype, shape in (self._outputs if wanted is None else self._outputs[:wanted])
        ]


def _pointers(tensors: Sequence[Tensor], count: int | None = None) -> "ctypes.Array[ctypes.c_void_p]":
    """Return the addresses of tensors for C, padded with NULL to `count`."""
    addresses: list[int | None] = [tensor.data_ptr() for tensor in tensors]
    addresses += [None] * ((count or 0) - len(addresses))
    return (ctypes.c_void_p * len(addresses))(*addresses)


def native_of(
    function: Callable[..., Sequence[Tensor]],
    arguments: Sequence[Stacked],
    stepped: Sequence[int] = (),
    flags: Sequence[str] = FLAGS,
    most_lines: int = MOST_LINES,
) -> Native:
    """Compile a function of one lane for any number of lanes.

    In `arguments` each axis of lanes has length one.

    stepped: the arguments that differ from step to step; they get a new first axis of steps. flags: the C compiler's.
    most_lines: of C. Raises NotNative where it cannot be traced, written in C or compiled, or computes other numbers
    than the function. The arguments stay unchanged.
    """
    try:
        written = CFunction(
            _traced(function, arguments).graph, [_argument(a, i in stepped) for i, a in enumerate(arguments)]
        )
        source, workspace_bytes = written.source()
        if (lines := source.count("\n")) > most_lines:
            raise NotNative(f"its {lines:,} lines of C would take minutes to compile; {most_lines:,} are the most")
        native = Native(library(source, flags), written, workspace_bytes)
        same = _agree(native, function, arguments)
    except (NotNative, BadInput, TooLong):
        raise
    except Exception as error:  # a user's model may raise anything under tracing
        raise NotNative(f"{type(error).__name__}: {error}") from error
    if not same:
        raise NotNative("the compiled function gives other numbers than the function")
    return native


def _argument(stacked: Stacked, stepped: bool) -> Argument:
    tensor = stacked.tensor
    if tensor.device.type != "cpu":
        raise NotNative("machine code is for the CPU")
    if stacked.lanes is None:
        return Argument(None, stepped, tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)
    shape = tuple(1 if i == stacked.lanes else size for i, size in enumerate(tensor.shape))
    return Argument(stacked.lanes, stepped, shape, tuple(torch.empty(shape, device="meta").stride()), tensor.dtype)


def _traced(function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked]) -> fx.GraphModule:
    function(*(a.with_lanes(1) for a in arguments))  # tensors that the model caches in its first call must be real,
    # not traced
    with sdpa_kernel(SDPBackend.MATH):  # attention written as matrix products
        return traced(function, [a.with_lanes(1) for a in arguments], decompositions())


def _agree(native: Native, function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked]) -> bool:
    """Whether the compiled function, on two lanes, returns and changes the same as the function on each of them."""
    many = any(a.lanes is not None for a in arguments)
    lanes = 2 if many else 1
    ours = [a.with_lanes(lanes) for a in arguments]
    originals = [a.with_lanes(lanes) for a in arguments]
    results = native(lanes, ours)
    for lane in range(lanes):
        mine, theirs = (
            [t if a.lanes is None else t.narrow(a.lanes, lane, 1).clone() for a, t in zip(arguments, each, strict=True)]
            for each in (ours, originals)
        )
        expected = [*function(*theirs)]
        returned = [t.narrow(0, lane * len(e), len(e)) if many else t for t, e in zip(results, expected, strict=True)]
        pairs = list(zip([*returned, *mine], [*expected, *theirs], strict=True))
        scale = max((largest(e) for _, e in pairs if e.is_floating_point()), default=0.0)
        if not all(close(o, e, scale) for o, e in pairs):
            return False
    return True
