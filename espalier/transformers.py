# pyright: basic
# Without its package pyright takes this file for that, which has the same name.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# pyright: reportArgumentType=false
"""Hugging Face: a callback and arguments with which a Trainer trains a trial. Needs `transformers`, 5 or newer.

    args = TrainingArguments(**arguments(config, report), per_device_eval_batch_size=64)
    trainer = Trainer(model, args, train_dataset=..., eval_dataset=..., callbacks=[SweepCallback(report)])
    follow_schedule(trainer, config)
    trainer.train(resume_from_checkpoint=resume_folder(report))

The loss of a validation is reported as `eval_loss`, that of training as `train_loss`.
"""

import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch.distributed
from transformers import Trainer, TrainerCallback, TrainingArguments

from espalier.core.foreign.config import Config
from espalier.core.foreign.report import Report
from espalier.core.foreign.validations import Validations

CHECKPOINT = "trainer"
CLOCK = ("_runtime", "_per_second")  # no rerun repeats them
NAMES = {  # of hyperparameters, and what the Trainer calls them
    "lr": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "steps": "max_steps",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "epsilon": "adam_epsilon",
    "accumulation": "gradient_accumulation_steps",
    "grad_clip": "max_grad_norm",
    "label_smoothing": "label_smoothing_factor",
}


def arguments(config: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Return a trial's hyperparameters as TrainingArguments takes them; those that it has none for are left out.

    A hyperparameter of one of TrainingArguments' own names is taken as it is. The checkpoints are the sweep's: it says
    when to validate and to save, and keeps what it needs.
    """
    known = {field.name for field in fields(TrainingArguments) if field.init}
    named = {NAMES.get(name, name): value for name, value in config.items() if value is not None}
    # in a sweep the callback asks for each validation and checkpoint
    rare = {} if report.alone else {"eval_strategy": "no", "save_strategy": "no"}
    return {"output_dir": str(report.checkpoint), **rare, **{n: v for n, v in named.items() if n in known}}


def resume_folder(report: Report) -> str | None:
    """Return the checkpoint from which the trial goes on, for `trainer.train`; None for a beginning."""
    return Validations(report).resume(CHECKPOINT)


def follow_schedule(trainer: Trainer, config: Config) -> None:
    """Have a Trainer take its rates from the trial's schedule, warm-up included, in place of its own."""
    trainer.lr_scheduler = config.torch_scheduler(trainer.create_optimizer())


class SweepCallback(TrainerCallback):
    """Validates and saves where the search wants it, reports what was measured, and ends the trial if asked."""

    def __init__(self, report: Report | None = None):
        """report: of the training function, None in a script."""
        self.trial = Validations(report)
        self.metrics: dict[str, Any] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a validation and a checkpoint."""
        if self.trial.wanted(state.global_step):
            control.should_log = control.should_evaluate = control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Have the validation leave no trace in the random generators."""
        self.trial.undo_draws()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Remember what was measured."""
        measured = {name: value for name, value in logs.items() if not name.endswith(CLOCK)}
        self.metrics |= {"train_loss" if name == "loss" else name: value for name, value in measured.items()}

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report, with the checkpoint that the Trainer has written. Raises StopTrial if the trial is to end."""
        report = self.trial.report
        if report.alone or not report.due(state.global_step):
            return
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()  # every rank has written its part
        if state.is_world_process_zero:
            saved = Path(args.output_dir, f"checkpoint-{state.global_step}")
            shutil.move(saved, report.checkpoint / CHECKPOINT)
        report(state.global_step, **self.metrics)
