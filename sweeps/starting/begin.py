"""Begin: write a spec, and where there is no code yet, a small training file that runs at once."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espalier.core.errors import BadInput, brief
from espalier.core.loading.references import split_reference
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.paths import found_files
from espalier.sweeps.spec.spec import SweepSpec, load_spec, make_spec
from espalier.sweeps.starting import templates
from espalier.sweeps.starting.draft import Draft
from espalier.sweeps.starting.from_command import draft_of_command
from espalier.sweeps.starting.from_function import draft_of_function
from espalier.sweeps.starting.option_source import reads_a_command_line, with_local_imports
from espalier.sweeps.starting.python_source import Source
from espalier.sweeps.starting.run_help import LIMIT_S
from espalier.sweeps.starting.words import fitting_name, listed, this_python

SPEC, CODE = "sweep.yaml", "train.py"


@dataclass(frozen=True)
class Begun:
    """What was written. files: their paths. spec: as it was read back. notes: what could not be told."""

    files: Sequence[Path]
    spec: SweepSpec
    searched: Sequence[str]
    left: Sequence[str]
    notes: Sequence[str] = field(default_factory=list[str])

    @property
    def commands(self) -> list[str]:
        """The next two commands."""
        return [f"sweep run {self.files[0]}", f"sweep best {self.spec.name} > best.yaml"]

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "files": [str(file) for file in self.files],
            "name": self.spec.name,
            "searched": list(self.searched),
            "defaults": list(self.left),
            "notes": list(self.notes),
            "next": self.commands,
        }

    def lines(self) -> list[str]:
        """Return it as lines of a page."""
        lines = [f"wrote {' and '.join(map(str, self.files))}"]
        if self.searched:
            lines.append(f"searched: {listed(self.searched)}")
        if self.left:
            lines.append(f"at their defaults, as comments in the spec: {listed(self.left)}")
        lines += [f"note: {note}" for note in self.notes]
        return [*lines, "next:", *(f"  {command}" for command in self.commands)]


def begin_new(way: str, name: str | None = None, spec: str = SPEC, code: str = CODE, force: bool = False) -> Begun:
    """Write a spec and a training file for one of the three ways. Raises BadInput if a file is there already."""
    files = [Path(spec), Path(code)]
    called = checked_name(name) if name else folder_name()
    texts = templates.texts(way, called, os.path.relpath(code, os.path.dirname(spec) or "."))
    _write(dict(zip(files, texts, strict=True)), force)
    return Begun(files, load_spec(spec), [], [])


def begin_from(
    what: str, name: str | None = None, spec: str = SPEC, force: bool = False, limit_s: float = LIMIT_S
) -> Begun:
    """Write a spec for code that is there: a function, a Task, a script, or a command. limit_s: of its --help."""
    if name:
        checked_name(name)
    file = Path(spec)
    _check_free([file], force)  # before a command is run
    draft = draft_from(what, limit_s)
    draft.name = name or draft.name
    text = draft.text()
    loaded = make_spec(found_files(yaml12.read(text, spec), file.parent), spec)
    _write({file: text}, force)
    left = [line.name for line in draft.space if not line.active]
    return Begun([file], loaded, draft.searched, left, draft.notes)


def folder_name() -> str:
    """Return a name for a sweep, by the current folder."""
    return fitting_name(Path.cwd().name, "first")


def draft_from(what: str, limit_s: float = LIMIT_S) -> Draft:
    """Return the draft of a spec for code that is there. Raises BadInput if it is not."""
    words = what.split()
    if not words:
        raise BadInput('--from: empty; write train.py:train, or "python train.py"')
    if len(words) > 1:
        return draft_of_command(what, limit_s)
    source, name = split_reference(what)
    if name:
        return draft_of_function(what)
    if not what.endswith(".py"):
        return draft_of_command(what, limit_s)
    read = Source.read(Path(source), "--from")
    if functions := read.functions:
        return draft_of_function(f"{what}:{functions[0]}")
    if reads_a_command_line(with_local_imports(read)):
        return draft_of_command(shlex.join([this_python(), what]), limit_s)
    raise BadInput(
        f"--from: {brief(what)} has no function train(config, report) and reads no arguments; name a function, as "
        f"{brief(what)}:train"
    )


def checked_name(name: str) -> str:
    """Return a name that a sweep can have. Raises BadInput for another."""
    if name != fitting_name(name, ""):
        raise BadInput(f"--name: '{brief(name)}'; a name has letters, digits, - and _, at most 40, a letter first")
    return name


def _check_free(files: Sequence[Path], force: bool) -> None:
    for file in files:
        if os.path.lexists(file) and not force:
            raise BadInput(f"{file} is there already; --force writes over it")


def _write(texts: dict[Path, str], force: bool) -> None:
    _check_free([*texts], force)
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{file}: cannot be written: {error.strerror}") from error
