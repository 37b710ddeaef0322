import argparse

import mlflow
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--epochs", type=int, default=6)
args = parser.parse_args()


class Line(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr = lr
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
        return torch.optim.SGD(self.parameters(), self.lr)


mlflow.autolog(log_models=False)
pl.seed_everything(0)
x = torch.linspace(-3, 3, 160)[:, None]
data = DataLoader(TensorDataset(x, x.sin()), 16)
trainer = pl.Trainer(
    accelerator="cpu", max_epochs=args.epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False
)
trainer.fit(Line(args.lr), data, data)
