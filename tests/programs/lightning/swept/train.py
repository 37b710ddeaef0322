import lightning as L
import torch
from model import Classifier, Spirals

from espalier.lightning import SweepCallback, with_schedule


class Trained(Classifier):
    def __init__(self, config):
        super().__init__(config["width"])
        self.config = config

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), self.config["lr"], weight_decay=self.config["weight_decay"])
        return with_schedule(optimizer, self.config)


def main(config, report):
    L.seed_everything(config["seed"])
    callback = SweepCallback(report, ratios_every=20)
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        max_steps=config["steps"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Trained(config), Spirals(), ckpt_path=callback.ckpt_path)
