"""Snapshots of all values reachable from a task and its model, which can be compared and restored.

Each value has a path (`self.stats['a'][0]`) and a token, which is equal in both if nothing has changed. Tensors are
held, so that their contents can be compared. Parameters and buffers, which a step may change, are left out.
"""

from collections import ChainMap, deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from espalier.core.python_state.copies import ATOMS, UNKEPT, Memo, copied, copied_if_small, has_identity
from espalier.core.python_state.object_graph import Edge, ObjectGraph
from espalier.core.python_state.outside_inputs import GLOBAL_GENERATORS
from espalier.core.python_state.tokens import Token, equal, is_number, token
from espalier.core.python_state.variables import ABSENT, Variable

MOST_NODES = 20_000  # the most values in a snapshot, those nearest to the task first: some 30 ms

Roots = Mapping[str, Any]
"""Where a snapshot begins, by name: `self` is the task, `model` its model."""


class Snapshot:
    """All values reachable from a task and its model, each by its path.

    tokens: by path. variables: by path, the variable that holds the value or whose contents include it.
    identities: by path, the objects that copies share. names: their paths by id.
    """

    def __init__(self, roots: Roots, since: "Snapshot | None" = None, values: bool = True):
        """Take a snapshot of the roots.

        since: an earlier snapshot, whose objects are followed even if they are no longer reachable.
        values: whether to copy the values of the variables.
        """
        model: nn.Module = roots["model"]
        self.tokens: dict[str, Token] = {}
        self.variables: dict[str, Variable] = {}
        self._values: dict[str, object] = {}
        self._parents: dict[str, str] = {}
        self._objects: dict[str, object] = {}  # the values of variables
        self._first: dict[str, object] = {}  # the nearest path of each object
        self._paths: dict[Hashable, str] = {}  # by the object that they lead to, which may have another path later
        self._seen: dict[int, tuple[object, Token]] = {}  # holds the objects, so that their ids are not reused
        self._graph = ObjectGraph(roots["self"], model, since._graph.names if since else {})
        self._walk(roots.items())
        unreachable = since.identities.items() if since else ()
        self._walk((path, each) for path, each in unreachable if id(each) not in self._seen)
        self._owners = self._graph.owners | self._seen.keys() | {id(each.owner) for each in self.variables.values()}
        self.identities = {path: each for path, each in self._first.items() if has_identity(each)}
        self.names = {id(each): path for path, each in self.identities.items()}
        self._ids = {id(each): each for each in self.identities.values()}
        memo = self.memo()
        for path, variable in self.variables.items() if values else ():
            if variable.path == path:
                self._values[path] = copied_if_small(variable.get(), memo)

    # --- the walk ----------------------------------------------------------------------------------------------------

    def _walk(self, roots: Iterable[tuple[str, object]]) -> None:
        """Visit all values reachable from the roots, breadth first."""
        waiting: deque[Edge] = deque((name, root, None) for name, root in roots)
        while waiting and len(self.tokens) < MOST_NODES:
            path, value, variable = waiting.popleft()
            atom = isinstance(value, ATOMS)
            seeded = not atom and any(value is generator for generator in GLOBAL_GENERATORS)
            if seeded or (variable and _location(path, variable) in self._paths):
                continue
            path, variable = self._unique(path, variable)
            _, known = self._seen.get(id(value), (None, None)) if not atom else (None, None)
            self.tokens[path] = known or token(value)
            self._paths[_location(path, variable)] = path
            if variable:
                self.variables[path], self._objects[path] = variable, value
            if atom or known:
                continue
            self._seen[id(value)], self._first[path] = (value, self.tokens[path]), value
            for edge in self._graph.edges(path, value, variable):
                self._parents.setdefault(edge[0], path)
                waiting.append(edge)

    def _unique(self, path: str, variable: Variable | None) -> tuple[str, Variable | None]:
        """Return an unused path, and the variable with that name: closures of one function would share theirs."""
        number, name = 2, path
        while path in self.tokens:
            path, number = f"{name} ({number})", number + 1
        if variable and variable.path == name and path != name:
            variable = replace(variable, path=path)
        return path, variable

    # --- values ------------------------------------------------------------------------------------------------------

    def memo(self) -> Memo:
        """Return a memo for copies that belong together, so that shared objects stay shared.

        Objects that existed before the first step are not copied: their changes are in variables of their own.
        """
        return ChainMap({}, self._ids)

    def value(self, path: str) -> object:
        """Return a copy of a variable's value; ABSENT if it did not exist, UNKEPT if there is no copy."""
        return self._values.get(path, ABSENT)

    def restore(self, variables: Iterable[Variable]) -> None:
        """Restore variables to their values; those that cannot be copied stay as they are now."""
        memo = self.memo()
        for variable in variables:
            if (value := self.value(variable.path)) is not UNKEPT:
                variable.set(copied(value, memo))

    # --- comparison --------------------------------------------------------------------------------------------------

    def variable(self, path: str, later: "Snapshot") -> Variable | None:
        """Return the variable to which a path of a later snapshot belongs.

        It is a variable of this snapshot, or a new one of an owner known here. A value of a new object belongs to the
        variable that holds that object.
        """
        while path:
            variable = later.variables.get(path) or self.variables.get(path)
            if variable and id(variable.owner) in self._owners:
                return self._as_named_here(variable)
            path = later._parents.get(path) or self._parents.get(path, "")
        return None

    def _as_named_here(self, variable: Variable) -> Variable:
        if path := self._paths.get(_location(variable.path, variable)):
            return self.variables[path]
        return replace(variable, path=f"{variable.path} (new)") if variable.path in self.tokens else variable

    def changed(self, after: "Snapshot") -> list[str]:
        """Return the paths at which a later snapshot differs, the nearest to the task first."""
        pairs = [(self._path_here(path, after), path) for path in after.tokens]
        matched = {path for path, _ in pairs if path}
        pairs += [(path, None) for path in self.tokens if path not in matched]
        differ = [there or here for here, there in pairs if self._differ(here, there, after)]
        return [path for path in differ if path and (path in self.variables or path in after.variables)]

    def numbers_changed(self, after: "Snapshot") -> list[str]:
        """Return the paths at which a later snapshot has other numbers.

        The model's own parameters and buffers, and values computed from parameters, do not count.
        """
        paths = [path for path in self.changed(after) if path in self.tokens and path in after.tokens]
        # a parameter: a recurrent layer has a list of its own
        tensors = {path: value for path, value in self._objects.items() if isinstance(value, Tensor)}
        computed = {path for path, tensor in tensors.items() if tensor.grad_fn is not None}
        trained = {path for path, tensor in tensors.items() if id(tensor) in self._graph.trained}
        return [path for path in paths if path not in computed | trained and is_number(self.tokens[path])]

    def _path_here(self, path: str, after: "Snapshot") -> str | None:
        """Return the path in this snapshot of the same location as a path of a later one.

        For a new object it is the same path.
        """
        variable = after.variables.get(path)
        if variable is None or id(variable.owner) not in self._owners:
            return path if path in self.tokens else None
        return self._paths.get(_location(path, variable))

    def _differ(self, here: str | None, there: str | None, after: "Snapshot") -> bool:
        if here is None or there is None:
            return True
        if not equal(self.tokens[here], after.tokens[there]):
            return True
        was, now = self._objects.get(here), after._objects.get(there)
        return was is not now and id(now) in self._ids  # another object that already existed


def _location(path: str, variable: Variable | None) -> Hashable:
    """Return what a path leads to, whatever it is called: a variable, and a part of what lies there."""
    if variable is None:
        return path
    return id(variable.owner), variable.key, variable.attribute, path.removeprefix(variable.path)


def changed_variables(begin: Snapshot, before: Snapshot, after: Snapshot) -> dict[str, Variable]:
    """Return what differs between two snapshots, by path: the variables that hold it, as `begin` names them."""
    return {path: variable for path in before.changed(after) if (variable := begin.variable(path, after))}


def by_own_path(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Return variables by their own paths, each once, where parts of what they hold led to them."""
    return {variable.path: variable for variable in variables.values()}
