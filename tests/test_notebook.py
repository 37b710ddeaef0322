"""A real notebook kernel: a task that stands in its cells, the progress below them, and its stop button."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent

CELLS = """
import numpy as np
import torch
from torch import nn
import espalier as es

X = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
WIDTHS = {"width": 8}
"""
TASK = """
%matplotlib inline
class Line(es.Task):
    def __init__(self, width=WIDTHS["width"]):
        self.width = width

    def model(self):
        return nn.Sequential(nn.Linear(4, self.width), nn.Tanh(), nn.Linear(self.width, 1))

    def loss(self, model, batch):
        return ((model(batch[0])[:, 0] - batch[1]) ** 2).mean()

    def data(self):
        x = torch.from_numpy(X)
        return es.Data((x[:150], x[:150].sum(1)), (x[150:], x[150:].sum(1)))
"""
SPACE = 'space={"lr_exponent": {"low": -3, "high": -1}}, resources={"cohorts": 1}'


class Kernel:
    """A kernel, and what came of running a cell in it."""

    def __init__(self, manager: KernelManager, client: Any):
        self.manager, self.client = manager, client
        self.shown: list[dict[str, Any]] = []

    def begin(self, code: str) -> str:
        self.shown = []
        return self.client.execute(code)

    def wait(self, cell: str, until: str = "", patience_s: float = 120.0) -> list[dict[str, Any]]:
        """Return the messages of a cell, when it has ended or shown some text."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=patience_s)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "error":
                raise AssertionError("\n".join(content["traceback"]))
            self.shown.append(content)
            if content.get("execution_state") == "idle" or (until and until in str(content.get("data"))):
                return self.shown
        raise AssertionError(f"nothing came of {cell}")

    def run(self, code: str) -> str:
        """Run a cell; return the text of its result."""
        messages = self.wait(self.begin(code))
        return "".join(m["data"].get("text/plain", "") for m in messages if "execution_count" in m and "data" in m)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    environment = {k: v for k, v in os.environ.items() if k != "SWEEP_HOME"}
    folder = tmp_path_factory.mktemp("notebook")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=environment)
    try:
        made = Kernel(manager, client)
        made.run(CELLS)
        made.run(TASK)
        yield made
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_a_task_of_a_notebook_is_swept_and_trains_again_to_the_same_bits(kernel: Kernel) -> None:
    cell = kernel.begin(f"result = es.sweep(Line, trials=4, budget={{'steps': 60}}, {SPACE})")
    messages = kernel.wait(cell)
    html = [content["data"]["text/html"] for content in messages if "text/html" in content.get("data", {})]
    assert not any("wait" in content or content.get("name") == "stderr" for content in messages)  # nothing of Ray's
    assert "<progress value='0' max='4'" in html[0] and "<progress value='4' max='4'" in html[-1]
    assert (
        kernel.run("result.state, result.table.shape[0], es.rerun(result.best).reproduced") == "('finished', 4, True)"
    )
    assert kernel.run("result").startswith("<Result line-")


@pytest.mark.slow
def test_a_cell_that_is_run_again_with_other_code_is_another_task(kernel: Kernel) -> None:
    first = kernel.run("es.check(Line, budget={'steps': 60}).passed; result.spec.task")
    kernel.run(TASK.replace("nn.Tanh()", "nn.ReLU()"))
    assert kernel.run(f"es.sweep(Line, trials=2, budget={{'steps': 20}}, {SPACE}).spec.task") != first


@pytest.mark.slow
def test_the_stop_button_ends_a_sweep_which_goes_on_later(kernel: Kernel, tmp_path: Path) -> None:
    budget = "{'steps': 40_000_000, 'reports': 400}"
    cell = kernel.begin(f"long = es.sweep(Line, trials=3, budget={budget}, id='long', {SPACE})")
    kernel.wait(cell, until="lane-steps/s")
    kernel.manager.interrupt_kernel()
    kernel.wait(cell, patience_s=60.0)
    assert kernel.run("long.state, es.open('long').state") == "('interrupted', 'interrupted')"
    assert kernel.run("1 + 1") == "2"
    cell = kernel.begin("more = long.resume()")
    kernel.wait(cell, until="lane-steps/s")
    kernel.manager.interrupt_kernel()
    kernel.wait(cell, patience_s=60.0)
    assert kernel.run("more.id, more.state") == "('long', 'interrupted')"


TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_tutorial_shows_what_each_of_its_cells_gave() -> None:
    cells = code_of(nbformat.read(TUTORIAL, 4))
    shown = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in shown)
    assert sum("image/png" in output.get("data", {}) for output in shown) == 4  # who reads it elsewhere sees figures
    assert [number for number, cell in enumerate(cells) if not cell.outputs] == [0], "only the first cell gives nothing"
    assert str(Path.home()) not in (text := TUTORIAL.read_text()) and "/tmp/" not in text


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(TUTORIAL, 4)
    for cell in code_of(notebook):
        cell.outputs = []
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env={k: v for k, v in os.environ.items() if k != "SWEEP_HOME"})
    said = "".join(output.get("text", "") for cell in code_of(notebook) for output in cell.outputs)
    assert "bit for bit" in said and "27 trials before" in said
    assert not any(o.get("name") == "stderr" for cell in code_of(notebook) for o in cell.outputs)
    assert (tmp_path / "moons.html").stat().st_size < 3 * 2**20
