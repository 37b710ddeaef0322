"""`make up`, `make e2e` and `make down`: the whole service on one machine, with every real part."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from espalier.services import local
from tests.services.running import command_lines, files_with_secrets, folder_for_stack

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--set", "trials=8", "--set", "budget.steps=300", "--set", "task_options.validation=1000"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_stack(local.down) as made:
        yield made


@pytest.mark.slow
@pytest.mark.hostile
def test_a_sweep_goes_through_every_part_and_its_best_reruns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())  # the check takes MLflow's login into this process
    found = local.up(folder)
    lines = list(local.check(folder, str(ROOT / "sweeps/library/names.yaml"), SMALL))
    assert any("8 runs and 6 of confirmations and references, each once, none RUNNING" in line for line in lines)
    assert lines[-1].endswith("bit for bit")
    assert httpx.get(f"{found['server']}/v1/sweeps").status_code == 401
    secrets = [found["token"].split("_", 2)[2], found["mlflow_password"]]
    assert not any(secret in command_lines() for secret in secrets)
    assert [path.name for path in files_with_secrets(folder, secrets)] == ["token"]
    assert os.stat(folder / "token").st_mode & 0o077 == 0
    again = local.up(folder)  # what runs stays as it is
    assert again == found
    local.down(folder)
    assert str(folder) not in command_lines()
