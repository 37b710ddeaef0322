"""A sound classifier, of which a test spoils one part, and what a check-up finds of it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.checks.checkup import check_up
from espalier.core.checks.findings import Checkup, Finding
from espalier.core.optimizers import SGD
from espalier.core.task import Batch, Data, Task
from espalier.core.training.trial import Hyperparameters, Structure


def checkup(task: Task, steps: int = 200, batch_size: int = 32) -> Checkup:
    structure = Structure(SGD(momentum=False), "constant", batch_size)
    return check_up(task, structure, Hyperparameters(0.1), steps, [-3.0, -1.5, 0.0])


def of(found: Checkup, what: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.what == what]


def levels(found: Checkup) -> set[str]:
    return {finding.level for finding in found.findings}


class Ten(Task):
    """A sound classifier of ten classes, of which each test spoils one part."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 10))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def data(self) -> Data:
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(640, 6, generator=draw)
        y = (x @ torch.randn(6, 10, generator=draw)).argmax(1)
        return Data((x[:500], y[:500]), (x[500:], y[500:]))
