"""A sweep of the service as a zip that opens elsewhere: what `sweep export` writes at its home."""

import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from espalier.core.errors import BadInput
from espalier.services.database.store import Store
from espalier.services.database.tables import State
from espalier.services.settings import Settings
from espalier.sweeps.browse.home_sweep import read_sweep
from espalier.sweeps.browse.unpack import unpack_sweep
from espalier.sweeps.cli.app import main
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import Home
from espalier.sweeps.origins.service_origin import ServiceOrigin
from tests.services.conftest import spec
from tests.services.holding import hold, put, submission
from tests.services.http.asking import Token, hand_in, problem, reaches


@pytest.fixture
def held(store: Store, settings: Settings, small_sweep: Any) -> str:
    """A real sweep in the service's home."""
    return hold(store, settings.home, small_sweep)


def test_a_sweep_of_a_service_opens_elsewhere(
    client: httpx.Client,
    token: Token,
    settings: Settings,
    held: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SWEEP_TOKEN", token()["Authorization"].removeprefix("Bearer "))
    monkeypatch.chdir(tmp_path)
    server = str(client.base_url).rstrip("/")
    done = CliRunner().invoke(main, ["export", held, "--out", "there.zip", "--json", "--server", server])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["files"] == len(zipfile.ZipFile("there.zip").namelist())
    unpack_sweep("there.zip", "there")
    here, there = (read_sweep(Home.at(home, reading=True), held) for home in (settings.home, Path("there")))
    assert [(t.number, t.state, t.value) for t in there.trials] == [(t.number, t.state, t.value) for t in here.trials]
    assert there.best_file() == here.best_file()
    origin = ServiceOrigin(Remote(server))
    assert origin.export(held, "folder").path == "folder" and Path("folder/best.yaml").exists()
    with pytest.raises(BadInput, match=r"there\.zip: it is there already"):
        origin.export(held, "there.zip")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_what_cannot_be_exported_is_said(client: httpx.Client, token: Token, store: Store, held: str) -> None:
    who, waits = token(), "waits-20260101-abcd"
    put(store, submission(waits, spec("waits"), state=str(State.STOPPED)))
    runs = hand_in(client, who, "long")
    reaches(client, who, runs, "running")
    said = {runs: "is running; export it when it has ended", waits: "has not begun; it is stopped"}
    for sweep, why in said.items():
        answer = client.get(f"/v1/sweeps/{sweep}/export", headers=who)
        assert why in problem(answer, 409)["detail"]
    assert client.get(f"/v1/sweeps/{held}/export", headers=token("bob")).status_code == 404
