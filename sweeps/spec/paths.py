"""The files of a spec: the spec itself, ready specs, and the files that a spec names."""

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from espalier.core.arguments import plain
from espalier.core.errors import BadInput, nearest
from espalier.core.loading.references import split_reference
from espalier.core.loading.scopes import present_name
from espalier.sweeps.spec.references import map_references
from espalier.sweeps.spec.rules import command_words
from espalier.sweeps.spec.space import Space
from espalier.sweeps.spec.values import Fields, Json

LIBRARY = Path(__file__).parents[1] / "library"  # ready sweeps, part of the package
STDIN = "-"
_NAMED = re.compile(r"(^|_)(path|file|filename|folder|dir|directory|root)s?$")  # names of options that are paths
_SUFFIX = re.compile(r"[^/]\.[A-Za-z][A-Za-z0-9]*$")


def spec_text(path: str) -> tuple[str, str, Path]:
    """Return a spec's text, its name in messages, and its folder: for a file, `-`, or the name of a ready sweep.

    Raises BadInput if it cannot be read.
    """
    if path == STDIN:
        try:
            return sys.stdin.buffer.read().decode("utf-8"), "standard input", Path.cwd()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"standard input: cannot be read: {error}; give a sweep's YAML") from error
    file, ready = argument(path), ready_sweeps()
    if path in ready and not os.path.isfile(path):
        file = ready[path]
    try:
        return file.read_text(encoding="utf-8"), path, file.parent
    except (OSError, UnicodeDecodeError, ValueError) as error:
        word = re.fullmatch(r"[A-Za-z0-9_-]+", path)
        hint = f", or the name of a ready sweep ({nearest(path, ready)})" if word else ""
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: cannot be read: {reason}; give a sweep's YAML file{hint}") from error


def ready_sweeps() -> dict[str, Path]:
    """Return the ready sweeps by name."""
    return {file.stem: file for file in sorted(LIBRARY.glob("*.yaml"))}


def found_files(fields: Mapping[str, object], folder: Path) -> Fields:
    """Return a spec's fields with the paths in them made absolute, so that workers find the files.

    A file of code is looked up in the current folder, then beside the spec; one that begins with a dot, as
    `../train.py`, beside the spec first: so says the spec where it lies. A path in an option of the task is looked
    up beside the spec, then in the current folder; `~` and `$NAME` are expanded. An option is a path in three cases:
    if the task annotates it so (`path: Path`), if its name says so (`path`, `train_file`), or if it looks like one
    (with a separator or a suffix) and the file exists.
    """

    fields = map_references(fields, lambda reference: code_path(reference, folder))
    if "function" not in fields and is_function(fields.get("task")):
        fields["function"] = fields.pop("task")
    if "command" in fields:
        fields["command"] = _command(fields["command"], folder)
    annotated = path_options(fields.get("task"))
    for part, own in (("task_options", lambda name: True), ("space", lambda name: name not in Space.model_fields)):
        if isinstance(options := fields.get(part), dict):
            fields[part] = {
                name: _option(value, folder, _is_path(name, annotated)) if own(name) else value
                for name, value in options.items()
            }
    return fields


def _command(value: object, folder: Path) -> object:
    """Return a command with its files of code made absolute."""
    try:
        words = command_words(value)
    except ValueError:
        return value
    if not isinstance(words, list):
        return value
    return [code_path(word, folder) if isinstance(word, str) and _is_code(word, folder) else word for word in words]


def _is_code(word: str, folder: Path) -> bool:
    return word.endswith(".py") and any(os.path.isfile(place / expanded(word)) for place in (Path(), folder))


def code_path(reference: str, folder: Path) -> str:
    """Return a reference with its file's path made absolute; a reference to a module unchanged."""
    source, name = split_reference(reference)
    if not source.endswith(".py"):
        return reference
    source = expanded(source)
    places = [Path(source), folder / source]
    if source.startswith("."):
        places.reverse()
    place = next((place for place in places if os.path.isfile(place)), places[0])
    path = os.path.realpath(place) if os.path.isfile(place) else str(Path(source).absolute())
    return f"{path}:{name}" if name else path


def _is_path(name: object, annotated: set[str]) -> bool:
    return name in annotated or bool(_NAMED.search(str(name)))


def _option(value: Json, folder: Path, is_path: bool, depth: int = 0) -> Json:
    """Return an option with its paths made absolute, also inside lists and mappings."""
    if depth > 8:  # deeper than any real spec; YAML's aliases can be recursive
        return value
    value = plain(value)
    if isinstance(value, list | tuple):
        return [_option(inner, folder, is_path, depth + 1) for inner in value]
    if isinstance(value, Mapping):
        return {
            name: _option(inner, folder, is_path or _is_path(name, set()), depth + 1) for name, inner in value.items()
        }
    return _found(value, folder, is_path) if isinstance(value, str) and value else value


def _found(text: str, folder: Path, is_path: bool) -> str:
    meant = expanded(text)
    if not (is_path or os.sep in meant or _SUFFIX.search(meant)):
        return text
    for place in (os.path.join(folder, meant), os.path.abspath(meant)):
        if os.path.exists(place):
            return os.path.realpath(place)
    return meant if is_path else text


def expanded(text: str) -> str:
    """Return a path with `~` and `$NAME` expanded, as far as they are known.

    >>> expanded("~nobody-of-that-name/x.py"), expanded("$NOT_THERE/x.py")
    ('~nobody-of-that-name/x.py', '$NOT_THERE/x.py')
    """
    try:
        return os.path.expandvars(os.path.expanduser(text))
    except (ValueError, RuntimeError):
        return text


def argument(path: str) -> Path:
    """Return the path of a command's argument: as written if it exists, else with `~` and `$NAME` expanded.

    A shell does not expand them inside quotes.
    """
    return Path(path if os.path.lexists(path) else expanded(path))


def path_options(task: object) -> set[str]:
    """Return the options that a task annotates as paths, read from its source without running it."""
    for kind in _definitions(task):
        if isinstance(kind, ast.ClassDef):
            inits = [f for f in kind.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
            arguments = [a for f in inits for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
            return {a.arg for a in arguments if a.annotation and re.search(r"\bPath\b", ast.unparse(a.annotation))}
    return set()


def is_function(task: object) -> bool:
    """Whether a reference names a function, read from its source without running it."""
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in _definitions(task))


def _definitions(reference: object) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the definitions of a reference's name at the top level of its source."""
    source, name = split_reference(reference) if isinstance(reference, str) else ("", "")
    source = present_name(source)
    try:
        tree = ast.parse(source_file(source).read_bytes())
    except (OSError, SyntaxError, ValueError, ImportError, AttributeError, RecursionError):
        return []
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in tree.body if isinstance(node, kinds) and node.name == name]


def source_file(source: str) -> Path:
    """Return the file of a module or of a path, without importing anything. Raises ImportError if there is none."""
    if source.endswith(".py"):
        return Path(source)
    near = Path(*source.split(".")).with_suffix(".py")
    if near.is_file():
        return near
    top = importlib.util.find_spec(source.partition(".")[0])  # which imports nothing
    if top is None:
        raise ImportError(source)
    rest = source.split(".")[1:]
    places = list(top.submodule_search_locations or [])
    return Path(places[0], *rest).with_suffix(".py") if places and rest else Path(top.origin or "")
