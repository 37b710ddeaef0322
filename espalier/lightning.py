# pyright: basic
# Without its package pyright takes this file for that, which has the same name.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
"""Lightning: a callback with which a Trainer trains a trial. Needs `lightning` or `pytorch_lightning`, 2.5 or newer.

    callback = SweepCallback(report)
    trainer = Trainer(max_steps=config.steps, callbacks=[callback])
    trainer.fit(model, data, ckpt_path=callback.ckpt_path)

and in the module's `configure_optimizers`: `return with_schedule(optimizer, config)`.
"""

import os
import sys
from typing import Any

from espalier.core.foreign.config import Config
from espalier.core.foreign.folder import VARIABLE
from espalier.core.foreign.generators import set_shared_states, shared_states
from espalier.core.foreign.report import Report
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
        self.report = report or Report.of_this_process()
        self.ratios_every, self.meter = ratios_every, None
        self.reported, self.generators = self.report.start, dict[str, Any]()

    def state_dict(self) -> dict[str, Any]:
        """Return the random generators, which Lightning's checkpoints lack."""
        return self.generators

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the random generators to where the checkpoint had them."""
        self.generators = state_dict
        set_shared_states(state_dict)

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint from which the trial goes on, for `trainer.fit`; None for a beginning."""
        return str(self.report.resume / CHECKPOINT) if self.report.resume else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure ratios."""
        if self.ratios_every:
            self.meter = RatioMeter(pl_module, trainer.optimizers[0], self.ratios_every)
            self.meter.step = self.report.start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the generators once more: Lightning has begun a pass over the data that it does not use."""
        if self.generators and trainer.global_step == self.report.start:
            set_shared_states(self.generators)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Have the trainer validate now, or not; without a sweep it does as it was told."""
        if VARIABLE in os.environ:
            wanted = trainer.global_step > self.reported and self.report.due(trainer.global_step)
            trainer.val_check_batch = 1 if wanted else NEVER
            # before the validation's loader is asked for its first batch
            self.generators = shared_states() if wanted else {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo what the validation has drawn, save a checkpoint, report. Raises StopTrial if the trial is to end."""
        if self.generators:
            set_shared_states(self.generators)
        if trainer.sanity_checking or trainer.global_step <= self.reported:
            return
        self.reported = trainer.global_step
        trainer.save_checkpoint(self.report.checkpoint / CHECKPOINT)
        metrics: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.report(trainer.global_step, ratios=self.meter, **metrics)


def with_schedule(optimizer: Any, config: Config) -> dict[str, Any]:
    """Return what `configure_optimizers` returns for an optimizer that follows the trial's schedule."""
    scheduler = {"scheduler": config.torch_scheduler(optimizer), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}
