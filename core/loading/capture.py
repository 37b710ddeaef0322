"""The source of a class that was written in a notebook or a script: one file with all that it uses.

A worker cannot import `__main__`. So the class is taken out of it with the functions, classes, imports, plain values
and tensors that it names, and what these name. The file can be read, and trains again on any day.
"""

import ast
import builtins
import hashlib
import inspect
import io
import linecache
import math
import re
import symtable
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espalier.core.errors import BadInput, brief

ARRAY_SUFFIXES = {Tensor: ".pt", np.ndarray: ".npy"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)  # whose bodies run later
_GENERATED = re.compile(r"<(string|stdin|unknown)>")


@dataclass
class Captured:
    """A class on its own: the text of its file, and the arrays that the file loads from beside it, by name."""

    name: str
    text: str
    arrays: Mapping[str, Tensor | np.ndarray] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the file into a folder of `folder` that is named after what it holds; return its path.

        What is there already is left as it is, so that equal code stands in one place alone.
        """
        contents = {f"{name}{_suffix(value)}": _bytes(value) for name, value in sorted(self.arrays.items())}
        contents[f"{file_name(self.name)}.py"] = self.text.encode()
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        place = folder / digest.hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():  # the code comes last: what it loads is there by then
            if not (place / name).exists():
                part = place / f".{name}.part"
                part.write_bytes(content)
                part.replace(place / name)
        return place / f"{file_name(self.name)}.py"


def is_importable(kind: type) -> bool:
    """Whether another process finds a class by importing the file that it stands in."""
    module = sys.modules.get(kind.__module__)
    return kind.__module__ != "__main__" and bool(getattr(module, "__file__", None))


def capture(kind: type) -> Captured:
    """Take a class out of `__main__`. Raises BadInput for what no file can hold, and says what would do."""
    module = sys.modules.get(kind.__module__)
    if "<locals>" in kind.__qualname__ or "." in kind.__qualname__ or module is None:
        raise BadInput(
            f"task: {kind.__qualname__} is defined inside another definition, whose variables no file has; "
            "define it at the top level"
        )
    return _Taken(kind.__name__, vars(module)).captured()


class _Taken:
    """What has been taken out of a namespace for one class."""

    def __init__(self, name: str, namespace: Mapping[str, Any]):
        self.name, self.namespace = name, namespace
        self.imports: dict[str, str] = {}
        self.statements: dict[str, str] = {}  # in the order in which they can run
        self.arrays: dict[str, Tensor | np.ndarray] = {}
        self._texts = list(_texts(namespace))
        self._parts, self._imported = _imports_of(self._texts)
        self._begun: set[str] = set()

    def captured(self) -> Captured:
        self._take(self.name, self.name)
        head = [f'"""{self.name}, as it was defined in {_where(self.namespace)}."""', ""]
        if self.arrays:
            self.imports.setdefault("Path", "from pathlib import Path")
        imports = sorted(dict.fromkeys(self.imports.values()))
        parts = ["\n".join([*head, *imports]), *self.statements.values()]
        return Captured(self.name, "\n\n".join(parts) + "\n", self.arrays)

    def _take(self, name: str, user: str) -> None:
        """Take what a name stands for, and first what that needs; `user` is what names it."""
        if name in self._begun or (name not in self.namespace and hasattr(builtins, name)):
            return
        self._begun.add(name)
        if name not in self.namespace:
            return  # a name that would fail, if it were reached, fails as it would there
        value = self.namespace[name]
        if self._is_defined_here(value):
            self._take_definition(name, value, user)
        elif isinstance(value, Tensor | np.ndarray) and type(value) in ARRAY_SUFFIXES:
            self._take_array(name, value)
        elif _written(value) is None and (statement := self._import_of(name, value)):
            self.imports[name] = statement
        else:
            self.statements[name] = f"{name} = {self._literal(name, value, user)}"

    def _is_defined_here(self, value: Any) -> bool:
        defined = isinstance(value, type | FunctionType) or hasattr(value, "__wrapped__")
        return defined and getattr(value, "__module__", None) == self.namespace["__name__"]

    def _take_definition(self, name: str, value: Any, user: str) -> None:
        source = self._lambda(name) if value.__name__ == "<lambda>" else self._source_of(value.__name__, value)
        if source is None:
            raise BadInput(f"task: the source of {name}, which {user} uses, is not known; write it into a file")
        tree = ast.parse(source)
        at_once, later = _names_used(source, tree)
        for used in at_once:
            self._take(used, name)
        own = value.__name__ in (name, "<lambda>")
        self.statements[name] = source if own else f"{source}\n\n\n{name} = {value.__name__}"
        for used in later:
            self._take(used, name)

    def _lambda(self, name: str) -> str | None:
        """Return the statement that gives a lambda its name."""
        for text in reversed(self._texts):
            for node in reversed(_parsed(text).body):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and _is(node.targets, name):
                    return ast.unparse(node)
        return None

    def _source_of(self, name: str, value: Any) -> str | None:
        """Return the statement that defines a function or a class, of several of one name the one that is in use."""
        codes = [f.__code__ for f in _functions_in(value) if not _GENERATED.match(f.__code__.co_filename)]
        for code in codes:
            text = "".join(linecache.getlines(code.co_filename, dict(self.namespace)))
            for node, source in _definitions(text, name):
                if _first_line(node) <= code.co_firstlineno <= (node.end_lineno or 0):
                    return source
        for text in reversed(self._texts):  # a class without methods does not say where it stands
            if found := list(_definitions(text, name)):
                return found[-1][1]
        return None

    def _import_of(self, name: str, value: Any) -> str | None:
        """Return the import statement that gives a name its value."""
        if isinstance(value, ModuleType):
            parts = [f"import {part}" for part in self._parts if part.startswith(f"{name}.") and value.__name__ == name]
            return "\n".join(parts) or f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
        source, inner = self._imported.get(name, ("", ""))
        if source and getattr(sys.modules.get(source), inner, None) is value:
            return f"from {source} import {inner}" + ("" if inner == name else f" as {name}")
        module, inner = getattr(value, "__module__", None), str(getattr(value, "__qualname__", ""))
        known = isinstance(module, str) and module not in ("__main__", "builtins") and "." not in inner
        if known and getattr(sys.modules.get(str(module)), inner, None) is value:
            return f"from {module} import {inner}" + ("" if inner == name else f" as {name}")
        return None

    def _take_array(self, name: str, value: Tensor | np.ndarray) -> None:
        self.arrays[name] = value.detach().cpu() if isinstance(value, Tensor) else value
        file = f'Path(__file__).with_name("{name}{_suffix(value)}")'
        if isinstance(value, Tensor):
            self.imports["torch"] = "import torch"
            self.statements[name] = f"{name} = torch.load({file}, weights_only=True)"
        else:
            self.imports["numpy"] = "import numpy"
            self.statements[name] = f"{name} = numpy.load({file}, allow_pickle=False)"

    def _literal(self, name: str, value: Any, user: str) -> str:
        text = _written(value)
        if text is None:
            raise BadInput(
                f"task: {user} uses {name}, {_a(type(value).__name__)} of {_where(self.namespace)} "
                f"({brief(repr(value), 60)}), which no file can hold; make it inside the task, "
                "or turn it into numbers, text, tensors or arrays"
            )
        if isinstance(value, Path):
            self.imports["Path"] = "from pathlib import Path"
        if isinstance(value, torch.dtype | torch.device):
            self.imports["torch"] = "import torch"
        return text


# --- where sources are found -----------------------------------------------------------------------------------------


def _where(namespace: Mapping[str, Any]) -> str:
    return Path(namespace["__file__"]).name if namespace.get("__file__") else "a notebook"


def _texts(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the source of `__main__`: its file, or the cells of a notebook in their order."""
    if file := namespace.get("__file__"):
        yield "".join(linecache.getlines(str(file)))
    shell = namespace.get("get_ipython")
    for cell in namespace.get("In") or []:
        yield shell().transform_cell(cell) if shell else cell


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):  # a cell that failed
        return ast.Module([], [])


