"""The thermometer: a line from unknown units to Celsius (Stevens and others, Deep Learning with PyTorch, ch. 5).

Eleven readings, the model w * t + b from w = 1, b = 0, mean squared error, the whole data each step. The loss is a
quadratic, so the exact stability limit 2 / lambda_max of gradient descent is known.
"""

import torch
from torch import Tensor, nn

from espalier.core.errors import BadInput
from espalier.core.task import Batch, Data, Task

CELSIUS = (0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0)
UNKNOWN = (35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4)


class Line(nn.Module):
    """w * t + b."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, t: Tensor) -> Tensor:
        return self.w * t + self.b


class Thermometer(Task):
    """scale: the factor of the readings; 0.1 brings both parameters to the same scale, 1 leaves the readings raw."""

    def __init__(self, scale: float = 0.1):
        if not scale > 0:
            raise BadInput(f"task_options.scale: {scale} is not positive; 0.1 is the book's, 1 leaves the readings raw")
        self.scale = scale

    def model(self) -> nn.Module:
        return Line()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        unknown, celsius = batch
        return ((model(unknown) - celsius) ** 2).mean()

    def data(self) -> Data:
        """Return all readings for both training and validation: eleven are too few to split."""
        readings = (torch.tensor(UNKNOWN) * self.scale, torch.tensor(CELSIUS))
        return Data(readings, readings)
