"""Wrong arguments of the public calls: one sentence with the argument, what arrived, and what would work."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import espalier as es
from espalier.result import Result
from espalier.sweeps.spec.spec import make_spec
from tests.sweeps.made import THERMOMETER, row, spec_with

MODEL = torch.nn.Linear(2, 2)
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), lr=0.1)
X = torch.ones(3, 2)
LINE = {"name": "line", "task": "line"}


def result() -> Result:
    none: Any = None
    return Result("a", spec_with(), "finished", [row(0, 1.0)], "", none)


def scheduler(**fields: Any) -> object:
    return es.torch_scheduler({"kind": "step", "steps": 4} | fields, OPTIMIZER)


nothing: Any = None
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "open a number": (lambda: es.open(3), "sweep: 3 arrived; give the id or the name of a sweep"),
    "open None": (lambda: es.open(nothing), "sweep: None arrived"),
    "open nothing": (lambda: es.open(""), "sweep: '' arrived"),
    "a home": (lambda: es.sweeps(home=3), "home: 3 arrived; give a folder"),
    "a server": (lambda: es.sweeps(server=3), "server: 3 arrived"),
    "an address": (lambda: es.sweep("line", address=3), "address: 3 arrived"),
    "an id": (lambda: es.sweep("line", id=3), "id: 3 arrived"),
    "progress": (lambda: es.sweep("line", progress="no"), "progress: 'no' arrived; give True or False"),
    "no spec": (lambda: es.sweep(None), "spec: None arrived; a sweep is described by"),
    "no task": (lambda: es.sweep("line", task=3), "task: 3 has no model()"),
    "best": (lambda: es.rerun(nothing), "best: None arrived; give the path of a best file"),
    "a mapping as best": (lambda: es.rerun({}), "best: {} arrived"),
    "lsuv": (lambda: es.check("line", lsuv=3), "lsuv: 3 arrived"),
    "seeds": (lambda: es.lr_range("line", seeds=0), "seeds: 0 arrived; give a whole number of at least 1"),
    "steps": (lambda: es.lr_range("line", steps=2.5), "steps: 2.5 arrived"),
    "low": (lambda: es.lr_range("line", low=math.nan), "low: nan arrived; give a finite number"),
    "high": (lambda: es.lr_range("line", high="a"), "high: 'a' arrived"),
    "a metric": (lambda: result().curves(3), "metric: 3 arrived; give the name of a metric"),
    "records": (lambda: result().delete(records=1), "records: 1 arrived"),
    "a path": (lambda: es.BestTrial(0, 1.0, {}, "", "", "").save(nothing), "path: None arrived"),
    "a config": (lambda: es.torch_scheduler("cosine", OPTIMIZER), "config: 'cosine' arrived; give a mapping with kind"),
    "an optimizer": (lambda: es.torch_scheduler({"kind": "cosine", "steps": 3}, nothing), "optimizer: None arrived"),
    "last_step": (lambda: es.torch_scheduler({"kind": "cosine", "steps": 3}, OPTIMIZER, "a"), "last_step: 'a' arrived"),
    "a kind": (lambda: scheduler(kind=3), "schedule.kind: 3 arrived; give the name of a schedule"),
    "steps of a schedule": (lambda: scheduler(steps=math.nan), "schedule.steps: nan arrived"),
    "a text as lr": (lambda: scheduler(lr="x"), "schedule.lr: 'x' arrived; give a finite number above 0"),
    "lr nan": (lambda: scheduler(lr=math.nan), "schedule.lr: nan arrived"),
    "lr below 0": (lambda: scheduler(lr=-1), "schedule.lr: -1 arrived"),
    "lr_exponent": (lambda: scheduler(lr_exponent=1e9), "schedule.lr_exponent: 1000000000.0 arrived"),
    "decay_points": (lambda: scheduler(decay_points=0.5), "schedule.decay_points: 0.5 arrived; give a list of shares"),
    "a far point": (lambda: scheduler(decay_points=[2]), "schedule.decay_points: [2] arrived"),
    "phases": (lambda: scheduler(kind="phases", phases=3), "schedule.phases: 3 arrived; give a list"),
    "warmup": (lambda: scheduler(warmup="a"), "schedule.warmup: 'a' is no number"),
    "a model": (lambda: es.RatioMeter(nothing, OPTIMIZER), "model: None arrived; give a torch.nn.Module"),
    "an optimizer of a meter": (lambda: es.RatioMeter(MODEL, 4), "optimizer: 4 arrived"),
    "every": (lambda: es.RatioMeter(MODEL, OPTIMIZER, every="a"), "every: 'a' arrived"),
    "a spec by hand": (lambda: es.SweepSpec(**LINE, trials="a"), "spec: trials: input should be a valid integer"),
    "a spec without a task": (lambda: es.SweepSpec(name="a"), "spec: task: missing; it is required"),
    "exponents of a spec": (lambda: es.SweepSpec(**LINE, space={"lr_exponent": [0.1]}), "if rates were meant"),
    "a set": (lambda: es.SweepSpec(**LINE, space={"hidden": {4, 8}}), "a set, which has no order; write a list"),
    "a class": (lambda: es.SweepSpec(**LINE, search={"seed": int}), "the class int; write where it is"),
    "a class of no kind": (lambda: es.SweepSpec(**LINE, schedule=int), "schedule: the class int arrived"),
    "an object": (lambda: es.SweepSpec(**LINE, trials=es.Flag("a")), "a Flag; write a text"),
    "data of a number": (lambda: es.Data(train=3, valid=(X,)), "task data: train: 3 arrived; give a tuple of tensors"),
    "data of a tensor": (lambda: es.Data((X,), X), "task data: valid: tensor(["),
    "data of arrays": (lambda: es.Data((np.ones(3),), (X,)), "task data: train: (array("),
    "a name": (lambda: es.Number("a b", 0, 0, 1), "name: 'a b' arrived; give a name of letters, digits and _"),
    "a name of a flag": (lambda: es.Flag(3), "name: 3 arrived; give a name"),
    "a flag": (lambda: es.Flag("a", "yes"), "default: 'yes' arrived; give True or False"),
    "a default": (lambda: es.Number("a", "1", 0, 1), "default: '1' arrived; give a finite number"),
    "a far default": (lambda: es.Number("a", 2, 0, 1), "default: 2 arrived for the number 'a'; give one in [0, 1]"),
    "a far value": (lambda: es.Number("a", 0, 0, 1, typical=2), "typical: 2 arrived for the number 'a'"),
    "limits": (lambda: es.Number("a", 2, 3, 1), "default: 2 arrived for the number 'a'; give one in [3, 1]"),
    "no limit": (lambda: es.Number("a", 0, 0, math.inf), "high: inf arrived; give a finite number"),
    "a place": (lambda: es.Number("a", 0, 0, 1, home="here"), "home: 'here' arrived; give one of both, spec, space"),
    "a home of a rerun": (lambda: es.rerun("best.yaml", home=3), "home: 3 arrived; give a folder"),
    "a model of a rerun": (lambda: es.rerun("best.yaml", register=3), "register: 3 arrived; give the name of a model"),
    "a long array": (lambda: es.SweepSpec(**LINE, space={"hidden": np.ones(10**6)}), " ndarray; write"),
}


@pytest.mark.parametrize("call, why", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_one_sentence(call: Callable[[], object], why: str) -> None:
    with pytest.raises(es.BadInput) as refusal:
        call()
    assert why in str(refusal.value) and "\n" not in str(refusal.value)


# --- what is taken ----------------------------------------------------------------------------------------------------


class Saw(es.Schedule):
    """A schedule of this file."""


class Hidden(es.Task):
    """A task of this file."""

    def __init__(self, hidden: int = 4) -> None:
        self.hidden = hidden

    def model(self) -> torch.nn.Module: ...
    def loss(self, model: Any, batch: Any) -> torch.Tensor: ...
    def data(self) -> es.Data: ...


def test_values_of_numpy_ranges_and_paths_are_what_they_mean() -> None:
    space = {"hidden": range(4, 7), "lr_exponent": {"low": np.float64(-3), "high": np.float32(-1)}}
    space |= {"c": np.array([1, 2]), "d": (1, 2), "e": torch.tensor(3), "seed": np.int64(2)}
    spec = make_spec({**THERMOMETER, "trials": np.int64(3), "space": space, "task_options": {"data": Path("a") / "b"}})
    written = spec.model_dump(mode="json")
    assert (spec.trials, spec.space.seed, written["task_options"]) == (3, 2, {"data": "a/b"})
    assert spec.space.own() == {"hidden": [4, 5, 6], "c": [1, 2], "d": [1, 2], "e": 3}
    assert written["space"]["lr_exponent"] | {"low": -3.0, "high": -1.0} == written["space"]["lr_exponent"]


def test_numbers_of_numpy_do_for_schedules_and_meters() -> None:
    scheduler(steps=np.int64(4), lr=np.float32(0.5), decay_points=np.array([0.5]))
    with es.RatioMeter(MODEL, OPTIMIZER, every=np.int64(2)) as meter:
        assert meter.every == 2


def test_classes_do_where_a_reference_does() -> None:
    here = str(Path(__file__).resolve())
    fields: dict[str, Any] = {"schedule": {"kind": Saw}, "optimizer": Saw, "search": {"sampler": Saw}}
    fields |= {"watchers": [Saw], "space": {"schedule": [Saw, "cosine"]}, "stopping": {"score": Saw}}
    spec = es.SweepSpec(task=Hidden(hidden=3), **fields)
    assert (spec.name, spec.task, spec.task_options) == ("hidden", f"{here}:Hidden", {"hidden": 3})
    kinds = [spec.schedule.kind, spec.optimizer.kind, spec.search.sampler, *spec.watchers]
    assert {*kinds, spec.stopping and spec.stopping.score} == {f"{here}:Saw"}
    assert spec.space.schedule == [f"{here}:Saw", "cosine"]


def test_a_spec_made_by_hand_is_that_of_its_fields() -> None:
    assert es.SweepSpec(**THERMOMETER) == make_spec(THERMOMETER)
