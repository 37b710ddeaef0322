# pyright: basic
# torch types little of what this file needs: its graphs, its dispatcher, its private switches
"""A graph of tensor operations as one function in C, which runs all steps of a lane in a row.

Shapes are constants in it, and a lane's tensors share a workspace that fits into the processor's cache.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from espalier.core.native.header import header
from espalier.core.native.operations import emit
from espalier.core.native.tensor_refs import TYPES, NotNative, Shape, TensorRef, contiguous
from espalier.core.native.workspace import lay_out
from espalier.core.native.writer import Writer

VIEWS = ("_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "lift_fresh")  # not marked as views by their
# schemas
VIEWS_IN_PLACE = ("unsqueeze_", "squeeze_", "transpose_", "t_")


@dataclass(frozen=True)
class Argument:
    """An argument of the function.

    lanes: its axis of lanes; None if all lanes share it. stepped: whether it has a first axis of steps.
    """

    lanes: int | None
    stepped: bool
    shape: Shape
    strides: Shape
    dtype: torch.dtype


class CFunction:
    """A graph written in C. constants: the graph's own tensors, which are passed after the arguments."""

    def __init__(self, graph: fx.Graph, arguments: Sequence[Argument]):
        """Write the operations of a graph whose placeholders are the arguments. Raises NotNative."""
        self.arguments = arguments
        self.constants: list[Tensor] = []
        self.outputs: list[TensorRef] = []
        self._writer = Writer()
        self._values: dict[fx.Node, Any] = {}  # a TensorRef, or a list of them
        nodes = list(graph.nodes)
        self._returned_copies = _returned_copies(nodes)
        for self._writer.now, node in enumerate(nodes):
            self._write_node(node)
        self._keep_alive(nodes)

    def source(self) -> tuple[str, int]:
        """Return the C source, and the size of its workspace in bytes."""
        registers = self._writer.registers()
        buffers = self._writer.workspace.without(registers)
        size = lay_out(buffers)
        tensors = [
            *((f"a{i}", TYPES[a.dtype], _lane_offset(a)) for i, a in enumerate(self.arguments)),
            *((f"k{i}", TYPES[constant.dtype], "") for i, constant in enumerate(self.constants)),
        ]
        pointers = [
            *(f"{kind} *const {name} = ({kind} *)tensors[{i}]{at};" for i, (name, kind, at) in enumerate(tensors)),
            *(f"{b.kind} *const {b.name} = ({b.kind} *)(workspace + {b.offset});" for b in buffers),
        ]
        body = "\n".join(f"        {line}" for line in pointers)
        return (
            f"{header()}\n"
            "int64_t run(const int64_t first, const int64_t lanes, const int64_t steps, void *const *tensors,\n"
            "            void *const *outputs, char *workspace) {\n"
            "    for (int64_t lane = first; lane < lanes; lane++) for (int64_t step = 0; step < steps; step++) {\n"
            f"{body}\n{self._writer.text(registers)}\n    }}\n    return 0;\n}}\n"
        ), size

    def _keep_alive(self, nodes: Sequence[fx.Node]) -> None:
        """Extend each buffer's lifetime to the last operation that uses it or a view of it."""
        for now, node in enumerate(nodes):
            for used in node.all_input_nodes:
                values = self._values.get(used)
                refs = values if isinstance(values, list) else [values]
                self._writer.workspace.use((ref.pointer for ref in refs if isinstance(ref, TensorRef)), now, now)
        self._writer.keep_alive_in_loops()

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _write_node(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._values[node] = self._argument(len(self._values))
        elif node.op == "get_attr":
            tensor = getattr(node.graph.owning_module, str(node.target)).detach().contiguous()
            name = f"k{len(self.constants)}"
            self.constants.append(tensor)
            self._values[node] = TensorRef(name, tensor.dtype, tuple(tensor.shape), tensor.stride())
        elif node.op == "output":
            self._return(cast(Sequence[fx.Node], node.args[0]))
        else:
            self._values[node] = self._call(node)

    def _argument(self, i: int) -> TensorRef:
        argument = self.arguments[i]
        if argument.dtype not in TYPES:
            raise NotNative(f"numbers of type {argument.dtype}")
        if argument.lanes != 1:
            return TensorRef(f"a{i}", argument.dtype, argument.shape, argument.strides)
        own = self._writer.room(argument.dtype, argument.shape)  # a lane's numbers are strided: gather them
        count = math.prod(argument.shape)
        self._writer.line(f"for (int64_t i = 0; i < {count}; i++) {own.pointer}[i] = a{i}[i * lanes + lane];")
        return own

    def _return(self, returned: Iterable[fx.Node]) -> None:
        written = {i for outputs in self._returned_copies.values() for i in outputs}
        for i, node in enumerate(returned):
            ref = self._values[node]
            if i not in written:
                self._copy_to_output(i, ref)
            self.outputs.append(ref)

    def _copy_to_output(self, i: int, ref: TensorRef) -> None:
        count = math.prod(ref.shape)
        self._writer.line(f"if (outputs[{i}]) {{")
        self._writer.line(f"    {ref.kind} *const o = ({ref.kind} *)outputs[{i}] + (step * lanes + lane) * {count};")
        self._writer.copy(TensorRef("o", ref.dtype, ref.shape, contiguous(ref.shape)), ref)
        self._writer.line("}")

    def _call(self, node: fx.Node) -> Any:
        """Write a call; return its result, a TensorRef or a list of them."""
        target, source = node.target, cast(fx.Node, node.args[0] if node.args else None)
        if not isinstance(target, torch._ops.OpOverload):
            if getattr(target, "__name__", "") == "getitem":
                return self._values[source][node.args[1]]
            raise NotNative(str(target))
        args: Any = map_arg(node.args, lambda n: self._values[n])
        kwargs: Any = map_arg(node.kwargs, lambda n: self._values[n])
        if node in self._returned_copies:
            for i in self._returned_copies[node]:
                self._copy_to_output(i, args[0])
            return args[0]
        if not str(target).startswith("aten."):
            raise NotNative(str(target))
        name, value = target._schema.name.removeprefix("aten::"), node.meta.get("val")
        alias = target._schema.returns[0].alias_info if target._schema.returns else None
        if (alias is not None and not alias.is_write) or name in VIEWS:
            return _view(args[0], value)
        if name in VIEWS_IN_PLACE:
            self._values[source] = _view(args[0], value)
            return self._values[source]
        out = args[0] if alias is not None else self._result(target, value)
        emit(self._writer, name.removesuffix("_") if alias else name, out, _by_name(target, args, kwargs), target)
        return out

    def _result(self, target: object, value: object) -> TensorRef | list[TensorRef]:
        """Allocate the result of an operation. value: its traced value, with shape and strides."""
        if isinstance(value, Tensor):
            return self._writer.room(value.dtype, tuple(value.shape), value.stride())
        if isinstance(value, tuple | list) and all(isinstance(v, Tensor) for v in value):
            return [self._writer.room(v.dtype, tuple(v.shape), v.stride()) for v in value]
        raise NotNative(f"{target}, which returns no tensor")


def _lane_offset(argument: Argument) -> str:
    """Return the C expression of a lane's offset into an argument, at a step."""
    numbers = math.prod(argument.shape)
    if argument.lanes is None:
        return f" + step * {numbers}" if argument.stepped else ""
    lane = f" + lane * {numbers}" if argument.lanes == 0 else ""
    return f"{lane} + step * lanes * {numbers}" if argument.stepped else lane


def _returned_copies(nodes: Sequence[fx.Node]) -> dict[fx.Node, list[int]]:
    """Return the copies that are only returned, each with its output numbers.

    They are written to the caller's memory, and only if the caller asks for them.
    """
    end = nodes[-1]
    returned = cast(Sequence[fx.Node], end.args[0])
    return {
        node: [i for i, out in enumerate(returned) if out is node]
        for node in nodes
        if node.target is torch.ops.aten.clone.default and list(node.users) == [end]
    }


def _view(ref: TensorRef, value: Any) -> Any:
    """Return a view of a tensor, or a list of views, with the traced shape and strides."""
    if isinstance(value, tuple | list):
        return [_view(ref, each) for each in value]
    if value.dtype != ref.dtype:
        raise NotNative("the same numbers seen as another type")
    return replace(ref, shape=tuple(value.shape), strides=tuple(value.stride()), offset=value.storage_offset())


def _by_name(target: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation's arguments by the names in its schema, with defaults filled in."""
    schema = target._schema.arguments
    defaults = {a.name: a.default_value for a in schema if a.has_default_value()}
    return defaults | {a.name: value for a, value in zip(schema, args, strict=False)} | dict(kwargs)
