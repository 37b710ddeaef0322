"""The modules beside a script or a notebook: a captured class finds them wherever it is imported.

A process that runs a script searches the script's folder, and whatever the script added to sys.path. A worker, or a
later process, does not. So the captured file names these folders, in a line that scopes.py reads.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder

from espalier.core import own
from espalier.core.errors import BadInput
from espalier.core.loading.definitions import parsed
from espalier.core.loading.scopes import FOLDERS, installed

_ASK = """
import importlib.util, json, sys
print(json.dumps([sys.path, [name for name in sys.argv[1:] if importlib.util.find_spec(name)]]))
"""  # for a new Python: its search path, and which of some modules it finds


def folders_line(text: str, defined_in: str, sources: Sequence[str]) -> str:
    """Return the line of a captured text that names the folders of its modules; "" if it needs none.

    defined_in: the script or notebook that it was captured from. sources: the texts of that.
    Raises BadInput for a module that no other process can import.
    """
    imports = _top_level_imports(text)
    if not any(map(_is_the_users, imports)):
        return ""
    path, importable = _search_of_a_new_process(list(imports))
    searched = dict.fromkeys(os.path.realpath(entry) for entry in sys.path)
    folders = [folder for folder in searched if os.path.isdir(folder) and folder not in path]
    beside = [name for name in imports if name not in importable and PathFinder.find_spec(name, folders)]
    for name, at_once in imports.items():
        if at_once and name not in importable and name not in beside:
            raise BadInput(
                f"task: {defined_in}{_line_of(name, sources)} imports {name}, a module of which there is no file that "
                "a worker could import; write it into one"
            )
    return f"{FOLDERS} = {folders!r}  # where {defined_in} found {', '.join(beside)}" if beside else ""


def _top_level_imports(text: str) -> dict[str, bool]:
    """Return the top-level packages that a text imports, and whether it does so as soon as it is executed."""
    tree = parsed(text)
    imports: dict[str, bool] = {}
    for node in ast.walk(tree):
        for name in _imported(node):
            imports[name] = imports.get(name, False) or node in tree.body
    return {name: at_once for name, at_once in imports.items() if name not in (own.NAME, *sys.stdlib_module_names)}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


def _is_the_users(name: str) -> bool:
    """Whether a module is of no library, as far as this process knows."""
    spec = installed(name)
    places = [*(spec.submodule_search_locations or []), spec.origin or ""] if spec else []
    return not any(own.is_library(os.path.realpath(place)) for place in places if place)


def _search_of_a_new_process(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the search path of a new Python process in the root folder, and which of the modules it finds."""
    command = [sys.executable, "-P", "-c", _ASK, *names]
    answer = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    path, importable = json.loads(answer.stdout.splitlines()[-1])
    return [os.path.realpath(entry) for entry in path], importable


def _line_of(name: str, sources: Sequence[str]) -> str:
    for text in sources:
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.Import | ast.ImportFrom) and name in _imported(node):
                return f", line {node.lineno}," if len(sources) == 1 else f", `{ast.unparse(node)}`,"
    return ""
