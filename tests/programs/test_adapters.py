"""The adapters with the real packages: reports, parking, going on, schedules."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espalier.core.foreign.config import Config
from tests.programs.harness import Program
from tests.programs.parts import MARK

STEPS, DUE = 60, (15, 30, 45, 60)
LAST_OF_EPOCH = 40  # of both Lightning's and Hugging Face's program
COSINE = {"kind": "cosine", "steps": STEPS, "lr": 0.01}
VALUES = {
    "lightning": {"lr": 0.01, "weight_decay": 0.01, "width": 8},
    "huggingface": {"lr": 0.01, "weight_decay": 0.01, "batch_size": 8},
    "accelerate": {"lr": 0.01},
    "images": {"lr": 0.01, "momentum": 0.9, "width": 4, "padding": 1},
}
METRIC = {"lightning": "val_loss", "huggingface": "eval_loss"}
OTHERS = ("accelerate", "images")
PARTS = {"whole": (), "in an epoch": (32,), "twice": (15, 45), "at the end of one": (LAST_OF_EPOCH,)}


def trained(program: Program) -> dict[str, Any]:
    """Train a trial of a program whole, and in parts; return its reports by PARTS."""
    values = VALUES[program.name]
    fields = {"trial": "0/0", "values": values, "schedule": COSINE, "seed": 0, "steps": STEPS, "due": DUE}
    jobs = [
        {"folder": str(program.folder / name.replace(" ", "-")), "parts": parts, "fields": fields}
        for name, parts in PARTS.items()
    ]
    command = [sys.executable, "-m", "tests.programs.parts", f"{program.project}/train.py:main", json.dumps(jobs)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    output = program.output(command, environment)
    lines = [json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK)]
    return dict(zip(PARTS, lines, strict=True))


def steps_of(reports: Any) -> list[int]:
    """Return the steps of a trial's reports."""
    return [line["step"] for line in reports["lines"] if "step" in line]


@pytest.mark.parametrize("name", [*METRIC, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_an_adapter_reports_where_it_is_wanted_is_parked_and_goes_on(
    make_program: Callable[..., Program], name: str
) -> None:
    parts = trained(make_program(name))
    metric = METRIC.get(name, "valid_loss")
    for how, until in PARTS.items():
        lines, ends = parts[how]["lines"], parts[how]["ends"]
        assert [end["end"] for end in ends] == ["stopped"] * len(until) + ["complete"], (how, ends)
        assert steps_of(parts[how]) == sorted({*DUE, *until}), how
        assert all(line["values"][metric] > 0 and line["checkpoint"] for line in lines), how
    if name == "huggingface":
        check_of_hugging_face(parts)
    if name == "lightning":
        check_of_lightning(parts)


def check_of_hugging_face(parts: dict[str, Any]) -> None:
    """What goes on from a Trainer's checkpoint repeats the numbers to the last bit; rates are those of the schedule."""
    assert {how: losses(parts, how, "eval_loss") for how in PARTS} == dict.fromkeys(
        PARTS, losses(parts, "whole", "eval_loss")
    )
    config = Config({"lr": 0.01}, COSINE, 0, STEPS)
    rates = losses(parts, "whole", "learning_rate")
    assert rates == pytest.approx([config.lr_at(step - 1) for step in DUE])


def check_of_lightning(parts: dict[str, Any]) -> None:
    """What goes on from the end of an epoch repeats the numbers; ratios are measured at the steps of the trial."""
    assert losses(parts, "at the end of one", "val_loss") == losses(parts, "whole", "val_loss")
    for how in PARTS:
        measured = [int(row[0]) for line in parts[how]["lines"] for row in line.get("ratios", ())]
        assert measured == sorted(set(measured)), how
        assert len(measured) >= 3, how


ALONE = {
    "huggingface": """
import torch
from train import TEXT
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from espalier.transformers import SweepCallback


def trained(*callbacks):
    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    args = TrainingArguments(
        output_dir="out", max_steps=110, logging_steps=20, eval_strategy="steps", eval_steps=40, save_strategy="no",
        use_cpu=True, disable_tqdm=True, report_to=[],
    )
    trainer = Trainer(model, args, train_dataset=TEXT[:40], eval_dataset=TEXT[40:], callbacks=list(callbacks))
    trainer.train()
    clock = ("per_second", "runtime")
    history = [{n: v for n, v in line.items() if not n.endswith(clock)} for line in trainer.state.log_history]
    return history, [value.tolist() for value in model.parameters()], torch.rand(()).item()
""",
    "lightning": """
import lightning as L
import torch
from model import Classifier, Spirals

from espalier.lightning import SweepCallback


class Trained(Classifier):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trained(*callbacks):
    L.seed_everything(0)
    model = Trained(8)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=110, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=list(callbacks),
    )
    trainer.fit(model, Spirals())
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return metrics, [value.tolist() for value in model.parameters()], torch.rand(()).item()
""",
}
COMPARED = """

import os
before = sorted(os.listdir())
assert trained() == trained(SweepCallback())
assert sorted({*os.listdir()} - {"out", "__pycache__"}) == sorted({*before} - {"__pycache__"})
print("the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_outside_a_sweep_an_adapter_changes_nothing(make_program: Callable[..., Program], name: str) -> None:
    program = make_program(name)
    (program.project / "alone.py").write_text(ALONE[name] + COMPARED)
    output = program.output([sys.executable, "alone.py"], {})
    assert output.splitlines()[-1] == "the same" and "step 100" not in output


def losses(parts: dict[str, Any], how: str, name: str) -> list[float]:
    """Return what a trial has reported under a name at the steps that every trial reports."""
    return [line["values"][name] for line in parts[how]["lines"] if line["step"] in DUE]
