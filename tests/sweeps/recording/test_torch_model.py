"""A model of several tensors is loaded by MLflow in a process without its code, and says the same."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.models import Model
from torch import Tensor, nn

from espalier.sweeps.recording.server import save_torch_model
from espalier.sweeps.recording.torch_model import NotLoadable, input_names, positional


class Scaled(nn.Module):
    """tok (N, 5) and scale (N,), to N rows of three numbers. kind: how it returns them."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.embed, self.head = kind, nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, tok: Tensor, scale: Tensor) -> Any:
        hidden = self.embed(tok).mean(1) * scale[:, None]
        logits = self.head(hidden)
        if self.kind == "one":
            return logits
        return {"logits": logits, "hidden": hidden} if self.kind == "named" else (logits, [hidden, scale])[:2]


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x.mean(1)


def batch(rows: int) -> tuple[Tensor, Tensor]:
    return torch.arange(rows * 5).reshape(rows, 5) % 10, torch.linspace(0.5, 2.0, rows)


LOADS = """
import sys, mlflow, torch
model = mlflow.pytorch.load_model("model")
outputs = model(*torch.load("inputs.pt", weights_only=True))
torch.save(outputs, "outputs.pt")
print("espalier" in sys.modules)
"""


@pytest.mark.parametrize("kind", ["one", "named", "nested"])
def test_a_model_of_two_inputs_is_loaded_without_its_code(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, inputs = Scaled(kind).eval(), batch(7)
    save_torch_model(model, batch(2), Path("model"))
    torch.save(inputs, "inputs.pt")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LOADS], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["False"], done.stderr[-2000:]
    with torch.no_grad():
        torch.testing.assert_close(torch.load("outputs.pt", weights_only=True), model(*inputs), rtol=0, atol=0)


def test_its_signature_and_its_example_name_what_it_takes_and_returns(tmp_path: Path) -> None:
    tok, scale = batch(2)
    save_torch_model(Scaled("named").eval(), (tok, scale), tmp_path / "model")
    model = Model.load(str(tmp_path / "model"))
    signature: Any = model.signature
    assert [(each.name, each.shape) for each in signature.inputs] == [("tok", (-1, 5)), ("scale", (-1,))]
    assert [(each.name, each.shape) for each in signature.outputs] == [("logits", (-1, 3)), ("hidden", (-1, 4))]
    example: Any = model.load_input_example(str(tmp_path / "model"))
    assert torch.from_numpy(example["tok"]).equal(tok) and torch.from_numpy(example["scale"]).equal(scale)


def test_a_model_of_one_input_may_return_several(tmp_path: Path) -> None:
    save_torch_model(Split(), [torch.ones(2, 3)], tmp_path / "model")
    signature: Any = Model.load(str(tmp_path / "model")).signature
    assert [each.shape for each in signature.inputs] == [(-1, 3)]
    assert [(each.name, each.shape) for each in signature.outputs] == [("output_0", (-1, 3)), ("output_1", (-1,))]


def test_tensors_by_name_are_taken_by_position() -> None:
    tok, scale = batch(2)
    assert positional(Scaled("one"), (tok,), {"scale": scale})[1].equal(scale)
    assert input_names(Scaled("one"), 3) == ["tok", "scale", "input_2"]


def test_what_mlflow_cannot_load_has_the_right_reason(tmp_path: Path) -> None:
    class Other(nn.Module):
        def forward(self, x: Tensor, *, factor: Tensor | None = None, steps: int = 1) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(NotLoadable, match="takes int, and MLflow gives tensors alone"):
        positional(Scaled("one"), (batch(2)[0], 3), {})
    with pytest.raises(NotLoadable, match="takes factor by name"):
        positional(Other(), (torch.ones(2),), {"factor": torch.ones(1)})
    with pytest.raises(NotLoadable, match=r"torch\.export fails: \w*GuardOnData"):
        save_torch_model(Other(), [torch.ones(2)], tmp_path / "model")
