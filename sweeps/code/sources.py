"""Where the user's code of a sweep begins: the files that its spec names, or the script of a command."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from espalier.core import own
from espalier.core.loading.dependencies import author_files, file_here
from espalier.core.loading.folders import current_folder
from espalier.core.loading.references import split_reference
from espalier.sweeps.spec.references import references
from espalier.sweeps.spec.spec import SweepSpec


class Source(NamedTuple):
    """A file of a user's code, and the folder that it is imported from. file: None where only the folder is known."""

    folder: Path
    file: Path | None


def sources_of(spec: SweepSpec) -> list[Source]:
    """Return the sources of a spec: what trains, and each kind of the user's own. None for what is installed."""
    named = [split_reference(reference)[0] for reference in references(spec.model_dump(mode="json"))]
    sources = [source for name in named if (source := _source_of_name(name) or _installed(name))]
    if spec.command:
        sources.append(source_of_command(spec.command, current_folder()))
    return list(dict.fromkeys(sources))


def source_of(reference: str) -> Source | None:
    """Return the source of a class; None for an installed one.

    A file is imported from its own folder, a module from the current one.
    """
    return _source_of_name(split_reference(reference)[0])


def _source_of_name(name: str) -> Source | None:
    """Return the source of a file or a module."""
    if name.endswith(".py"):
        return Source(Path(name).parent, Path(name))
    file = file_here(name)
    return Source(current_folder(), file) if file else None


def _installed(module: str) -> Source | None:
    """Return the source of a module that Python finds outside of its libraries, as by an editable install."""
    files = author_files(module) if module.partition(".")[0] != own.NAME else []
    if not files or files[-1][0] != module:
        return None
    file = Path(files[-1][1])
    depth = module.count(".") + (file.name == "__init__.py")
    return Source(file.parents[depth], file)


def source_of_command(command: Sequence[str], folder: Path) -> Source:
    """Return the source of a command: its first argument that is a file, else the folder that it runs in.

    The program itself counts only as a file of that folder: `./train.sh`, and not `python`.

    >>> source_of_command(["python", "-m", "train"], Path("/nowhere"))
    Source(folder=PosixPath('/nowhere'), file=None)
    """
    for place, word in enumerate(command):
        file = folder / word
        if (place or os.sep in word) and file.is_file() and (place or file.is_relative_to(folder)):
            return Source(file.resolve().parent, file.resolve())
    return Source(folder, None)
