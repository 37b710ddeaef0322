import argparse

import lightning as L
import torch
from lightning.pytorch.loggers import MLFlowLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--steps", type=int, default=60)
args = parser.parse_args()


class Line(L.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def step(self, batch, name):
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, batch_idx):
        self.step(batch, "val_loss")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.lr)


L.seed_everything(0)
x = torch.linspace(-3, 3, 160)[:, None]
data = DataLoader(TensorDataset(x, x.sin()), 16)
trainer = L.Trainer(
    accelerator="cpu",
    max_steps=args.steps,
    logger=MLFlowLogger(experiment_name="mine"),
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(Line(args.lr), data, data)
