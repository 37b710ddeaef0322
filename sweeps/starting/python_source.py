"""What a source says of a training function or a Task: its arguments, and the names that it takes from `config`.

Nothing is run: names that stand for constants of the module are looked up in its source.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput, brief, briefly, nearest
from espalier.core.loading.references import split_reference
from espalier.sweeps.spec.paths import source_file
from espalier.sweeps.starting.arguments import Argument, by_name, kind_of

PASSED = ("config", "report")
OF_CONFIG = ("seed", "steps", "lr_at", "torch_scheduler", "get", "items", "keys", "values")
"""What a configuration has besides hyperparameters."""
MISSING = object()
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """The source of a module."""

    path: Path
    tree: ast.Module

    @classmethod
    def read(cls, path: Path, field: str) -> "Source":
        """Read a source. Raises BadInput, which begins with `field`, if it cannot be read."""
        try:
            return cls(path, ast.parse(path.read_bytes(), str(path)))
        except OSError as error:
            raise BadInput(f"{field}: cannot read '{brief(path)}': {error.strerror}") from error
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: it is nested too deep
            raise BadInput(f"{field}: cannot read '{brief(path)}': {briefly(error)}") from error

    @property
    def definitions(self) -> dict[str, Definition]:
        """The functions and classes at its top level."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return {node.name: node for node in self.tree.body if isinstance(node, kinds)}

    @property
    def constants(self) -> dict[str, Any]:
        """The names at its top level that are bound to a literal."""
        known: dict[str, Any] = {}
        for node in self.tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            value = value_of(node.value, {})
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and value is not MISSING:
                    known[target.id] = value
        return known

    @property
    def functions(self) -> list[str]:
        """The names of its training functions: those that take `config` and `report`."""
        return [name for name, node in self.definitions.items() if {*PASSED} <= {*_parameters(node)}]


def source_of(reference: str, field: str) -> tuple[Source, str]:
    """Return the source that a reference to a function or a class names, and the name in it.

    Raises BadInput if there is none.
    """
    source, name = split_reference(reference)
    try:
        path = source_file(source)
    except ImportError as error:
        raise BadInput(f"{field}: no module '{brief(source)}' here; write for example train.py:train") from error
    if not path.is_file():
        raise BadInput(f"{field}: no file '{brief(path)}' here; write for example train.py:train")
    read = Source.read(path, field)
    if name not in read.definitions:
        raise BadInput(f"{field}: '{brief(source)}' has no '{brief(name)}'; {nearest(name, read.definitions)}")
    return read, name


def value_of(node: ast.expr | None, constants: Mapping[str, Any]) -> Any:
    """Return the value of an expression that is a literal, or a constant of the module; else MISSING."""
    if node is None:
        return MISSING
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return MISSING


# --- a signature -----------------------------------------------------------------------------------------------------


def _arguments_of(node: Definition) -> ast.arguments | None:
    """Return the arguments of a function, or of a class's `__init__`."""
    if not isinstance(node, ast.ClassDef):
        return node.args
    inits = [inner for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__"]
    return inits[0].args if inits else None


def _parameters(node: Definition) -> dict[str, ast.expr | None]:
    """Return the named arguments of a function or a class, each with its default."""
    arguments = _arguments_of(node)
    if arguments is None:
        return {}
    placed = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(placed) - len(arguments.defaults))
    both = [*zip(placed, [*defaults, *arguments.defaults], strict=True)]
    both += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {argument.arg: default for argument, default in both}


def signature(source: Source, name: str) -> list[Argument]:
    """Return the arguments of a function or a class, without `config`, `report` and `self`."""
    constants = source.constants
    arguments: list[Argument] = []
    for parameter, default in _parameters(source.definitions[name]).items():
        if parameter not in (*PASSED, "self"):
            value = value_of(default, constants)
            known = None if value is MISSING else value
            arguments.append(Argument(parameter, kind=kind_of(known), default=known, required=default is None))
    return arguments


def is_async(source: Source, name: str) -> bool:
    """Whether a name is that of a function that somebody would have to await."""
    return isinstance(source.definitions[name], ast.AsyncFunctionDef)


# --- what is taken from config ---------------------------------------------------------------------------------------


ADAPTERS: Mapping[str, Sequence[Argument]] = {
    "with_schedule": (Argument("lr"),),
    "follow_schedule": (Argument("lr"),),
    "arguments": (
        Argument("lr", default=5e-5),
        Argument("weight_decay", default=0.0),
        Argument("batch_size", default=8),
    ),
}
"""What the functions of espalier's adapters take from the configuration; the defaults are of TrainingArguments."""


def taken_from_config(sources: Sequence[Source], name: str) -> tuple[list[Argument], bool]:
    """Return what a training function takes from `config`, itself or in what it hands it to.

    sources: first that of the function, then those of modules beside it. The second value is whether it also uses the
    configuration in a way that does not say which names, as `**config`.
    """
    places = {key: source for source in reversed(sources) for key in source.definitions}
    definitions = {key: source.definitions[key] for key, source in places.items()}
    arguments: list[Argument] = []
    opaque, seen = False, set[tuple[str, str]]()
    waiting = [(name, "config")]
    while waiting:
        function, variable = waiting.pop(0)
        if (function, variable) in seen or function not in definitions:
            continue
        seen.add((function, variable))
        for node in ast.walk(definitions[function]):
            arguments += _taken(node, variable, places[function].constants)
            waiting += _handed_on(node, variable, definitions)
            waiting += ((function, other) for other in _kept(node, variable))
            opaque |= _unpacks(node, variable)
    return [*by_name(arguments).values()], opaque


def imports_from(sources: Sequence[Source], module: str) -> bool:
    """Whether one of some sources imports from a module."""
    nodes = (node for source in sources for node in ast.walk(source.tree))
    return any(isinstance(node, ast.ImportFrom) and node.module == module for node in nodes)


def _kept(node: ast.AST, variable: str) -> Iterator[str]:
    """Yield the attributes of self that the configuration is kept under."""
    if isinstance(node, ast.Assign) and _is(node.value, variable):
        names = map(ast.unparse, node.targets)
        yield from (name for name in names if name.startswith("self."))


def _taken(node: ast.AST, variable: str, constants: Mapping[str, Any]) -> Iterator[Argument]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ADAPTERS:
        yield from ADAPTERS[node.func.id] if any(_is(argument, variable) for argument in node.args) else ()
    name, default = _attribute(node, variable) or _item(node, variable) or _call(node, variable) or ("", None)
    if name and name not in OF_CONFIG and not name.startswith("_"):
        value = value_of(default, constants)
        known = None if value is MISSING else value
        yield Argument(name, kind=kind_of(known), default=known, required=default is None)


def _is(node: ast.AST, variable: str) -> bool:
    """Whether an expression is a variable, or an attribute of self."""
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) == variable


def _attribute(node: ast.AST, variable: str) -> tuple[str, ast.expr | None] | None:
    return (node.attr, None) if isinstance(node, ast.Attribute) and _is(node.value, variable) else None


def _item(node: ast.AST, variable: str) -> tuple[str, ast.expr | None] | None:
    if isinstance(node, ast.Subscript) and _is(node.value, variable) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value), None
    return None


def _call(node: ast.AST, variable: str) -> tuple[str, ast.expr | None] | None:
    """Return the name and the default of config.get("lr", 0.1) and of getattr(config, "lr", 0.1)."""
    if not isinstance(node, ast.Call):
        return None
    arguments: Sequence[ast.expr] = node.args
    if isinstance(node.func, ast.Name) and node.func.id == "getattr" and arguments and _is(arguments[0], variable):
        arguments = arguments[1:]
    elif not (isinstance(node.func, ast.Attribute) and node.func.attr == "get" and _is(node.func.value, variable)):
        return None
    if not arguments or not isinstance(arguments[0], ast.Constant):
        return None
    return str(arguments[0].value), arguments[1] if len(arguments) > 1 else ast.Constant(None)


def _handed_on(node: ast.AST, variable: str, known: Mapping[str, Definition]) -> Iterator[tuple[str, str]]:
    """Yield the functions of the file that are called with the configuration, and what they call it."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in known:
        return
    names = [name for name in _parameters(known[node.func.id]) if name != "self"]
    for place, argument in enumerate(node.args[: len(names)]):
        if _is(argument, variable):
            yield node.func.id, names[place]
    for keyword in node.keywords:
        if keyword.arg and _is(keyword.value, variable):
            yield node.func.id, keyword.arg


def _unpacks(node: ast.AST, variable: str) -> bool:
    if isinstance(node, ast.Call):
        return any(keyword.arg is None and _is(keyword.value, variable) for keyword in node.keywords)
    return isinstance(node, ast.Dict) and any(
        key is None and _is(value, variable) for key, value in zip(node.keys, node.values, strict=True)
    )
