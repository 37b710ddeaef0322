"""Handwritten digits, 8 x 8 pixels (scikit-learn's 1,797 `load_digits`), by a perceptron or a small convolutional net.

B = examples, P = 64 pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.errors import BadInput
from espalier.core.task import Batch, Data, Task

CLASSES, SIDE = 10, 8


class Digits(Task):
    """A multilayer perceptron: `layers` hidden layers with ReLU, optionally with batch normalisation."""

    def __init__(self, hidden: int = 64, layers: int = 1, batchnorm: bool = False, validation: int = 360):
        if min(hidden, layers) < 1:
            raise BadInput(f"task_options: hidden and layers are at least 1; {hidden} and {layers} arrived")
        if not 0 < validation < 1797:
            raise BadInput(f"task_options.validation: {validation} of 1,797 digits; 1 to 1,796 work")
        self.hidden, self.layers, self.batchnorm, self.validation = hidden, layers, batchnorm, validation

    def model(self) -> nn.Module:
        parts: list[nn.Module] = []
        width = SIDE * SIDE
        for _ in range(self.layers):
            parts += [nn.Linear(width, self.hidden), *([nn.BatchNorm1d(self.hidden)] if self.batchnorm else [])]
            parts.append(nn.ReLU())
            width = self.hidden
        return nn.Sequential(*parts, nn.Linear(width, CLASSES))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits_BC = model(batch[0])
        right_B = (logits_BC.argmax(-1) == batch[1]).float()
        return {"loss": F.cross_entropy(logits_BC, batch[1]), "accuracy": right_B.mean()}

    def data(self) -> Data:
        """Return pixels (B, 64) between 0 and 1, and the digits. The split is random but always the same."""
        from sklearn.datasets import load_digits

        pixels, digits = load_digits(return_X_y=True)
        place_N = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
        x_NP = torch.tensor(np.asarray(pixels) / 16.0, dtype=torch.float32)[place_N]
        y_N = torch.tensor(np.asarray(digits), dtype=torch.int64)[place_N]
        v = self.validation
        return Data((x_NP[v:], y_N[v:]), (x_NP[:v], y_N[:v]))


class DigitsConv(Digits):
    """Two 3 x 3 convolutions with ReLU and pooling, and a linear layer."""

    def __init__(self, channels: int = 16, batchnorm: bool = False, validation: int = 360):
        super().__init__(batchnorm=batchnorm, validation=validation)
        if channels < 1:
            raise BadInput(f"task_options.channels: {channels}; at least 1")
        self.channels = channels

    def model(self) -> nn.Module:
        parts: list[nn.Module] = [nn.Unflatten(1, (1, SIDE, SIDE))]
        wide = 1
        for channels in (self.channels, 2 * self.channels):
            norm = [nn.BatchNorm2d(channels)] if self.batchnorm else []
            parts += [nn.Conv2d(wide, channels, 3, padding=1), *norm, nn.ReLU(), nn.MaxPool2d(2)]
            wide = channels
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(wide * (SIDE // 4) ** 2, CLASSES))
