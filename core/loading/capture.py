"""The source of a class that was written in a notebook or a script: one file with all that it uses.

A worker cannot import `__main__`. So the class is copied into a file, with everything that it names: functions,
classes, imports, plain values, tensors, and what these name in turn. Anyone can read that file and train by it again.
"""

import ast
import builtins
import hashlib
import io
import linecache
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espalier.core.arguments import a_noun
from espalier.core.errors import BadInput, brief
from espalier.core.loading.beside import folders_line
from espalier.core.loading.definitions import (
    Imports,
    definitions,
    first_line,
    functions_in,
    names_used,
    parsed,
    place_of,
    texts_of,
)
from espalier.core.loading.literals import literal

Array = Tensor | npt.NDArray[np.generic]
ARRAY_SUFFIXES: Mapping[type, str] = {Tensor: ".pt", np.ndarray: ".npy"}
_GENERATED = re.compile(r"<(string|stdin|unknown)>")


@dataclass
class Captured:
    """A captured class: the text of its file, and by name the arrays that the file loads from its own folder."""

    name: str
    text: str
    arrays: Mapping[str, Array] = field(default_factory=dict[str, "Array"])

    def write(self, folder: Path) -> Path:
        """Write the file into a subfolder of `folder` named after a hash of its content; return its path.

        Existing files stay as they are, so equal code is stored once.
        """
        contents = {f"{name}{_suffix(value)}": _bytes(value) for name, value in sorted(self.arrays.items())}
        contents[f"{file_name(self.name)}.py"] = self.text.encode()
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        place = folder / digest.hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():  # the code is written last: by then the arrays that it loads exist
            if not (place / name).exists():
                part = place / f".{name}.part"
                part.write_bytes(content)
                part.replace(place / name)
        return place / f"{file_name(self.name)}.py"


def is_importable(kind: type | FunctionType) -> bool:
    """Whether another process can import a class, or a function, from the file that defines it."""
    module = sys.modules.get(kind.__module__)
    return kind.__module__ != "__main__" and bool(getattr(module, "__file__", None))


def capture(kind: type | FunctionType) -> Captured:
    """Capture a class, or a function, of `__main__`. Raises BadInput for a value that cannot be written to a file."""
    module = sys.modules.get(kind.__module__)
    if "<locals>" in kind.__qualname__ or "." in kind.__qualname__ or module is None:
        raise BadInput(
            f"task: {kind.__qualname__} is defined inside another definition, whose variables no file has; "
            "define it at the top level"
        )
    if (named := vars(module).get(kind.__name__)) is not kind:
        since = "another one has that name since" if isinstance(named, type) else "no name there is that of the class"
        raise BadInput(
            f"task: the class {kind.__name__} of {place_of(vars(module))}: {since}; hand over what `class "
            f"{kind.__name__}` defines there, or an object of it that was made afterwards"
        )
    return _Taken(kind.__name__, vars(module)).captured()


