"""The torch operations that have a counterpart in C, by their ATen names. Any other raises NotNative."""

from collections.abc import Mapping, Sequence

from espalier.core.native import creation, indexing, products, reductions
from espalier.core.native.elementwise import ELEMENTWISE, emit_elementwise
from espalier.core.native.emitter import Arguments, Emit, Emitter
from espalier.core.native.tensor_refs import NotNative, TensorRef

OPERATIONS: Mapping[str, Emit] = {
    **reductions.OPERATIONS,
    **products.OPERATIONS,
    **indexing.OPERATIONS,
    **creation.OPERATIONS,
}
"""Those that are more than one expression for each element."""


def emit(
    emitter: Emitter, name: str, out: TensorRef | Sequence[TensorRef], arguments: Arguments, overload: object
) -> None:
    """Write an operation with result `out`. Raises NotNative for an operation without a counterpart in C.

    overload: torch's full name of the operation, for the message.
    """
    if not isinstance(out, TensorRef) and name in reductions.SEVERAL_RESULTS:
        reductions.SEVERAL_RESULTS[name](emitter, out, arguments)
    elif isinstance(out, TensorRef) and name in ELEMENTWISE:
        emit_elementwise(emitter, name, out, arguments)
    elif isinstance(out, TensorRef) and name in OPERATIONS:
        OPERATIONS[name](emitter, out, arguments)
    else:
        raise NotNative(f"{overload} has no counterpart in C here")
