"""What commands print with --json is what `sweep schema COMMAND` says: documents of a version."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.cli.app import main
from espalier.sweeps.documents import DOCUMENTS, VERSION, document_schema, versioned
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.cli.commands import COMMANDS
from tests.sweeps.made import row, spec_with


def printed(*words: str) -> Any:
    """Return the document that a command prints."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def check(command: str, document: Any) -> None:
    """A document is what the schema of its command says, as the schema that is printed."""
    schema = printed("schema", *command.split())
    assert schema == document_schema(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    if isinstance(document, dict):
        assert next(iter(document)) == "schema" and document["schema"] == VERSION


READING = {
    "list": ["list"],
    "show": ["show", "small"],
    "explain": ["explain", "small"],
    "compare": ["compare", "small", "small"],
    "best": ["best", "small", "--top", "3"],
}


@pytest.mark.parametrize("command", READING)
def test_what_is_read_of_a_sweep_has_its_schema(command: str, small_sweep: Any) -> None:
    words = [*READING[command], "--json", "--home", str(small_sweep.home)]
    check(command, printed(*words))


@pytest.mark.parametrize("command", ["show", "explain"])
def test_a_sweep_without_a_trial_has_the_same_schema(command: str, tmp_path: Path) -> None:
    SweepStore.open(str(tmp_path / "optuna.journal")).create("warm-1", spec_with(), {"created": "2026-11-29T00:00:00Z"})
    check(command, printed(command, "warm", "--json", "--home", str(tmp_path)))


def test_what_is_written_has_its_schema(small_sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check("init", printed("init", "--function", "--name", "mine", "--json"))
    Path("wandb.yaml").write_text("program: train.py\nmethod: random\nparameters: {lr: {min: 0.1, max: 0.2}}\n")
    check("import", printed("import", "wandb.yaml", "--json"))
    check("export", printed("export", "small", "--out", "out.zip", "--json", "--home", str(small_sweep.home)))
    check("unpack", printed("unpack", "out.zip", "--json"))
    check("delete", printed("delete", "small", "--yes", "--json", "--home", "out"))


def test_how_a_sweep_ended_has_its_schema() -> None:
    trials = [row(number, value=2.0 + number) for number in range(5)]
    for best in (trials[0], None):
        summary = Summary("warm-1", spec_with(), trials if best else [], best, False, True, 12.0, 400, 80, 1.0)
        for command in ("run", "resume", "extend"):
            check(command, versioned(json.loads(json.dumps(summary.document()))))


WITHOUT = {
    "ui": "it becomes MLflow's server",
    "serve": "it becomes a server",
    "mcp": "it speaks JSON-RPC",
    "schema": "what it prints is JSON",
    "completion": "what it prints is a script of a shell",
}


def test_every_command_prints_json_and_has_a_schema_of_it() -> None:
    with_json = {name for name, command in COMMANDS.items() if any(p.name == "as_json" for p in command.params)}
    assert set(COMMANDS) - with_json == set(WITHOUT)
    assert with_json == set(DOCUMENTS)


def test_what_administrators_see_has_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SWEEP_DATABASE_URL", raising=False)
    check("db upgrade", printed("db", "upgrade", "--json"))
    made = printed("token", "create", "--owner", "ada", "--days", "3", "--json")
    check("token create", made)
    listed = printed("token", "list", "--json")
    check("token list", listed)
    assert made["token"].startswith(f"sweep_{listed[0]['id']}_") and made["days"] == 3
    check("quota", quota := printed("quota", "ada", "--trials", "10", "--json"))
    assert (quota["trials"], quota["trials_used"], quota["gpu_hours"]) == (10, 0, None)
    check("token revoke", printed("token", "revoke", listed[0]["id"], "--json"))
    assert printed("token", "list", "--json")[0]["state"] == "revoked"


def test_a_report_has_its_schema(small_sweep: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    document = printed("report", "small", "--out", str(file), "--json", "--home", str(small_sweep.home))
    check("report", document)
    assert Path(document["file"]) == file.resolve() and file.exists() and document["answer"]


def test_a_command_that_prints_none_is_refused_by_name() -> None:
    done = CliRunner().invoke(main, ["schema", "shw"])
    assert done.exit_code == 2 and "did you mean 'show'" in done.stderr
