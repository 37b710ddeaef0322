"""What tests of YAML share."""

import pytest
import yaml

from espalier.sweeps.spec import yaml12


@pytest.fixture(params=["libyaml", "Python alone"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML with its C library, and without."""
    if request.param == "Python alone":
        monkeypatch.setattr(yaml12, "_Loader", yaml.SafeLoader)
