"""A person's project, with packages that are called as this program's folders are, and kinds of its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SMALL = {"trials": 4, "budget": {"steps": 60}, "space": {"lr_exponent": {"low": -3, "high": -1}}}
FILES = {
    "core/__init__": "",
    "core/task": "WHO = 'a person'",
    "core/models": "from torch import nn\nfrom utils.sizes import WIDTH\n"
    "def net():\n    return nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))\n",
    "utils/sizes": "WIDTH = 8",
    "services/losses": "def squared(a, b):\n    return ((a - b) ** 2).mean()\n",
    "sweeps/config": "EXAMPLES = 200",
    "core/mine": """
import torch
import espalier as es
from core.models import net
from core.task import WHO
import services.losses
from sweeps import config


class Line(es.Task):
    who = WHO

    def model(self):
        return net()

    def loss(self, model, batch):
        return services.losses.squared(model(batch[0])[:, 0], batch[1])

    def data(self):
        x = torch.randn(config.EXAMPLES, 4, generator=torch.Generator().manual_seed(0))
        return es.Data((x[:150], x[:150].sum(1)), (x[150:], x[150:].sum(1)))
""",
    "top": "from core.mine import Line as Base\n\n\nclass Line(Base):\n    pass\n",
    "kinds": """
import math
from dataclasses import dataclass

import espalier as es
from core.task import WHO
from espalier.core.programs import steps
from optuna.samplers import QMCSampler

assert WHO == "a person"


class Sawtooth(es.Schedule):
    numbers = (es.Number("teeth", 3, 1, 100, "how many times the rate falls"),)

    def rate(self, u, teeth):
        return 1 - math.sin(u * teeth) ** 2 / 2


class Trend(es.Score):
    def values(self, rung):
        loss = rung.values["valid_loss"]
        earlier = [values["valid_loss"] for step, values in rung.reports if step < rung.step]
        return {"valid_loss": 2 * loss - earlier[-1] if earlier else loss}


@dataclass(frozen=True)
class Lion(es.Optimizer):
    numbers = (es.Number("beta", 0.9, 0.0, 1.0, "how much of the mean is kept", below=True),)
    slots = ("mean",)

    def update(self, theta_KP, grad_KP, slots, c_CK1):
        lr_K1, beta_K1 = c_CK1
        mean_KP = slots["mean"]
        mean_KP.mul_(beta_K1).add_(grad_KP * (1 - beta_K1))
        theta_KP.sub_(mean_KP.sign() * lr_K1)


class Halton(es.Sampler):

    def make(self, domains, seed, draw_seed):
        return QMCSampler(qmc_type="halton", seed=seed, scramble=True, warn_independent_sampling=False)


class LaneAfterLane(es.Program):
    def step(self, rows, train, index_NB, c_CN1, stream, keep=False):
        def differentiate(rows, batch, clock_N):
            return steps.autograd_by_lane(self.functions, rows, batch, stream, clock_N)

        clocked = self.functions.clocked
        return steps.take_step(differentiate, self.optimizer, clocked, rows, train, index_NB, c_CN1, keep)
""",
}
SPECS: Mapping[str, Mapping[str, Any]] = {
    "file": {"task": "top.py:Line"},
    "module": {"task": "core.mine:Line"},
    "kinds": {
        "task": "top.py:Line",
        "schedule": "kinds.py:Sawtooth",
        "optimizer": "kinds.py:Lion",
        "search": {"sampler": "kinds.py:Halton", "seed": 3},
        "resources": {"program": "kinds.py:LaneAfterLane"},
        "stopping": {"score": "kinds.py:Trend", "rungs": [0.5], "least": 2},
        "space": {"lr_exponent": {"low": -3, "high": -1}, "teeth": {"low": 2, "high": 9}, "beta": [0.5, 0.9]},
    },
}


def write_project(folder: Path) -> Path:
    """Write the project's files and its specs into a folder, and return that."""
    for name, text in FILES.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for name, fields in SPECS.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"name": name} | SMALL | dict(fields)))
    return folder
