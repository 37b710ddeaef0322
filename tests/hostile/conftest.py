"""A small sweep for each hostile test, and no process of it left behind."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.harness import Sweep


@pytest.fixture
def make_sweep(tmp_path: Path, words_file: Path) -> Iterator[Callable[..., Sweep]]:
    """Return a function that makes a sweep in a folder of its own; its arguments replace fields of the spec."""
    made: list[Sweep] = []

    def make(checkpoint_s: float = 2.0, **changes: Any) -> Sweep:
        made.append(Sweep(tmp_path / f"sweep-{len(made)}", words_file, changes, checkpoint_s))
        return made[-1]

    yield make
    for sweep in made:
        sweep.clean_up()


@pytest.fixture
def sweep(make_sweep: Callable[..., Sweep]) -> Sweep:
    """Twelve trials in two cohorts, of which two or three train at a time."""
    return make_sweep()