def _imports_of(texts: list[str]) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Return the modules that are imported by their whole names, and what `from` binds, by name: (module, name)."""
    whole: dict[str, None] = {}
    named: dict[str, tuple[str, str]] = {}
    for text in texts:
        for node in ast.walk(_parsed(text)):
            if isinstance(node, ast.Import):
                whole |= {alias.name: None for alias in node.names if alias.asname is None}
            elif isinstance(node, ast.ImportFrom):
                named |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
    return list(whole), named


def _definitions(text: str, name: str) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef, str]]:
    """Yield each definition of a name in a text with its source, decorators included, moved to the margin."""
    lines = text.splitlines()
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            own = lines[_first_line(node) - 1 : node.end_lineno]
            margin = node.col_offset
            yield node, "\n".join(line[margin:] if not line[:margin].strip() else line for line in own)  # type: ignore[misc]


def _is(targets: list[ast.expr], name: str) -> bool:
    return [target.id for target in targets if isinstance(target, ast.Name)] == [name]


def _first_line(node: Any) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _functions_in(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that a class or a function is made of."""
    parts = [value]
    if isinstance(value, type):
        parts = [p for m in vars(value).values() for p in (m, getattr(m, "__func__", None), getattr(m, "fget", None))]
    for part in parts:
        if callable(part) and isinstance(inner := inspect.unwrap(part), FunctionType):
            yield inner


