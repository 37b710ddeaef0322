"""A small classifier of points in the plane, and its data."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Spirals(L.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage=None):
        generator = torch.Generator().manual_seed(0)
        arm = torch.randint(3, (400,), generator=generator)
        radius = torch.rand(400, generator=generator)
        angle = 4 * radius + 2.1 * arm + 0.2 * torch.randn(400, generator=generator)
        points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        self.train, self.valid = TensorDataset(points[:320], arm[:320]), TensorDataset(points[320:], arm[320:])

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.valid, 80)


class Classifier(L.LightningModule):
    def __init__(self, width: int = 32, dropout: float = 0.0):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 3))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        scores = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(scores, batch[1]))
        self.log("val_acc", (scores.argmax(1) == batch[1]).float().mean())
