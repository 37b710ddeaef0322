"""Definitions in the source of a script or of a notebook's cells: where they are, and which names they use."""

import ast
import inspect
import linecache
import symtable
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)  # their bodies run later
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def place_of(namespace: Mapping[str, Any]) -> str:
    return Path(namespace["__file__"]).name if namespace.get("__file__") else "a notebook"


def texts_of(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the source of `__main__`: its file, or the cells of a notebook in their order."""
    if file := namespace.get("__file__"):
        yield "".join(linecache.getlines(str(file)))
    shell = namespace.get("get_ipython")
    cells: list[str] = namespace.get("In") or []
    for cell in cells:
        yield shell().transform_cell(cell) if shell else cell


def parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):  # a cell with a syntax error
        return ast.Module([], [])


@dataclass
class Imports:
    """The names that the import statements of a source bind.

    whole: modules imported by their whole names. aliases: the module by alias. named: (module, name in it) by name.
    """

    whole: list[str] = field(default_factory=list[str])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    named: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    @classmethod
    def of(cls, texts: list[str]) -> "Imports":
        """Return the imports in some texts, at any depth. For a name bound twice, the later one counts."""
        imports = cls()
        for node in (node for text in texts for node in ast.walk(parsed(text))):
            if isinstance(node, ast.Import):
                imports.whole += [each.name for each in node.names if each.asname is None]
                imports.aliases |= {each.asname: each.name for each in node.names if each.asname}
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                imports.named |= {each.asname or each.name: (module, each.name) for each in node.names}
        imports.whole = list(dict.fromkeys(imports.whole))
        return imports


def definitions(text: str, name: str) -> Iterator[tuple[Definition, str]]:
    """Yield each definition of a name in a text with its dedented source, decorators included."""
    lines = text.splitlines()
    for node in ast.walk(parsed(text)):
        if isinstance(node, Definition) and node.name == name:
            own = lines[first_line(node) - 1 : node.end_lineno]
            margin = node.col_offset
            yield node, "\n".join(line[margin:] if not line[:margin].strip() else line for line in own)


def first_line(node: Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def functions_in(value: object) -> Iterator[FunctionType]:
    """Yield the functions that a class or a function is made of."""
    parts: list[object] = [value]
    if isinstance(value, type):
        parts = [p for m in vars(value).values() for p in (m, getattr(m, "__func__", None), getattr(m, "fget", None))]
    for part in parts:
        if callable(part) and isinstance(inner := inspect.unwrap(part), FunctionType):
            yield inner


def names_used(source: str, tree: ast.Module) -> tuple[list[str], list[str]]:
    """Return the global names that a definition uses when it is executed (bases, decorators, defaults) and later."""
    definition = tree.body[0]
    table = symtable.symtable(source, "<task>", "exec")
    used = dict.fromkeys(_globals_of(table))
    later = {id(node) for node in ast.walk(definition) if isinstance(node, _FUNCTIONS)}
    now = dict.fromkeys(n.id for n in _walk_without(definition, later) if isinstance(n, ast.Name))
    defined = getattr(definition, "name", None)
    return [n for n in used if n in now and n != defined], [n for n in used if n not in now and n != defined]


def _walk_without(definition: ast.AST, functions: set[int]) -> Iterator[ast.AST]:
    """Yield the nodes of a definition, without the bodies of functions in it but with their defaults and decorators."""
    waiting: list[ast.AST] = [definition]
    while waiting:
        node = waiting.pop()
        yield node
        if id(node) in functions and isinstance(node, _FUNCTIONS):
            waiting += _evaluated_at_once(node)
        else:
            waiting += ast.iter_child_nodes(node)


def _evaluated_at_once(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Iterator[ast.AST]:
    """Yield the expressions of a function that are evaluated when it is defined: decorators, defaults, annotations."""
    yield from function.args.defaults
    yield from filter(None, function.args.kw_defaults)
    yield from (arg.annotation for arg in ast.walk(function.args) if isinstance(arg, ast.arg) and arg.annotation)
    if not isinstance(function, ast.Lambda):
        yield from function.decorator_list
        yield from filter(None, [function.returns])


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the free names of a text."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        outer = symbol.is_referenced() and not symbol.is_assigned() if top else symbol.is_global()
        if outer:
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals_of(inner)