def _names_used(source: str, tree: ast.Module) -> tuple[list[str], list[str]]:
    """Return the global names that a definition uses as it is made (bases, decorators, defaults), and later."""
    definition = tree.body[0]
    table = symtable.symtable(source, "<task>", "exec")
    used = dict.fromkeys(_globals_of(table))
    later = {id(node) for node in ast.walk(definition) if isinstance(node, _FUNCTIONS)}
    now = dict.fromkeys(n.id for n in _walk_without(definition, later) if isinstance(n, ast.Name))
    defined = getattr(definition, "name", None)
    return [n for n in used if n in now and n != defined], [n for n in used if n not in now and n != defined]


def _walk_without(definition: ast.AST, functions: set[int]) -> Iterator[ast.AST]:
    """Yield the nodes of a definition without the bodies of functions in it, but with their defaults and decorators."""
    waiting: list[ast.AST] = [definition]
    while waiting:
        node = waiting.pop()
        yield node
        if id(node) in functions:
            outside = [*getattr(node, "decorator_list", []), *node.args.defaults, *filter(None, node.args.kw_defaults)]  # type: ignore[attr-defined]
            annotations = [a.annotation for a in ast.walk(node.args) if isinstance(a, ast.arg) and a.annotation]  # type: ignore[attr-defined]
            returns = [node.returns] if getattr(node, "returns", None) else []  # type: ignore[attr-defined]
            waiting += [*outside, *annotations, *returns]
        else:
            waiting += ast.iter_child_nodes(node)


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that a text takes from its surroundings."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        outer = symbol.is_referenced() and not symbol.is_assigned() if top else symbol.is_global()
        if outer:
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals_of(inner)


# --- values ----------------------------------------------------------------------------------------------------------


def _written(value: Any) -> str | None:
    """Return an expression that gives a plain value again, None for one that is not plain.

    >>> _written({"a": [1, (2.5, float("inf"))], "b": None}), _written(object())
    ("{'a': [1, (2.5, float('inf'))], 'b': None}", None)
    """
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return f"float('{value}')"
    if kind is complex:
        return f"complex({_written(value.real)}, {_written(value.imag)})"
    if value is None or kind in (bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, np.number | np.bool_):
        return _written(value.item())
    if kind in (torch.dtype, torch.device):
        return repr(value) if kind is torch.dtype else f"torch.{value!r}"
    if isinstance(value, Path):
        return f"Path({str(value)!r})"
    if isinstance(value, dict) and kind is dict:
        items = [(_written(key), _written(inner)) for key, inner in value.items()]
        return None if any(None in pair for pair in items) else "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
    if isinstance(value, list | tuple | set | frozenset) and kind in (list, tuple, set, frozenset):
        parts = [_written(inner) for inner in (sorted(value, key=repr) if kind in (set, frozenset) else value)]
        return None if None in parts else _sequence(kind, [part for part in parts if part is not None])
    return None


def _sequence(kind: type, parts: list[str]) -> str:
    inside = ", ".join(parts)
    if kind is list:
        return f"[{inside}]"
    if kind is tuple:
        return f"({inside}{',' if len(parts) == 1 else ''})"
    return f"{kind.__name__}([{inside}])"


def _suffix(value: Any) -> str:
    return ARRAY_SUFFIXES[type(value)]


def _bytes(value: Tensor | np.ndarray) -> bytes:
    with io.BytesIO() as file:
        if isinstance(value, Tensor):
            torch.save(value.clone(), file)  # a view would bring all that it looks into
        else:
            np.save(file, value, allow_pickle=False)
        return file.getvalue()


def file_name(kind: str) -> str:
    """Return what the file of a class is called.

    >>> file_name("MyTask"), file_name("LSTM")
    ('my_task', 'lstm')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
