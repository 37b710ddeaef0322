"""The specs of the library, and what is said of one that is wrong."""

from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from tests.sweeps.made import spec_with

LIBRARY = sorted((Path(__file__).resolve().parents[3] / "sweeps" / "library").glob("*.yaml"))


def refusal(**changed: Any) -> str:
    """Return what is said of a spec that is wrong in these fields."""
    with pytest.raises(BadInput) as refused:
        spec_with(**changed)
    assert str(refused.value).isprintable()
    return str(refused.value)
