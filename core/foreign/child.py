"""The process of a training function: `python -m espalier.core.foreign.child REFERENCE`.

It imports the function before it knows what to train, so that a next trial's imports overlap with training. Then one
line of its input names the trial's folder, as JSON. With the number of a socket it is a template, which forks for each
trial: see template.py. Its modules are imported by their own names, as `python FILE` would: there is no other code
beside them, and what pickles them by name, as workers of a DataLoader, finds them.
"""

import importlib
import importlib.util
import inspect
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput, located, nearest
from espalier.core.foreign.config import Config
from espalier.core.foreign.folder import VARIABLE, Assignment, Line, TrialFolder
from espalier.core.foreign.keeper import DEATH_SIGNAL, prctl
from espalier.core.foreign.report import Report, StopTrial
from espalier.core.foreign.template import serve
from espalier.core.loading.references import split_reference

MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
TRACE_MOST = 1 << 15  # characters of a traceback that are kept: a message may have megabytes
PASSED = ("config", "report")  # the arguments that every training function takes


def load_function(reference: str) -> Callable[..., object]:
    """Import the function that `package.module:name` or `path/file.py:name` names.

    Raises BadInput if it is none, or cannot be called as a training function is.
    """
    source, name = split_reference(reference)
    module = _import_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    function = getattr(module, name, None)
    if not callable(function) or inspect.isclass(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise BadInput(f"function: '{source}' has no function '{name}'; {nearest(name, functions)}")
    defaults_of(function, reference)
    return function


def _import_file(path: Path) -> Any:
    """Import a file by its own name, and one of a package by that of the package."""
    path = Path(os.path.realpath(path))
    names, root = [path.stem], path.parent
    while (root / "__init__.py").is_file():
        names, root = [root.name, *names], root.parent
    sys.path.insert(0, str(root))
    name = ".".join(names)
    if name not in sys.modules and len(names) > 1:
        return importlib.import_module(name)
    if name in sys.modules:  # a file called as a module that Python has imported, such as random.py
        name = f"{name}_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def defaults_of(function: Callable[..., object], reference: str) -> dict[str, Any]:
    """Return the defaults of a training function's own arguments. Raises BadInput if it lacks config or report."""
    parameters = inspect.signature(function).parameters
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if missing := [name for name in PASSED if name not in named]:
        raise BadInput(
            f"function: {reference}: {function.__name__}() has no argument {missing[0]}; write "
            f"def {function.__name__}(config, report)"
        )
    others = [name for name, p in named.items() if name not in PASSED and p.default is inspect.Parameter.empty]
    if others:
        raise BadInput(
            f"function: {reference}: {function.__name__}() needs {others[0]}, which has no default; take it from "
            f"config.{others[0]}, or give it a default"
        )
    return {name: p.default for name, p in named.items() if name not in PASSED}


def seed_all(seed: int) -> None:
    """Seed the random generators of Python, numpy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def train(function: Callable[..., object], assignment: Assignment, folder: TrialFolder) -> Line:
    """Call a training function; return how it ended."""
    defaults = defaults_of(function, function.__name__)
    config = Config.of(assignment, defaults)
    own = {name: config[name] for name in defaults}
    report = Report(folder.path)
    try:
        function(config=config, report=report, **own)
    except StopTrial as stop:
        return Line(end="stopped", error=stop.reason)
    except SystemExit as error:
        return Line(end="complete") if not error.code else failed(error)
    except KeyboardInterrupt:
        return Line(end="stopped", error="interrupted")
    except BaseException as error:
        return failed(error)
    return Line(end="complete")


def failed(error: BaseException) -> Line:
    """Return the line of a function that raised."""
    text = "".join(traceback.format_exception_only(error)).lower()
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    memory = memory or any(words in text for words in MEMORY)
    trace = "".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode()
    if len(trace) > TRACE_MOST:
        trace = f"{trace[: TRACE_MOST // 2]}\n...\n{trace[-TRACE_MOST // 2 :]}"
    return Line(end="memory" if memory else "failed", error=located(error), trace=trace)


class Trainer:
    """A training function, or why there is none."""

    def __init__(self, reference: str):
        """Import the function."""
        self.function: Callable[..., object] | None = None
        self.fault: Line | None = None
        try:
            import torch

            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1") or 1))
            self.function = load_function(reference)
        except BadInput as error:
            self.fault = Line(end="failed", error=str(error), trace="")
        except BaseException as error:
            self.fault = failed(error)
            source, _ = split_reference(reference)
            self.fault["error"] = f"function: cannot import '{source}': {self.fault.get('error', '')}"

    def train(self, place: Path) -> int:
        """Train the trial of a folder, report how it ended, and return the exit code."""
        name_process(place)
        return tell(place, self.run(place))

    def run(self, place: Path) -> Line:
        """Train the trial of a folder; return how it ended."""
        os.environ[VARIABLE] = str(place)
        folder = TrialFolder(place)
        assignment = folder.assignment()
        os.environ.update(assignment.environment)
        line = self.fault
        if line is None:
            assert self.function
            seed_all(assignment.seed)
            line = train(self.function, assignment, folder)
        return line


def name_process(place: Path) -> None:
    """Have `top` and `ps -o comm` show of which trial this process is: `trial 12-0`. Linux keeps 15 letters."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"trial {place.name}"[:15])


def tell(place: Path, line: Line) -> int:
    """Report how the trial of a folder has ended; return the exit code of its process."""
    TrialFolder(place).append(line)
    if trace := line.get("trace"):
        with suppress(OSError, ValueError):  # the function may have closed it
            print(trace, file=sys.stderr)
    return 0 if line.get("end") in ("complete", "stopped") else 1


def set_input_aside() -> int:
    """Return a handle of the input, in whose place there is none from now on: code may ask for some."""
    worker = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return worker


def awaited_folder(worker: int) -> Path | None:
    """Wait for the line that names the trial's folder; None if the worker needs no trial any more."""
    with open(worker, encoding="utf-8") as requests:
        place = requests.readline()
    return Path(json.loads(place)) if place else None


def main(reference: str, *template: str) -> int:
    """Import a function and train: one trial, whose folder a line of input names, or as a template.

    template: the number of the worker's socket, and the seconds of grace.
    """
    if template:
        prctl(DEATH_SIGNAL, signal.SIGKILL)  # an import may never come to where it sees that its worker has died
        serve(int(template[0]), float(template[1]), Trainer(reference).train)
        return 0
    worker = set_input_aside()  # before the import
    trainer = Trainer(reference)
    place = awaited_folder(worker)
    return trainer.train(place) if place else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
