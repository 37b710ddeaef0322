"""What commands print with --json of a service is what they print of a home: by the same schemas."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from click.testing import CliRunner

from espalier.sweeps.cli.app import main
from espalier.sweeps.documents import VERSION, document_schema
from tests.services.conftest import spec
from tests.services.http.asking import Token, hand_in, reaches
from tests.services.http.test_enqueue import begun

__all__ = ["begun"]  # a fixture


def test_documents_of_a_service_have_the_schemas_of_a_home(
    client: httpx.Client,
    token: Token,
    begun: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    who, server = token(), str(client.base_url)
    monkeypatch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
    monkeypatch.setattr("espalier.services.reading.trials.FRESH_S", 0.0)
    sweep = begun(who, complete=4).id

    def check(command: str, *words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(main, [command, *words, "--json", "--server", server])
        assert done.exit_code == code, done.output
        document = json.loads(done.stdout)
        jsonschema.validate(document, document_schema(command))
        assert isinstance(document, list) or (document["schema"], document["sweep"]) == (VERSION, sweep)
        return document

    (listed,) = check("list")
    shown = check("show", "long")
    assert listed["best"] == shown["best"]["valid_loss"] == 1.0 and listed["best_trial"] == shown["best"]["trial"]
    assert (listed["metric"], listed["ended"], listed["wanted"]) == ("valid_loss", 4, 4)
    assert check("explain", sweep)["answer"]["best"]["trial"] == shown["best"]["trial"]
    assert f"this is {sweep}" in check("logs", "long")["log"]
    done = CliRunner().invoke(main, ["compare", sweep, sweep, "--json", "--server", server])
    jsonschema.validate(json.loads(done.stdout), document_schema("compare"))
    done = CliRunner().invoke(main, ["best", "--across", "lo*", "--json", "--server", server])
    jsonschema.validate(top := json.loads(done.stdout), document_schema("best"))
    assert len(top["trials"]) == 4
    assert "stopped" in check("stop", sweep, "--wait")["said"][0]


def test_a_sweep_that_is_handed_in_has_its_document(
    client: httpx.Client, token: Token, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SWEEP_TOKEN", token()["Authorization"].removeprefix("Bearer "))
    (tmp_path / "quick.yaml").write_text(json.dumps(spec("quick")))
    for waiting, states in (("--wait", ["finished"]), ("--no-wait", ["queued", "starting", "running", "finished"])):
        words = ["submit", str(tmp_path / "quick.yaml"), waiting, "--json", "--server", str(client.base_url)]
        done = CliRunner().invoke(main, words)
        document = json.loads(done.stdout)
        for command in ("submit", "resume", "extend"):
            jsonschema.validate(document, document_schema(command))
        assert document["schema"] == VERSION and document["state"] in states and document["answer"] == []


def test_a_sweep_that_has_not_begun_has_the_same_documents(
    client: httpx.Client, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, server = token(), str(client.base_url)
    monkeypatch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
    sweep = hand_in(client, who, "long")
    reaches(client, who, sweep, "running")
    for command, words in {"list": [], "show": [sweep], "explain": [sweep]}.items():
        done = CliRunner().invoke(main, [command, *words, "--json", "--server", server])
        assert done.exit_code == 0, done.output
        jsonschema.validate(json.loads(done.stdout), document_schema(command))
