# pyright: basic
# torch types little of what this file needs: its graphs, its dispatcher, its private switches
"""A batched function, traced once into a flat list of tensor operations that serves every number of lanes.

The function is traced on tensors without data. The number of lanes is then a prime that divides no other size. So
every size in the list that is a multiple of it stands for the number of lanes. The list is then compared with the
function at other numbers of lanes. (Symbolic sizes would do the same, but vmap and the losses of torch.nn.functional
specialise them.)
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import Argument, map_aggregate
from torch.overrides import TorchFunctionMode

from espalier.core import deadline
from espalier.core.deadline import TooLong
from espalier.core.native.stacked import Stacked, close

PRIMES = (211, 223, 227, 229, 233, 239, 241, 251, 257, 263)  # few lanes, since vmap runs some operations one lane at
# a time

aten = torch.ops.aten
VIEWS = (aten.view.default, aten._unsafe_view.default)


class NotOneGraph(Exception):
    """The function cannot be traced into one list of operations."""


def graph_of(function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked]) -> fx.GraphModule:
    """Return the function as a graph that takes the same tensors with any number of lanes, and changes them in place.

    Raises NotOneGraph where it cannot be traced, or computes other numbers than the function. The arguments stay
    unchanged.
    """
    try:
        many = _unmistakable(arguments)
        function(*(a.with_lanes(2) for a in arguments))  # tensors that the model caches in its first call must be
        # real, not traced
        module = _generalised(_traced(function, arguments, many), arguments, many)
        same = _agree(module, function, arguments)
    except TooLong:
        raise
    except Exception as error:  # a user's model may raise anything under tracing
        raise NotOneGraph(f"{type(error).__name__}: {error}") from error
    if not same:
        raise NotOneGraph("the list of operations gives other numbers than the function")
    return module


def _unmistakable(arguments: Sequence[Stacked]) -> int:
    """Return a prime that divides no size of the arguments."""
    sizes = [size for a in arguments for i, size in enumerate(a.tensor.shape) if i != a.lanes]
    return next(prime for prime in PRIMES if all(size % prime for size in sizes if size))


def _traced(function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked], many: int) -> fx.GraphModule:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        empty = [
            torch.empty(_with_lanes(a.tensor.shape, a.lanes, many), dtype=a.tensor.dtype, device=a.tensor.device)
            for a in arguments
        ]
        return make_fx(_checking(function), _allow_non_fake_inputs=True)(*empty)


class _Checking(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        deadline.check()
        return func(*args, **(kwargs or {}))


def _checking(function: Callable[..., Sequence[Tensor]]) -> Callable[..., Sequence[Tensor]]:
    """Return the function with a check of the time limit at each operation."""

    def checked(*tensors: Tensor) -> Sequence[Tensor]:
        with _Checking():
            return function(*tensors)

    return checked


def _with_lanes(shape: Sequence[int], axis: int | None, lanes: int) -> list[int]:
    return [lanes if i == axis else size for i, size in enumerate(shape)]


def _generalised(module: fx.GraphModule, arguments: Sequence[Stacked], many: int) -> fx.GraphModule:
    graph = module.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    first = next(i for i, argument in enumerate(arguments) if argument.lanes is not None)
    with graph.inserting_after(inputs[-1]):
        lanes = graph.call_function(aten.sym_size.int, (inputs[first], arguments[first].lanes))
    multiples: dict[int, fx.Node] = {1: lanes}

    def counted(value: Argument) -> Argument:
        if type(value) is not int or value <= 0 or value % many:
            return value
        times = value // many
        if times not in multiples:
            with graph.inserting_after(lanes):
                multiples[times] = graph.call_function(_times, (lanes, times))
        return multiples[times]

    for node in [node for node in graph.nodes if node.op == "call_function" and node is not lanes]:
        sizes = _sizes(node.target)
        node.args = tuple(map_aggregate(a, counted) if i in sizes else a for i, a in enumerate(node.args))
        node.kwargs = {name: map_aggregate(a, counted) if name in sizes else a for name, a in node.kwargs.items()}
    _drop_idle_views(graph)
    _turn_products(graph)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    return module


def _sizes(target: object) -> set[int | str]:
    """Return which arguments of an operation may be sizes, by position and by name. Operands are not sizes."""
    if not isinstance(target, torch._ops.OpOverload):
        return set()
    kinds = ("int", "List[int]", "Optional[int]", "Optional[List[int]]")
    kinds = (*kinds, "number") if target.overloadpacket is aten.arange else kinds
    parameters = [(i, a.name) for i, a in enumerate(target._schema.arguments) if str(a.real_type) in kinds]
    return {key for i, name in parameters if name not in ("ignore_index", "padding_idx") for key in (i, name)}


def _times(lanes: int, times: int) -> int:
    return lanes * times


def _drop_idle_views(graph: fx.Graph) -> None:
    """Remove views and expansions to the shape that a tensor already has."""
    for node in list(graph.nodes):
        if node.target in (*VIEWS, aten.expand.default):
            source = node.args[0]
            if _shape(source) == _shape(node) and _strides(source) == _strides(node):
                node.replace_all_uses_with(source)
                graph.erase_node(node)


def _turn_products(graph: fx.Graph) -> None:
    """Compute A B as (B' A')' where that gives the kernel whole vectors: MKL takes 1.6 times as long otherwise.

    Its inner loops run along the last axis of the result, eight numbers at a time. The rule depends on shapes alone,
    so a step has the same bits wherever it runs.
    """
    for node in [node for node in graph.nodes if node.target is aten.bmm.default]:
        a, b = node.args
        if _shape(b)[2] % 8 and not _shape(a)[1] % 8 and _shape(a)[1] > 1:
            with graph.inserting_before(node):
                turned = graph.call_function(aten.bmm.default, (_turn(graph, b), _turn(graph, a)))
                back = _turn(graph, turned)
            back.meta.update(node.meta)
            node.replace_all_uses_with(back)
            graph.erase_node(node)
    for node in graph.nodes:  # a view of the product may not fit its new strides
        if node.target in VIEWS:
            node.target = aten.reshape.default


def _turn(graph: fx.Graph, node: Any) -> fx.Node:
    if node.target is aten.transpose.int and node.args[1:] == (1, 2):
        return node.args[0]
    return graph.call_function(aten.transpose.int, (node, 1, 2))


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _strides(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].stride())


def _agree(module: fx.GraphModule, function: Callable[..., Sequence[Tensor]], arguments: Sequence[Stacked]) -> bool:
    """Whether both return and change the same at other numbers of lanes than the traced one."""
    for lanes in (2, 5):
        ours, theirs = ([a.with_lanes(lanes) for a in arguments] for _ in range(2))
        results, expected = [*module(*ours), *ours], [*function(*theirs), *theirs]
        if len(results) != len(expected) or not all(map(close, results, expected)):
            return False
    return True
