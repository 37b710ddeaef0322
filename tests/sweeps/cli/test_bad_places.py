"""A home, a server or a cluster that cannot be used is refused in one line, and so is a best file."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sweeps.cli.refusals import ROOT, Sweep, complaint, refused_run
from tests.sweeps.made import THERMOMETER, best_fields, best_text

pytestmark = pytest.mark.usefixtures("no_ray")


READING = [("list",), ("show", "small"), ("best", "small")]
WRITING = [("run", str(ROOT / "sweeps/library/thermometer.yaml")), ("resume", "small"), ("ui",)]


@pytest.mark.parametrize("command", READING, ids=lambda c: c[0])
def test_a_home_that_is_only_looked_at_need_not_be_written(sweep: Sweep, command: tuple[str, ...]) -> None:
    Path("a file").write_text("")
    assert "a file/home: cannot be read (no folder)" in complaint(sweep(*command, "--home", "a file/home"))
    result = sweep(*command, "--home", "/proc/nowhere")
    assert result.exit_code == (0 if command == ("list",) else 2)
    assert "no sweep here yet" in result.stdout or "unknown sweep 'small'" in result.stderr


@pytest.mark.parametrize("command", WRITING, ids=lambda c: c[0])
@pytest.mark.parametrize("home", ["a file/home", "/proc/nowhere"])
def test_a_home_that_cannot_be_written_is_refused(sweep: Sweep, command: tuple[str, ...], home: str) -> None:
    Path("a file").write_text("")
    said = complaint(sweep(*command, "--home", home))
    opened = command == ("ui",) and home == "a file/home"  # a home that is there need not be written
    assert f"--home {Path(home).absolute()}: cannot be {'read' if opened else 'written'}" in said
    assert "name another folder" in said


def test_a_home_of_the_environment_is_checked_alike(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_HOME", "/proc/nowhere")
    assert "/proc/nowhere: cannot be written" in complaint(sweep("resume", "small"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_an_unreachable_tracking_server_is_refused_before_anything_begins(sweep: Sweep) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    said = refused_run(sweep, "--set", f"tracking_uri={uri}")
    assert f"tracking_uri: {uri} does not answer" in said
    assert "start it, or leave tracking_uri out" in said


def test_an_unreachable_cluster_is_refused_before_anything_begins(sweep: Sweep) -> None:
    address = f"127.0.0.1:{free_port()}"
    said = refused_run(sweep, "--address", address)
    assert f"--address {address}" in said
    assert "ray start --head" in said


def test_what_a_spec_may_not_do_as_hoped_is_noted_on_stderr_alone(sweep: Sweep) -> None:
    changed = {"search": {"sampler": "gp"}, "stopping": {}, "objective": {"metric": "valid_nothing", "mode": "min"}}
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | changed))
    result = sweep("run", "s.yaml", "--json")
    complaint(result)
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert "gp learns from complete trials alone" in note


@pytest.mark.slow
def test_a_sweep_that_does_not_fit_the_machine_is_refused_and_leaves_nothing(sweep: Sweep, in_process: Any) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | {"resources": {"cpus": 10_000}}))
    ran = in_process("run", "s.yaml", "--home", "home", folder=Path.cwd())
    assert ran.returncode == 2
    (said,) = [line for line in ran.stderr.splitlines() if line.startswith("sweep: ")]
    assert "resources" in said
    assert "10000 cpus" in said
    assert json.loads(sweep("list", "--json").stdout) == []


NONSENSE: dict[str, tuple[str, list[str]]] = {
    "no YAML": ("a: [1", ["not valid YAML"]),
    "a list": ("- 1", ["not a best file"]),
    "nothing": ("", ["not a best file"]),
    "an exponent too far": (
        best_text(params=best_fields()["params"] | {"lr_exponent": 1e9}),
        ["params.lr_exponent", "1000000000.0", "[-40, 40]"],
    ),
    "an exponent that is a word": (
        best_text(params=best_fields()["params"] | {"lr_exponent": "small"}),
        ["params.lr_exponent", "'small'", "number"],
    ),
    "an unknown program": (best_text(program="magic"), ["program", "'magic'", "plain, native, vmap"]),
    "no reports": (best_text(reports=[]), ["reports", "0 of 1"]),
    "a spec without a task": (best_text(spec={"name": "a"}), ["spec", "task", "missing"]),
    "a spec that is wrong": (best_text(spec=dict(THERMOMETER) | {"trials": 0}), ["spec", "trials", "0 arrived"]),
}


@pytest.mark.parametrize(("text", "words"), NONSENSE.values(), ids=NONSENSE.keys())
def test_a_best_file_edited_to_nonsense_is_refused(sweep: Sweep, text: str, words: list[str]) -> None:
    Path("best.yaml").write_text(text)
    said = complaint(sweep("rerun", "best.yaml"))
    assert "best.yaml" in said
    assert all(word in said for word in words), said


def test_a_best_file_that_is_missing_is_refused_with_the_command_that_writes_one(sweep: Sweep) -> None:
    said = complaint(sweep("rerun", "best.yaml"))
    assert "best.yaml: cannot be read" in said
    assert "sweep best ID > best.yaml" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
        (["run", "s.yaml", "--json", "--set", "trails=1"], ["trails", "did you mean 'trials'"]),
        (["rerun", "s.yaml"], ["s.yaml", "sweep best ID > best.yaml"]),
    ],
)
def test_a_process_that_refuses_says_so_in_one_line_and_exits_with_two(
    in_process: Any, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER)))
    ran = in_process(*arguments, folder=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("sweep: ")
    assert all(word in ran.stderr for word in words)
    assert not (tmp_path / "sweep-data" / "optuna.journal").exists()
