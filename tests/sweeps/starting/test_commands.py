"""Specs for commands: real scripts are asked for help, and what a sweep would pass really arrives."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from espalier.core.foreign.command import filled
from espalier.core.foreign.folder import Assignment, TrialFolder
from espalier.core.foreign.output import OutputReader
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.domains import extremes
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.starting import help_text, option_source
from espalier.sweeps.starting.begin import draft_from
from espalier.sweeps.starting.draft import Draft
from espalier.sweeps.starting.python_source import Source
from espalier.sweeps.starting.run_help import run_help

SCRIPTS = Path(__file__).parent / "scripts"
PARSED = ["with_argparse", "without_defaults", "with_click", "with_typer"]
"""Scripts that print what arrived."""


def draft_of(script: str, *more: str, limit_s: float = 60) -> Draft:
    if script == "with_typer":
        pytest.importorskip("typer", reason="see tests/others.txt")
    return draft_from(" ".join([sys.executable, str(SCRIPTS / f"{script}.py"), *more]), limit_s)


def spec_of(draft: Draft) -> SweepSpec:
    return make_spec(yaml12.read(draft.text(), "a draft"), "a draft")


def run_trial(draft: Draft, values: Mapping[str, Any], tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """Run the command for a trial; return what arrived, and all lines of its output."""
    assignment = Assignment("0/0", values, {}, seed=7, steps=draft.steps)
    command = filled(list(draft.code), assignment, TrialFolder(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return json.loads(lines[-1])["arrived"], lines[:-1]


@pytest.mark.parametrize("script", PARSED)
@pytest.mark.parametrize("end", [0, -1])
def test_what_a_sweep_passes_arrives(script: str, end: int, tmp_path: Path) -> None:
    """Both ends of every domain that is searched, by the script's own parser."""
    draft = draft_of(script, *["--data", "d"] * (script == "without_defaults"))
    domains = spec_of(draft).space.domains()
    values = {name: extremes(domain)[end] for name, domain in domains if name != "lr_exponent"}
    values |= {"lr": 0.0123} if "lr" in draft.searched else {}
    arrived, _ = run_trial(draft, values, tmp_path)
    for name, value in values.items():
        plain = name.removeprefix("script_").replace("-", "_")
        if plain.startswith("no_"):
            assert arrived[plain[3:]] is not value
        else:
            assert arrived[plain] == {"true": True, "false": False}.get(value if isinstance(value, str) else "", value)
    assert arrived.get("seed", 7) == 7
    assert draft.steps in [arrived[name] for name in ("epochs", "steps", "max_steps") if name in arrived]


@pytest.mark.parametrize("script", PARSED)
def test_every_option_is_searched_or_kept_or_is_the_seed_or_the_length(script: str) -> None:
    draft = draft_of(script, *["--data", "d"] * (script == "without_defaults"))
    known = {line.name.removeprefix("script_") for line in draft.space}
    for option in help_text.options(run_help([sys.executable, str(SCRIPTS / f"{script}.py")]).text):
        if option.option not in draft.code and not option.positional:
            assert option.name in known, option


def test_the_first_trial_is_that_of_the_defaults(tmp_path: Path) -> None:
    for script in ("with_argparse", "with_click"):
        draft = draft_of(script)
        arrived, _ = run_trial(draft, draft.first, tmp_path)
        others = {name: value for name, value in draft.first.items() if name.startswith("script_")}
        defaults, _ = run_trial(draft, others, tmp_path)
        assert len(draft.first) >= 5 and arrived == defaults


def test_domains_follow_names_and_defaults() -> None:
    domains = {line.name: line.domain for line in draft_of("with_argparse").space if line.active}
    assert domains["lr"] == {"low": 3e-5, "high": 3e-3, "log": True}
    assert domains["batch-size"] == [32, 64, 128]
    assert domains["betas"]["choices"][0] == [0.9, 0.999]
    assert domains["opt"] == ["sgd", "adam"] and domains["nesterov"] == [False, True] == domains["no-bias"]
    assert domains["script_schedule"] == ["cosine", "poly"]
    assert not {"device", "out-dir", "num-workers", "log-every", "data", "epochs", "seed"} & {*domains}


def test_defaults_that_the_help_does_not_say_come_from_the_source() -> None:
    """Also those of a module beside the script; max_steps goes before epochs."""
    draft = draft_of("without_defaults", "--data", "d")
    domains = {line.name: line.domain for line in draft.space if line.active}
    assert domains["learning-rate"] == {"low": 0.01, "high": 1.0, "log": True}
    assert domains["momentum"]["low"] <= 0.9 <= domains["momentum"]["high"]
    assert draft.steps == 40 and "--max-steps" in draft.code


def test_help_and_source_of_one_parser_agree() -> None:
    """Where the help says defaults: two ways to the same arguments."""
    path = SCRIPTS / "with_argparse.py"
    helped = {a.name: a for a in help_text.options(run_help([sys.executable, str(path)]).text)}
    for argument in option_source.options([Source.read(path, "")]):
        if argument.positional:
            continue
        other = helped[argument.name]
        assert (other.option, other.default, other.choices, other.flag, other.count) == (
            argument.option,
            argument.default,
            argument.choices,
            argument.flag,
            argument.count,
        )


