import lightning as L
import torch
from model import Classifier, Spirals


class Trained(Classifier):
    def __init__(self, config):
        super().__init__(config["width"])
        self.config = config

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), self.config["lr"], weight_decay=self.config["weight_decay"])
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config["steps"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main(config):
    L.seed_everything(config["seed"])
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=config["steps"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Trained(config), Spirals())


if __name__ == "__main__":
    main({"lr": 1e-2, "weight_decay": 0.01, "width": 32, "steps": 120, "seed": 0})
