"""The program of machine code: when it is chosen, how it validates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.optimizers import SGD
from espalier.core.programs.choose import NATIVE_FROM, choose
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.task import Batch, Data
from tests.core.native.beside_torch import numbers
from tests.core.programs.test_program import Small, Sums


class Listed(Small):
    """Measures by means that cannot be traced."""

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Any]:
        return {"loss": self.loss(model, batch), "first": float(batch[0][0, 0].item())}


def test_machine_code_is_chosen_when_it_pays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task, odd = Small(), Small(Sums)
    batch = tuple(tensor[:7] for tensor in task.data().train)
    assert choose(task, batch, 8, work=NATIVE_FROM) == ("native", f"{NATIVE_FROM:,} steps of trials ahead")
    assert choose(task, batch, 1, work=NATIVE_FROM)[0] == "native", "one lane is no exception"
    assert choose(task, batch, 8, work=NATIVE_FROM - 1)[0] == "vmap"
    assert choose(task, batch, 1, work=NATIVE_FROM - 1)[0] == "plain"
    assert choose(task, batch, 8, "native") == choose(task, batch, 1, "native") == ("native", "as the spec says")
    assert choose(task, batch, 8, "native", device="cuda")[0] == "captured"
    for lanes, name in ((8, "vmap"), (1, "plain")):
        for wanted in ("auto", "native"):
            found, why = choose(odd, batch, lanes, wanted, NATIVE_FROM)
            assert found == name and "no machine code" in why and "cumsum" in why
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose(task, batch, 8, work=NATIVE_FROM) == (
        "vmap",
        "many lanes; there is no machine code for it (NotNative: there is no C compiler here: install gcc)",
    )


def test_a_validation_that_cannot_be_traced_is_torchs_own() -> None:
    task = Listed()
    program, valid = NativeProgram(task, SGD()), task.data().valid
    row = program.fresh_row(1)
    model = program.module(row)
    for _ in range(2):
        found = program.evaluate(row, valid)
        assert found["first"] == pytest.approx(valid[0][0, 0].item())
        assert found["loss"] == pytest.approx(task.loss(model, valid).item(), rel=1e-6)


def test_a_label_that_is_no_class_is_an_error() -> None:
    class Wrong(Small):
        def loss(self, model: nn.Module, batch: Batch) -> Tensor:
            return F.cross_entropy(model(batch[0]).expand(-1, 3), batch[1])

        def data(self) -> Data:
            x_NF = numbers(41, 3)
            y_N = torch.arange(41) % 3
            y_N[29] = 7
            return Data((x_NF[:30], y_N[:30]), (x_NF[30:], y_N[30:]))

    task = Wrong()
    program, train = NativeProgram(task, SGD()), task.data().train
    rows = {name: tensor[None] for name, tensor in program.fresh_row(0).items()}
    assert program.why_not(train, 8) is None
    loss_1, _ = program.step(rows, train, torch.arange(22, 30)[None], torch.zeros(3, 1, 1), (0, 0))
    assert loss_1.isnan().all()
    assert isinstance(program.failed[0], IndexError) and "out of bounds" in str(program.failed[0])
