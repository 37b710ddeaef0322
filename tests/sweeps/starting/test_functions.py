"""Specs for functions, by their source alone: the file raises when it is run."""

from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.starting.begin import draft_from
from espalier.sweeps.starting.draft import Draft

PROGRAMS = Path(__file__).parents[2] / "programs"
FUNCTIONS = Path(__file__).parent / "scripts" / "functions.py"


def draft_of(name: str) -> Draft:
    draft = draft_from(f"{FUNCTIONS}:{name}")
    make_spec(yaml12.read(draft.text(), "a draft"), "a draft")
    return draft


def test_the_signature_and_what_is_taken_from_config_are_searched() -> None:
    """Also what a function of the file takes that the configuration is handed to, under another name."""
    draft = draft_of("train")
    domains = {line.name: line.domain for line in draft.space if line.active}
    assert {*domains} == {"batch_size", "nesterov", "betas", "lr", "weight_decay", "hidden", "dropout"}
    assert domains["weight_decay"] == {"low": 1e-5, "high": 1e-3, "log": True}
    kept = {line.name: line.domain for line in draft.space if not line.active}
    assert kept == {"width": 64, "activation": "relu"}
    assert draft.first["betas"] == [0.9, 0.95] and "lr" not in draft.first
    assert (draft.metric, draft.mode) == ("val_loss", "min") and not draft.notes


def test_what_a_sweep_would_refuse_is_said() -> None:
    said = "\n".join(draft_of("odd").notes)
    assert "needs needed" in said and "unpacks config" in said and "whether more or less of points" in said
    assert "schedule is not searched" in said
    assert draft_of("odd").steps == 30
    assert "is asynchronous" in "\n".join(draft_of("awaited").notes)
    assert "write def bare(config, report)" in "\n".join(draft_of("bare").notes)


def test_a_class_is_a_task() -> None:
    draft = draft_of("Net")
    assert draft.way == "task" and draft.searched == ["lr", "dropout"]


def test_a_file_alone_stands_for_its_training_function() -> None:
    assert draft_from(str(FUNCTIONS)).code == f"{FUNCTIONS}:train"


@pytest.mark.parametrize(
    ("program", "searched", "metric"),
    [
        ("lightning", {"lr", "weight_decay", "width"}, "val_loss"),
        ("huggingface", {"lr", "weight_decay", "batch_size"}, "eval_loss"),
        ("images", {"lr", "momentum", "width"}, "valid_loss"),
        ("accelerate", {"lr"}, "valid_loss"),
    ],
)
def test_real_programs_are_read(
    program: str, searched: set[str], metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a class of theirs keeps of config, what a trainer logs, and what an adapter takes."""
    folder = PROGRAMS / program
    for file in (*folder.glob("*.py"), folder / "swept" / "train.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    draft = draft_from("train.py")
    make_spec(yaml12.read(draft.text(), "a draft"), "a draft")
    assert {*draft.searched} == searched and draft.metric == metric


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", "empty"),
        ("gone.py:train", "no file 'gone.py'"),
        ("gone.module:train", "no module"),
        ("gone.py", "cannot read"),
        (f"{FUNCTIONS}:trian", "did you mean 'train'"),
        ("broken.py:train", "cannot read"),
        ("nothing.py", "no function train(config, report)"),
        ("python gone.py", "no file 'gone.py'"),
        ("python 'x", "No closing quotation"),
    ],
)
def test_code_that_is_not_there_is_refused_in_one_line(
    code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def train(:")
    (tmp_path / "nothing.py").write_text("x = 1\n")
    with pytest.raises(BadInput, match="--from: ") as error:
        draft_from(code)
    assert why in str(error.value)
