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
from tests.sweeps.made import row, spec_with


def printed(*words: str) -> Any:
    """Return the document that a command prints."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def check(command: str, document: Any) -> None:
    """A document is what the schema of its command says, as the schema that is printed."""
    schema = printed("schema", command)
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


def test_every_command_with_json_has_a_schema_and_no_other() -> None:
    with_json = {name for name, command in main.commands.items() if any(p.name == "as_json" for p in command.params)}
    assert with_json - {"submit"} == set(DOCUMENTS), "that of submit is the service's own answer"


def test_a_command_that_prints_none_is_refused_by_name() -> None:
    done = CliRunner().invoke(main, ["schema", "shw"])
    assert done.exit_code == 2 and "did you mean 'show'" in done.stderr