def test_what_is_needed_and_not_given_is_said() -> None:
    assert any("--data" in note for note in draft_of("without_defaults").notes)
    assert not any("--data" in note for note in draft_of("without_defaults", "--data", "d").notes)


def test_options_of_the_command_stay_as_they_are_given() -> None:
    draft = draft_of("with_argparse", "--lr", "0.5", "--epochs=3", "--device", "cpu")
    assert "lr" not in draft.searched and draft.steps == 3
    assert {"--epochs=${steps}", "--lr", "0.5", "--device", "cpu"} <= {*draft.code}


@pytest.mark.parametrize(
    ("script", "metric", "mode", "last"),
    [
        ("with_argparse", "val_loss", "min", (11, {"train_loss": 2 / 12, "val_loss": 3 / 12})),
        ("without_defaults", "val_acc", "max", (30, {"val_acc": 0.5, "loss": 1.0})),
        ("with_click", "valid_accuracy", "max", (40, {"valid_accuracy": 0.5, "train_loss": 1.0})),
    ],
)
def test_the_objective_is_found_where_it_is_printed(
    script: str, metric: str, mode: str, last: tuple[int, dict[str, float]], tmp_path: Path
) -> None:
    """And the pattern reads it from what the script prints."""
    draft = draft_of(script, *["--data", "d"] * (script == "without_defaults"))
    assert (draft.metric, draft.mode) == (metric, mode)
    _, lines = run_trial(draft, draft.first, tmp_path)
    reader = OutputReader(spec_of(draft).results.patterns)
    reports = [*reader.read(lines), *reader.rest()]
    assert reports[-1].get("step") == last[0]
    assert reports[-1].get("values") == pytest.approx(last[1], abs=1e-4)


def commands_with(text: str) -> list[bytes]:
    """Return the command lines of running processes that have a text in them."""
    found: list[bytes] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_bytes())
    return [line for line in found if text.encode() in line]


# --- scripts that give no help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "why", "limit_s"),
    [
        ("hangs", "it had not ended after 1 s", 1),
        ("binary", "it printed no help", 60),
        ("exits", "it ended with exit code 3", 60),
        ("asks", "it ended with exit code 1", 60),
        ("floods", "it printed more than 1 MiB", 60),
    ],
)
def test_options_of_a_script_that_gives_no_help_come_from_its_source(
    script: str, why: str, limit_s: float, capfd: pytest.CaptureFixture[str]
) -> None:
    draft = draft_of(script, limit_s=limit_s)
    assert draft.searched == ["lr"] and any(why in note for note in draft.notes)
    assert spec_of(draft).space.lr_exponent
    assert capfd.readouterr() == ("", "")
    assert not commands_with(f"{script}.py")


def test_a_script_that_reads_no_arguments_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draft = draft_of("without_arguments")
    assert any("reads no arguments" in note for note in draft.notes) and not draft.searched
    assert not [*tmp_path.iterdir()]


def test_a_shell_script_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.sh").write_text("touch trained\n")
    for command in ("bash train.sh --data d", "./train.sh --data d"):
        assert any("is a shell script" in note for note in draft_from(command).notes)
    assert not (tmp_path / "trained").exists()


def test_of_a_launcher_the_script_alone_is_asked() -> None:
    path = SCRIPTS / "with_click.py"
    for launcher in ("torchrun --nproc-per-node 4", f"{sys.executable} -m torch.distributed.run --nproc-per-node 4"):
        draft = draft_from(f"{launcher} {path}")
        assert {"lr", "batch-size"} <= {*draft.searched}
        assert list(draft.code)[: len(launcher.split()) + 1] == [*launcher.split(), str(path)]


@pytest.mark.parametrize("odd", ["float('nan')", "float('inf')", "10**400", "-1e-300"])
def test_a_default_around_which_there_is_no_range_makes_a_spec_that_is_right(tmp_path: Path, odd: str) -> None:
    script = tmp_path / "odd.py"
    script.write_text(f"""
import argparse
parser = argparse.ArgumentParser()
for name in ("--lr", "--wd", "--dropout", "--momentum", "--batch-size"):
    parser.add_argument(name, type=int if name == "--batch-size" else float, default={odd}, help="%(default)s")
parser.add_argument("--name", default="a\\nb: {{", choices=["a\\nb: {{", "'\\\"", "${{lr}}", "null", "1e3", "no"])
parser.parse_args()
""")
    draft = draft_from(f"{sys.executable} {script}")
    assert {"lr", "wd", "dropout"} <= {*spec_of(draft).space.own(), "lr"}


def test_nothing_stays_of_a_script_that_forks_when_it_is_asked_for_help(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text("""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
os.wait()
print("usage: forks.py")
""")
    run = run_help([sys.executable, str(script)])
    assert run.text.startswith("usage: forks.py") and not run.problem
    assert subprocess.run(["pgrep", "-f", str(script)], capture_output=True).returncode == 1, "it is still there"


def test_a_script_that_closes_its_output_is_waited_for_and_ended(tmp_path: Path) -> None:
    script = tmp_path / "closes.py"
    script.write_text(
        "import os, time\nprint('usage: closes.py', flush=True)\nos.close(1)\nos.close(2)\ntime.sleep(3600)"
    )
    run = run_help([sys.executable, str(script)], limit_s=1.0)
    assert (run.text, run.problem) == ("usage: closes.py\n", "it had not ended after 1 s")
