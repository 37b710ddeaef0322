"""Snapshots of what can be reached from a task and its model, so that two of them can be compared and put back.

Each value has a path (`self.stats['a'][0]`) and a token, which is equal in both if nothing has changed. Tensors are
held, so that their contents can be compared. Parameters and buffers, which a step may change, are not among them.
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

MOST_NODES = 20_000  # values that a snapshot looks at, the nearest to the task first: some 30 ms

Roots = Mapping[str, Any]
"""Where a snapshot begins, by name: `self` is the task, `model` its model."""


class Snapshot:
    """What can be reached from a task and its model: each value by its path.

    tokens: by path. variables: by path, the one that holds the value, or in whose contents it lies.
    identities: by path, the objects that stay themselves in copies. names: their paths by their ids.
    """

    def __init__(self, roots: Roots, since: "Snapshot | None" = None, values: bool = True):
        """since: one whose objects are looked at even where nothing leads to them any more.
        values: whether to copy what the variables hold.
        """
        model: nn.Module = roots["model"]
        self.tokens: dict[str, Token] = {}
        self.variables: dict[str, Variable] = {}
        self._values: dict[str, object] = {}
        self._parents: dict[str, str] = {}
        self._objects: dict[str, object] = {}  # the values of variables
        self._first: dict[str, object] = {}  # of each object the nearest path
        self._paths: dict[Hashable, str] = {}  # by what they lead to, which may have another path later
        self._seen: dict[int, tuple[object, Token]] = {}  # the objects are held: no other gets the id of one
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
        """Visit whatever can be reached from the roots, the nearest first (breadth first)."""
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
        """Return a path that nothing has yet, and the variable by that name: closures of one kind share theirs."""
        number, name = 2, path
        while path in self.tokens:
            path, number = f"{name} ({number})", number + 1
        if variable and variable.path == name and path != name:
            variable = replace(variable, path=path)
        return path, variable

    # --- values ------------------------------------------------------------------------------------------------------

    def memo(self) -> Memo:
        """Return a memo for copies that belong together: two names of one thing are to stay two names of one.

        Objects that were there stay themselves in all copies: what changes of them is in variables of their own.
        """
        return ChainMap({}, self._ids)

    def value(self, path: str) -> object:
        """Return a copy of what a variable held; ABSENT if it did not exist, UNKEPT if there is no copy."""
        return self._values.get(path, ABSENT)

    def restore(self, variables: Iterable[Variable]) -> None:
        """Set variables to what they held; what cannot be copied stays as it is by now."""
        memo = self.memo()
        for variable in variables:
            if (value := self.value(variable.path)) is not UNKEPT:
                variable.set(copied(value, memo))

    # --- comparison --------------------------------------------------------------------------------------------------

    def variable(self, path: str, later: "Snapshot") -> Variable | None:
        """Return the variable to which what a later snapshot sees at a path belongs.

        It is one seen here, or a new one of an owner that was. What has come with a new object belongs to the variable
        in which that lies.
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

        Left out are the model's own parameters and buffers, and what is computed from parameters.
        """
        paths = [path for path in self.changed(after) if path in self.tokens and path in after.tokens]
        # trained: a recurrent layer keeps a list of its own
        tensors = {path: value for path, value in self._objects.items() if isinstance(value, Tensor)}
        computed = {path for path, tensor in tensors.items() if tensor.grad_fn is not None}
        trained = {path for path, tensor in tensors.items() if id(tensor) in self._graph.trained}
        return [path for path in paths if path not in computed | trained and is_number(self.tokens[path])]

    def _path_here(self, path: str, after: "Snapshot") -> str | None:
        """Return the path here of what a later snapshot sees at a path, which is of the same location.

        Of a new object it is the same path.
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
        return was is not now and id(now) in self._ids  # another one that has been there all the time


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
