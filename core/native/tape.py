# pyright: basic
# torch types little of what this file needs: its graphs, its dispatcher, its private switches
"""Tracing: a function as a graph of the operations that reach torch's dispatcher.

The function gets tensors without data, so it cannot depend on their values. (torch.fx's make_fx does the same, but
imports all of torch's compiler, which would cost every worker some seconds before its first step.)
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode

from espalier.core import deadline

Decompositions = Mapping[object, Callable[..., Any]]
"""By operation, a function that computes the same by several simpler ones."""
LOOK = torch.ops.aten._local_scalar_dense.default


class Untraceable(Exception):
    """The function does something that a list of operations cannot express."""


def traced(
    function: Callable[..., Sequence[Tensor]],
    arguments: Sequence[Tensor],
    decompositions: Decompositions | None = None,
) -> fx.GraphModule:
    """Return the function as a graph; each node's meta["val"] has its result's shape and strides, and no data.

    arguments: every operation is executed on them to learn its result's shape, so in-place operations change them.
    (To import torch's meta kernels takes longer than to run a step of one lane.)
    decompositions: by operation, its decomposition into simpler ones.
    Raises Untraceable where the function reads a number or changes a tensor that is no argument, and whatever the
    function itself raises.
    """
    tape = _Tape(decompositions or {})
    seen = [tape.take(argument) for argument in arguments]
    with tape:
        returned = function(*seen)
    return tape.module(returned)


class _Tape(TorchDispatchMode):
    """Records operations. A traced tensor carries its node and its data, which live as long as it does."""

    def __init__(self, decompositions: Decompositions):
        super().__init__()
        self.decompositions = decompositions
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._of_constants: dict[int, tuple[fx.Node, Tensor, Tensor]] = {}  # by id; the tensor is held, so that the
        # id stays its own

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, it would have to be imported

    def take(self, argument: Tensor) -> Tensor:
        """Add an argument; return the traced tensor for it."""
        node = self.graph.placeholder(f"argument{len(self.graph.nodes)}")
        return _seen(_like(argument), node, _from_its_first(argument))

    def module(self, returned: Sequence[Tensor]) -> fx.GraphModule:
        self.graph.output(tuple(self._of(tensor)[0] for tensor in returned))
        self.graph.eliminate_dead_code()
        return fx.GraphModule(self.constants, self.graph)

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        kwargs = kwargs or {}
        deadline.check()
        with self:
            done = self.decompositions[func](*args, **kwargs) if func in self.decompositions else NotImplemented
            if done is NotImplemented:
                done = func.decompose(*args, **kwargs)
        return self._record(func, args, kwargs) if done is NotImplemented else done

    def _record(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is LOOK:
            raise Untraceable("it looks at a number in a tensor: .item(), or control flow on data")
        takes = func._schema.arguments
        for parameter, value in zip(takes, args, strict=False):
            if parameter.alias_info is not None and parameter.alias_info.is_write and not hasattr(value, HELD):
                raise Untraceable(f"{func} changes a tensor that is no argument")
        if any(parameter.is_out for parameter in takes):
            raise Untraceable(f"{func} writes to `out`")
        if any(parameter.name == "device" for parameter in takes):
            kwargs = {**kwargs, "device": "cpu"}  # the function may have taken it from a traced tensor
        node = self.graph.call_function(func, *self._each((args, kwargs), 0))
        data, options = self._each((args, kwargs), 1)
        result = func(*data, **options)
        if isinstance(result, Tensor):
            return self._returned(node, func, args, data, result)
        if isinstance(result, tuple | list) and any(isinstance(part, Tensor) for part in result):
            node.meta["val"] = tuple(map(_shape_of, result))
            return type(result)(
                self._returned(self.graph.call_function(operator.getitem, (node, i)), func, args, data, part)
                if isinstance(part, Tensor)
                else part
                for i, part in enumerate(result)
            )
        self.graph.erase_node(node)  # a query of a shape
        return result

    def _returned(self, node: fx.Node, func: Any, args: Any, data: Any, result: Tensor) -> Tensor:
        """Return the traced value of a result."""
        same = next((seen for seen, each in zip(args, data, strict=True) if each is result), None)
        if same is not None:  # changed in place, possibly its shape too
            if (same.shape, same.stride()) != (result.shape, result.stride()):
                same.as_strided_(result.shape, result.stride(), result.storage_offset())
            return _seen(same, node, result)
        if func._schema.returns[0].alias_info is not None:  # a view
            place = result.shape, result.stride(), result.storage_offset()
            return _seen(args[0].as_strided(*place), node, result)
        return _seen(_like(result), node, result)

    def _each(self, values: Any, which: int) -> Any:
        """Return the arguments with traced tensors replaced by their nodes (0) or their data (1)."""
        return map_aggregate(values, lambda value: self._of(value)[which] if isinstance(value, Tensor) else value)

    def _of(self, seen: Tensor) -> tuple[fx.Node, Tensor]:
        if hasattr(seen, HELD) and getattr(seen, HELD)[0].graph is self.graph:
            return getattr(seen, HELD)
        if seen.is_meta:  # from another trace, say
            raise Untraceable("it uses a tensor of unknown origin")
        if id(seen) not in self._of_constants:  # an attribute of the model, or made of Python numbers
            name, constant = f"constant{len(self.constants)}", _from_its_first(seen.contiguous())
            node = self.graph.create_node("get_attr", name)
            node.meta["val"] = _shape_of(constant)
            self.constants[name], self._of_constants[id(seen)] = constant, (node, constant, seen)
        return self._of_constants[id(seen)][:2]


HELD = "_espalier_node_and_data"


def _seen(tensor: Tensor, node: fx.Node, data: Tensor) -> Tensor:
    node.meta["val"] = _shape_of(data)
    setattr(tensor, HELD, (node, data))
    return tensor


def _from_its_first(tensor: Tensor) -> Tensor:
    """Return a tensor that shares these numbers, with a storage offset of 0."""
    return torch.from_dlpack(tensor.detach()) if tensor.storage_offset() else tensor.detach()


def _like(data: Tensor) -> Tensor:
    """Return a tensor without data with the metadata of another."""
    return torch.empty_strided(data.shape, data.stride(), dtype=data.dtype, device="meta")


def _shape_of(data: object) -> object:
    """Return a tensor without data that records a result's present shape; other values unchanged."""
    if not isinstance(data, Tensor):
        return data
    return _like(data).as_strided(data.shape, data.stride(), data.storage_offset())
