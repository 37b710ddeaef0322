"""Refuse a function or a command that cannot be trained, before anything is started. Nothing of it is run."""

import ast
import hashlib
import os
import shutil
from collections.abc import Sequence

from espalier.core.errors import BadInput, briefly, nearest, shown
from espalier.core.foreign.child import PASSED
from espalier.core.foreign.command import ARGS, ENV, JSON, WHOLE, check_placeholders
from espalier.core.foreign.config import Config
from espalier.core.foreign.programs import found_program, with_own_programs
from espalier.core.loading.dependencies import hash_beside
from espalier.core.loading.folders import current_folder, in_copy
from espalier.core.loading.references import split_reference
from espalier.core.loading.scopes import outside_package
from espalier.sweeps.search.own_sampler import try_sampler
from espalier.sweeps.spec.meaning import NAME_MOST
from espalier.sweeps.spec.paths import source_file
from espalier.sweeps.spec.spec import SweepSpec


def check_processes(spec: SweepSpec) -> dict[str, object]:
    """Raise BadInput for a function or a command that cannot be trained; return the facts of its code."""
    try_sampler(spec)
    names = value_names(spec)
    for name in names:
        _check_name(name, of_function=bool(spec.function))
    if spec.function:
        return {"code": _check_function(spec.function)}
    check_placeholders(spec.command, names)
    return {"code": _check_command(spec.command)}


def value_names(spec: SweepSpec) -> list[str]:
    """Return the names of the hyperparameters that the code gets."""
    from espalier.sweeps.assignments import values
    from espalier.sweeps.cohorts import first_point

    somewhere = dict.fromkeys(spec.space.conditions)  # what exists under a condition, at some points
    return list(values(spec, somewhere | first_point(spec)))


def _check_name(name: str, of_function: bool) -> None:
    """Raise BadInput for a name under which a hyperparameter would not reach the code, or another value would."""
    called = f"space: {shown(name)}"
    if not name or not name.isprintable() or len(name) > NAME_MOST:
        raise BadInput(f"{called} names no hyperparameter; write a word such as weight_decay")
    if name == "steps":
        raise BadInput("space.steps: the steps of a trial are budget.steps; to search a number, call it otherwise")
    if of_function and hasattr(Config, name):
        raise BadInput(f"{called}: config.{name} is a part of config itself; give the hyperparameter another name")
    if not of_function and name in (ARGS, JSON):
        raise BadInput(f"{called}: ${{{name}}} is all hyperparameters together; give this one another name")
    if not of_function and (name.startswith("-") or "=" in name or " " in name):
        raise BadInput(f"{called} makes no option --{name}; write a word such as weight_decay or weight-decay")


def _check_function(reference: str) -> str:
    """Check what can be seen of a function without running it; return a hash of its file."""
    source, name = split_reference(reference)
    if not name.isidentifier() or not source:
        raise BadInput(f"function: {shown(reference)} names no function; write path/file.py:train")
    try:
        file = in_copy(source_file(source).absolute())
        text = file.read_bytes()
        tree = ast.parse(text, str(file))
    except OSError as error:
        raise BadInput(f"function: no file {source}") from error
    except ImportError as error:
        raise BadInput(f"function: no module {source}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: it is nested too deep
        raise BadInput(f"function: cannot read '{source}': {briefly(error)}") from error
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if node := defined.get(name):
        _check_signature(source, node)
    elif name not in _bound(tree):
        raise BadInput(f"function: '{source}' has no function '{name}'; {nearest(name, defined)}")
    return hash_beside(outside_package(file.parent), file)


def _check_signature(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    where = f"function: '{source}', line {node.lineno}: {node.name}()"
    wanted = f"write def {node.name}(config, report)"
    if isinstance(node, ast.AsyncFunctionDef):
        raise BadInput(f"{where} is asynchronous, and nobody would await it; {wanted}")
    arguments = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
    for name in PASSED:
        if name not in arguments:
            raise BadInput(f"{where} has no argument {name}; {wanted}")


def _bound(tree: ast.Module) -> set[str]:
    """Return the names that a module imports or assigns at its top level."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _check_command(command: Sequence[str]) -> str:
    """See whether a command is there; return a hash of its files of code."""
    words = [word for word in command if word != WHOLE.format(ENV)]
    program, folder = words[0] if words else command[0], current_folder()
    place = folder / program if os.sep in program else None
    if not (shutil.which(str(place)) if place else found_program(program, with_own_programs(os.environ))):
        raise BadInput(f"command: {shown(program)} is no program here; write for example [python, train.py, ...]")
    digest = hashlib.sha256("\0".join(command).encode())
    for word in command[1:]:
        if word.endswith(".py") and "${" not in word:
            file = in_copy(folder / word)
            if not file.is_file():
                raise BadInput(f"command: no file {word}")
            digest.update(hash_beside(file.parent, file).encode())
    return digest.hexdigest()[:16]
