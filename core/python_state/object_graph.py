# pyright: basic
# any Python value
"""The edges of the object graph: the values reachable from a value in one step, and their names.

User code is followed: attributes, closures, defaults, named globals. Library code is not.
"""

import dis
import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from espalier.core.own import NAME, is_own_or_library
from espalier.core.python_state.copies import ATOMS
from espalier.core.python_state.tokens import MOST_ITEMS, is_mapping
from espalier.core.python_state.variables import Variable

Edge = tuple[str, object, Variable | None]
"""A path, the value there, and the variable that holds it or in whose contents it lies."""

_MODULE_OWN = ("_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set")
_LEAVES = (*ATOMS, Tensor, np.ndarray, torch.Generator, random.Random, Enum)
_NO_STATE = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__")
_NOTED_BY_COPY = ("__slotnames__",)  # attributes that copy sets on a class when it first copies an instance


class ObjectGraph:
    """The object graph of a task and its model.

    names: by the id of each module's dictionary of tensors, its initial names; names added later are state. owners:
    ids of the objects known to hold variables; `edges` adds to it.
    """

    def __init__(self, task: object, model: nn.Module, names: Mapping[int, list[str]]):
        self.names = dict(names)
        self.owners = set[int]()
        self.trained = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._modules = {id(module) for module in model.modules()}
        package = type(task).__module__.partition(".")[0]
        self._package = "" if package == NAME else package

    def edges(self, path: str, value: Any, variable: Variable | None) -> Iterator[Edge]:
        """Yield the values reachable from a value at a path.

        variable: the one that holds the value; None for a root or a type.
        """
        foreign = isinstance(value, nn.Parameter) and id(value) not in self.trained
        if foreign and (variable is None or variable.owner is not value):
            yield f"{path}.data", value.detach(), Variable(f"{path}.data", value, "data", True)
        if isinstance(value, _LEAVES):
            return
        if isinstance(value, dict | list | deque | tuple) and hasattr(value, "__dict__"):  # of a user's class
            yield from _of_attributes(path, value, vars(value))
        if is_mapping(value) or isinstance(value, list | tuple | deque):
            yield from _of_container(path, value, variable)
        elif isinstance(value, types.FunctionType):
            yield from self._of_function(path, value)
        elif isinstance(value, type):
            yield from self._of_class(value)
        elif isinstance(value, types.ModuleType):
            yield from self._of_module(value)
        elif (parts := _parts(value)) is not None:
            yield from ((f"{path}{part}", inner, variable) for part, inner in parts.items())
        else:
            yield from self._of_object(path, value)

    def _of_object(self, path: str, value: object) -> Iterator[Edge]:
        attributes = dict(getattr(value, "__dict__", {}))
        if isinstance(value, nn.Module):
            modules = attributes["_modules"]
            self.owners.add(id(modules))
            yield from _of_items(f"{path}.", modules, modules)
            yield from self._of_tensors(path, value)
            attributes = {name: v for name, v in attributes.items() if name not in _MODULE_OWN}
        for slot in _slots(type(value)):
            if hasattr(value, slot):
                attributes[slot] = getattr(value, slot)
        yield from _of_attributes(path, value, attributes)
        yield type(value).__name__, type(value), None

    def _of_tensors(self, path: str, module: nn.Module) -> Iterator[Edge]:
        """Yield the parts of a module's tensors that may change.

        For a network other than the trial's model these are all its tensors. For the model itself they are the
        requires_grad flags and the tensors created in training, which no optimizer knows.
        """
        parameters, buffers = vars(module)["_parameters"], vars(module)["_buffers"]
        for name, parameter in parameters.items():
            flag = f"{path}.{name}.requires_grad"
            if parameter is not None:
                yield flag, parameter.requires_grad, Variable(flag, parameter, "requires_grad", True)
        for tensors in (parameters, buffers):
            self.owners.add(id(tensors))
            first = self.names.setdefault(id(tensors), list(tensors))
            yield from _of_items(f"{path}.", tensors, {n: t for n, t in tensors.items() if n not in first})
        if id(module) not in self._modules:
            for name, tensor in {**parameters, **buffers}.items():
                if tensor is not None:
                    yield f"{path}.{name}", tensor, Variable(f"{path}.{name}", tensor, "data", True)

    def _of_class(self, kind: type) -> Iterator[Edge]:
        if self._is_persons(kind.__module__):
            for base in kind.__mro__:
                if self._is_persons(base.__module__):
                    yield from _of_attributes(base.__qualname__, base, dict(vars(base)))

    def _of_module(self, module: types.ModuleType) -> Iterator[Edge]:
        if self._is_persons(module.__name__):
            names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
            yield from _of_items(f"{module.__name__}.", vars(module), names)

    def _of_function(self, path: str, function: types.FunctionType) -> Iterator[Edge]:
        """Yield where a user's function may hold state: closures, defaults, attributes, the globals that it names."""
        if not self._is_persons(function.__module__ or ""):
            return
        name = function.__qualname__
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            inner = f"{free} of {name}"
            yield inner, _cell_contents(cell), Variable(inner, cell, "cell_contents", True)
        for kind, words in (("__defaults__", "defaults of"), ("__kwdefaults__", "keyword defaults of")):
            if defaults := getattr(function, kind):
                yield f"{words} {name}", defaults, Variable(f"{words} {name}", function, kind, True)
        yield from _of_attributes(name, function, vars(function))
        self.owners.add(id(function.__globals__))
        named = {n: function.__globals__[n] for n in _global_names(function.__code__) if n in function.__globals__}
        yield from _of_items("", function.__globals__, named)

    def _is_persons(self, module: str) -> bool:
        """Whether a module is user code, whose state counts, and not a library."""
        if module.partition(".")[0] == self._package or module == "__main__":
            return True
        file = getattr(sys.modules.get(module), "__file__", None)
        return file is not None and not is_own_or_library(file)