class _Taken:
    """The definitions taken out of a namespace for one class."""

    def __init__(self, name: str, namespace: Mapping[str, object]):
        self.name, self.namespace = name, namespace
        self.imports: dict[str, str] = {}
        self.statements: dict[str, str] = {}  # in the order in which they can run
        self.arrays: dict[str, Array] = {}
        self._texts = list(texts_of(namespace))
        self._imports = Imports.of(self._texts)
        self._begun: set[str] = set()

    def captured(self) -> Captured:
        self._take(self.name, self.name)
        head = [f'"""{self.name}, as it was defined in {place_of(self.namespace)}."""', ""]
        if self.arrays:
            self.imports.setdefault("Path", "from pathlib import Path")
        imports = sorted(dict.fromkeys(self.imports.values()))
        folders = folders_line("\n".join([*imports, *self.statements.values()]), place_of(self.namespace), self._texts)
        head += [folders, ""] if folders else []
        parts = ["\n".join([*head, *imports]), *self.statements.values()]
        return Captured(self.name, "\n\n".join(parts) + "\n", self.arrays)

    def _take(self, name: str, user: str) -> None:
        """Take the definition of a name, after all that it needs itself. `user` is the definition that uses it."""
        if name in self._begun or (name not in self.namespace and hasattr(builtins, name)):
            return
        self._begun.add(name)
        if name not in self.namespace:
            return  # an undefined name raises NameError in the file as it would in the notebook
        value = self.namespace[name]
        if self._is_defined_here(value):
            self._take_definition(name, value, user)
        elif type(value) in ARRAY_SUFFIXES:
            self._take_array(name, cast("Array", value))
        elif literal(value) is None and (statement := self._import_of(name, value)):
            self.imports[name] = statement
        else:
            self.statements[name] = f"{name} = {self._literal(name, value, user)}"

    def _is_defined_here(self, value: object) -> bool:
        defined = isinstance(value, type | FunctionType) or hasattr(value, "__wrapped__")
        return defined and getattr(value, "__module__", None) == self.namespace["__name__"]

    def _take_definition(self, name: str, value: Any, user: str) -> None:
        source = self._lambda(name) if value.__name__ == "<lambda>" else self._source_of(value.__name__, value)
        if source is None:
            raise BadInput(f"task: the source of {name}, which {user} uses, is not known; write it into a file")
        tree = ast.parse(source)
        if isinstance(tree.body[0], ast.ClassDef) and _is_based_on(tree.body[0], name):
            raise BadInput(
                f"task: {name} is based on an earlier {name}, which has no name any more; give one of them another name"
            )
        at_once, later = names_used(source, tree)
        for used in at_once:
            self._take(used, name)
        own = value.__name__ in (name, "<lambda>")
        self.statements[name] = source if own else f"{source}\n\n\n{name} = {value.__name__}"
        for used in later:
            self._take(used, name)

    def _lambda(self, name: str) -> str | None:
        """Return the statement that gives a lambda its name."""
        for text in reversed(self._texts):
            for node in reversed(parsed(text).body):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and _binds(node, name):
                    return ast.unparse(node)
        return None

    def _source_of(self, name: str, value: object) -> str | None:
        """Return the statement that defines a function or a class; of several with one name, the one in use."""
        codes = [f.__code__ for f in functions_in(value) if not _GENERATED.match(f.__code__.co_filename)]
        for code in codes:
            text = "".join(linecache.getlines(code.co_filename, dict(self.namespace)))
            for node, source in definitions(text, name):
                if first_line(node) <= code.co_firstlineno <= (node.end_lineno or 0):
                    return source
        for text in reversed(self._texts):  # a class without methods does not say where it is defined
            if matches := list(definitions(text, name)):
                return matches[-1][1]
        return None

    def _import_of(self, name: str, value: object) -> str | None:
        """Return the import statement that gives a name its value."""
        if isinstance(value, ModuleType):
            return self._import_of_module(name, value)
        source, inner = self._imports.named.get(name, ("", ""))
        if source and getattr(sys.modules.get(source), inner, None) is value:
            return f"from {source} import {inner}{_as(name, inner)}"
        module, inner = getattr(value, "__module__", None), str(getattr(value, "__qualname__", ""))
        known = isinstance(module, str) and module not in ("__main__", "builtins") and "." not in inner
        if known and getattr(sys.modules.get(str(module)), inner, None) is value:
            return f"from {module} import {inner}{_as(name, inner)}"
        return None

    def _import_of_module(self, name: str, module: ModuleType) -> str:
        parts = [part for part in self._imports.whole if part.startswith(f"{name}.") and module.__name__ == name]
        if parts:
            return "\n".join(f"import {part}" for part in parts)
        source, inner = self._imports.named.get(name, ("", ""))
        if sys.modules.get(module.__name__) is not module:  # its __module__ is not the name it is imported by
            if sys.modules.get(whole := self._imports.aliases.get(name, "")) is module:
                return f"import {whole} as {name}"
            if getattr(sys.modules.get(source), inner, None) is module:
                return f"from {source} import {inner}{_as(name, inner)}"
        return f"import {module.__name__}{_as(name, module.__name__)}"

    def _take_array(self, name: str, value: Array) -> None:
        self.arrays[name] = value.detach().cpu() if isinstance(value, Tensor) else value
        file = f'Path(__file__).with_name("{name}{_suffix(value)}")'
        if isinstance(value, Tensor):
            self.imports["torch"] = "import torch"
            self.statements[name] = f"{name} = torch.load({file}, weights_only=True)"
        else:
            self.imports["numpy"] = "import numpy"
            self.statements[name] = f"{name} = numpy.load({file}, allow_pickle=False)"

    def _class_name(self, kind: type, user: str) -> str | None:
        """Take a class, and return its name in the file; None if it has no name in the notebook."""
        if self.namespace.get(kind.__name__) is not kind:
            return None
        self._take(kind.__name__, user)
        return kind.__name__

    def _literal(self, name: str, value: object, user: str) -> str:
        text = literal(value, lambda kind: self._class_name(kind, user))
        if text is None:
            raise BadInput(
                f"task: {user} uses {name}, {a_noun(type(value).__name__)} of {place_of(self.namespace)} "
                f"({brief(repr(value), 60)}), which no file can hold; make it inside the task, "
                "or turn it into numbers, text, tensors or arrays"
            )
        if isinstance(value, Path):
            self.imports["Path"] = "from pathlib import Path"
        if isinstance(value, torch.dtype | torch.device):
            self.imports["torch"] = "import torch"
        return text


def _suffix(value: object) -> str:
    return ARRAY_SUFFIXES[type(value)]


def _bytes(value: Array) -> bytes:
    with io.BytesIO() as file:
        if isinstance(value, Tensor):
            torch.save(value.clone(), file)  # a view would be saved with its whole storage
        else:
            np.save(file, value, allow_pickle=False)
        return file.getvalue()


def _is_based_on(definition: ast.ClassDef, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for base in definition.bases for node in ast.walk(base))


def _binds(assignment: ast.Assign, name: str) -> bool:
    return [target.id for target in assignment.targets if isinstance(target, ast.Name)] == [name]


def _as(name: str, inner: str) -> str:
    return "" if inner == name else f" as {name}"


def file_name(kind: str) -> str:
    """Return the file name for a class.

    >>> file_name("MyTask"), file_name("LSTM"), file_name("NaNMetric"), file_name("MLPTask")
    ('my_task', 'lstm', 'nan_metric', 'mlp_task')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.replace("NaN", "Nan")).lower()
