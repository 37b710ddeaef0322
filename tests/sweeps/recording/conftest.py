"""A home to record in."""

from pathlib import Path

import pytest

from tests.sweeps.recording.saying import new_home


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A home whose store has its tables."""
    return new_home(tmp_path / "home", empty_store)
