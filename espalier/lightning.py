# pyright: basic
# Without its package pyright takes this file for that, which has the same name.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
"""Lightning: a callback with which a Trainer trains a trial. Needs `lightning` or `pytorch_lightning`, 2.5 or newer.

    callback = SweepCallback(report)
    trainer = Trainer(max_steps=config.steps, callbacks=[callback])
    trainer.fit(model, data, ckpt_path=callback.ckpt_path)

and in the module's `configure_optimizers`: `return with_schedule(optimizer, config)`.
"""

import sys
from typing import Any

from espalier.core.foreign.config import Config
from espalier.core.foreign.report import Report
from espalier.core.foreign.validations import Validations
from espalier.core.measures.ratios import RatioMeter

if "pytorch_lightning" in sys.modules:  # the same code under two names: take the one that the program has
    from pytorch_lightning import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
    except ModuleNotFoundError:
        from pytorch_lightning import Callback, LightningModule, Trainer

CHECKPOINT = "lightning.ckpt"
NEVER = sys.maxsize  # batches between validations


class SweepCallback(Callback):
    """Validates where the search wants it, saves a checkpoint, reports what was logged, and ends the trial if asked.

    Every number that the module has logged by then is reported under its name, after `trainer.global_step` steps.
    A trial that goes on from a checkpoint at the end of an epoch repeats its numbers. Of one in the middle Lightning
    does not know which batches are left, and begins a new pass over the data.
    """

    def __init__(self, report: Report | None = None, ratios_every: int = 0):
        """report: of the training function, None in a script. ratios_every: steps between ratios of updates, 0: none.

        They are measured of the first optimizer.
        """
        self.trial = Validations(report)
        self.ratios_every, self.meter = ratios_every, None
        self.start = self.reported = self.trial.report.start

    def state_dict(self) -> dict[str, Any]:
        """Return the random generators, which Lightning's checkpoints lack."""
        return self.trial.generators

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the random generators to where the checkpoint had them."""
        self.trial.generators = state_dict
        self.trial.undo_draws()

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint from which the trial goes on, for `trainer.fit`; None for a beginning."""
        return self.trial.resume(CHECKPOINT)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure ratios."""
        if self.ratios_every:
            self.meter = RatioMeter(pl_module, trainer.optimizers[0], self.ratios_every)
            self.meter.step = self.start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the generators once more: Lightning has begun a pass over the data that it does not use."""
        if trainer.global_step == self.start:
            self.trial.undo_draws()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Have the trainer validate now, or not; without a sweep it does as it was told."""
        if not self.trial.report.alone:
            # asked before the validation's loader draws its first batch
            wanted = self.trial.wanted(trainer.global_step, self.reported)
            trainer.val_check_batch = 1 if wanted else NEVER

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo what the validation has drawn, save a checkpoint, report. Raises StopTrial if the trial is to end."""
        self.trial.undo_draws()
        report = self.trial.report
        if report.alone or trainer.sanity_checking or trainer.global_step <= self.reported:
            return
        self.reported = trainer.global_step
        trainer.save_checkpoint(report.checkpoint / CHECKPOINT)
        metrics: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        report(trainer.global_step, ratios=self.meter, **metrics)


def with_schedule(optimizer: Any, config: Config) -> dict[str, Any]:
    """Return what `configure_optimizers` returns for an optimizer that follows the trial's schedule."""
    scheduler = {"scheduler": config.torch_scheduler(optimizer), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}
