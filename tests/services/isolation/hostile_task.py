"""A line to fit, and a thief (see thief.py, which lies beside it in the archive)."""

import json

import torch
from thief import steal

from espalier.core.task import Batch, Data, Task


class Hostile(Task):
    """Trains as any other, and prints what it could steal."""

    def __init__(self, home: str = "/"):
        self.home = home

    def model(self):
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch: Batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def data(self) -> Data:
        print("stolen:", json.dumps(steal(self.home)), flush=True)
        x = torch.linspace(-1, 1, 64)[:, None]
        return Data(train=(x, 3 * x), valid=(x, 3 * x))
