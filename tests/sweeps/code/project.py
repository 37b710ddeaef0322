"""A project of a task with a sibling module, a package with relative imports, and files that it reads."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

TASK = """
import json
from pathlib import Path

import torch
from espalier.core.task import Data
from nets import SLOPE
from package.inner import BIAS

HERE = Path(__file__).parent

class Line:
    def __init__(self):
        self.gain = json.loads((HERE / "config.json").read_text())["gain"]
        self.large = float((HERE / "data" / "large.txt").read_text())
        self.offset = float(Path("offset.txt").read_text())

    def model(self):
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def data(self):
        x = torch.linspace(-1, 1, 64)[:, None]
        y = SLOPE * self.gain * x + BIAS + self.large + self.offset
        return Data((x[::2], y[::2]), (x[1::2], y[1::2]))
"""
FILES = {
    "mytask.py": TASK,
    "nets.py": "SLOPE = 3.0\n",
    "package/__init__.py": "",
    "package/inner.py": "from .beside import BIAS\n",
    "package/beside.py": "BIAS = 0.5\n",
    "config.json": '{"gain": 2.0}',
    ".gitignore": "data/\n",
    "data/large.txt": "0.25",
}
CODE = {"mytask.py", "nets.py", "package/__init__.py", "package/inner.py", "package/beside.py", "config.json"}
SPEC = {
    "name": "line",
    "task": "mytask.py:Line",
    "schedule": "constant",
    "budget": {"steps": 40, "batch_size": 8, "reports": 2},
    "space": {"lr_exponent": {"low": -2, "high": -1}},
    "trials": 6,
    "search": {"sampler": "random"},
    "references": False,
    "resources": {"cohorts": 1, "cpus": 1, "program": "plain"},
}


def make_project(folder: Path, files: Mapping[str, str] = FILES, git: bool = True) -> Path:
    """Write the files of a project into a folder; the folder that the task runs in has one more."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (folder.parent / "offset.txt").write_text("0")
    if git:
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder
