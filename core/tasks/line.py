"""A straight line through a hundred noisy points: the smallest nn.Module with a buffer.

B = examples.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.errors import BadInput
from espalier.core.task import Batch, Data, Task

SLOPE, INTERCEPT = 2.0, 1.0


class CentredLine(nn.Module):
    """w * (x - centre) + b, from w = b = 0: two parameters, and a centre in a buffer.

    In training the centre is the mean of the batch, and the running mean moves a tenth of the way to it. In
    evaluation the centre is the running mean. So every evaluation shows whether a checkpoint restored the buffer.
    """

    centre: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.zeros(()))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x_B: Tensor) -> Tensor:
        if not self.training:
            return self.w * (x_B - self.centre) + self.b
        here = x_B.mean()
        with torch.no_grad():
            self.centre.copy_(0.9 * self.centre + 0.1 * here)
            self.batches.add_(1)
        return self.w * (x_B - here) + self.b


class Line(Task):
    """y = 2 x + 1 and normal noise.

    points: how many; four fifths of them are for training. noise: its standard deviation.
    """

    def __init__(self, points: int = 100, noise: float = 0.1):
        if not isinstance(points, int) or points < 5:
            raise BadInput(f"task_options.points: {points!r} is no whole number above 4")
        if not noise >= 0:
            raise BadInput(f"task_options.noise: {noise!r} is negative")
        self.points, self.noise = points, noise

    def model(self) -> nn.Module:
        return CentredLine()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        x_B, y_B = batch
        return F.mse_loss(model(x_B), y_B)

    def data(self) -> Data:
        """Return points with x in [0, 1), the same at every call."""
        draw = torch.Generator().manual_seed(42)
        x_N = torch.rand(self.points, generator=draw)
        y_N = SLOPE * x_N + INTERCEPT + self.noise * torch.randn(self.points, generator=draw)
        n = self.points * 4 // 5
        return Data((x_N[:n], y_N[:n]), (x_N[n:], y_N[n:]))
