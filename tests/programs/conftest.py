"""Programs as their authors wrote them, bare and swept, each in a folder of its own outside the checkout."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs.harness import Program

collect_ignore_glob = ["*/*.py"]  # they train when they are imported


@pytest.fixture
def make_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Return a function that lays out a program by name; its other arguments replace fields of its spec."""
    made: list[Program] = []

    def make(name: str, **changes: object) -> Program:
        made.append(Program(name, tmp_path / f"{len(made)}-{name}", changes))
        return made[-1]

    yield make
    for program in made:
        program.clean_up()