def _of_container(path: str, value: Any, variable: Variable | None) -> Iterator[Edge]:
    if is_mapping(value):
        for key in _evenly_spread(list(value)):
            yield f"{path}[{key!r}]" if isinstance(key, ATOMS) else f"{path}[...]", value[key], variable
    else:
        for i in _evenly_spread(range(len(value))):
            yield f"{path}[{i}]", value[i], variable


def _of_attributes(path: str, owner: object, attributes: Mapping[str, object]) -> Iterator[Edge]:
    for name, value in attributes.items():
        if name not in (*_NO_STATE, *_NOTED_BY_COPY):
            yield f"{path}.{name}", value, Variable(f"{path}.{name}", owner, name, True)


def _of_items(prefix: str, owner: object, items: Mapping[str, object]) -> Iterator[Edge]:
    for name, value in items.items():
        yield f"{prefix}{name}", value, Variable(f"{prefix}{name}", owner, name, False)


def _parts(value: object) -> Mapping[str, object] | None:
    """Return the parts of a value that wraps others, by path suffix; None for an object with attributes."""
    for kinds, parts in _WRAPPERS:
        if isinstance(value, kinds):
            return parts(value)
    wrapped = getattr(value, "__wrapped__", None)
    return {".__wrapped__": wrapped} if wrapped else None


_WRAPPERS: Sequence[tuple[Any, Callable[[Any], Mapping[str, object]]]] = (
    (ContextVar, lambda variable: {".get()": variable.get(None)}),
    (types.MethodType, lambda method: {".__func__": method.__func__, ".__self__": method.__self__}),
    ((staticmethod, classmethod), lambda method: {".__func__": method.__func__}),
    (property, lambda each: {".fget": each.fget, ".fset": each.fset}),
    (functools.partial, lambda p: {".func": p.func, ".args": list(p.args), ".keywords": p.keywords}),
    (types.GeneratorType, lambda g: {".locals": dict(g.gi_frame.f_locals) if g.gi_frame else {}}),
)


def _cell_contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # an empty closure cell
        return None


def _slots(kind: type) -> list[str]:
    slots: Iterable[object] = (getattr(base, "__slots__", ()) for base in kind.__mro__)
    names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


@functools.lru_cache(10_000)
def _global_names(code: types.CodeType) -> Sequence[str]:
    """Return the names of globals that a function and its nested functions look up."""
    names = [each.argval for each in dis.get_instructions(code) if each.opname.endswith(("_GLOBAL", "_NAME"))]
    inner = [_global_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return list(dict.fromkeys([*names, *(name for each in inner for name in each)]))


def _evenly_spread(items: Sequence[object]) -> Sequence[object]:
    """Return all items if they are few, else an evenly spaced sample that includes the last."""
    if len(items) <= MOST_ITEMS:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, MOST_ITEMS).astype(int)]
