"""From a point of the space to what the engine trains."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.core.numbers import Number
from espalier.core.optimizers import OPTIMIZERS, SGD, Adam, AdamW
from espalier.sweeps import cohorts as plan
from espalier.sweeps.spec.space import ENGINE
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import spec_with


def point_of(spec: SweepSpec, **sampled: Any) -> dict[str, Any]:
    return spec.space.resolve({"lr_exponent": -2.0} | sampled)


def test_a_trial_has_a_member_for_each_replicate_under_seeds_in_a_row() -> None:
    spec = spec_with(replicates=3, space={"lr_exponent": -2, "seed": 40})
    members = plan.replicates(spec, 7, point_of(spec))
    assert [m.id for m in members] == ["7/0", "7/1", "7/2"]
    assert [m.seed for m in members] == [40, 41, 42]
    assert {m.hyper for m in members} == {members[0].hyper}
    assert {(m.steps, m.reports) for m in members} == {(40, 4)}


@given(st.floats(-40, 40))
def test_the_rate_is_ten_to_the_exponent(exponent: float) -> None:
    assert plan.hyperparameters(spec_with(), point_of(spec_with(), lr_exponent=exponent)).lr == 10.0**exponent


def test_the_numbers_of_a_point_reach_the_lane_as_they_are() -> None:
    space = {"lr_exponent": -1, "decay_points": [0.75, 0.5], "decay_factor": 0.3, "momentum": 0.9, "warmup": 0.05}
    spec = spec_with(space=space | {"weight_decay": 1e-4})
    hyper = plan.hyperparameters(spec, spec.space.resolve({}))
    assert hyper.decay_points == (0.5, 0.75)
    assert dict(hyper.numbers) == {"decay_factor": 0.3, "momentum": 0.9, "weight_decay": 1e-4, "warmup": 0.05}


@pytest.mark.parametrize(
    ("kind", "theirs"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_what_is_not_said_has_the_defaults_of_torch(kind: str, theirs: type[torch.optim.Optimizer]) -> None:
    numbers = dict(plan.hyperparameters(spec_with(optimizer=kind), point_of(spec_with())).numbers)
    defaults = theirs([torch.nn.Parameter(torch.zeros(1))]).defaults
    defaults |= dict(zip(("beta1", "beta2"), defaults.get("betas", ()), strict=False))
    own = {number.name for number in OPTIMIZERS[kind].numbers if isinstance(number, Number)}
    assert own == {"sgd": {"momentum", "weight_decay"}}.get(kind, {"beta1", "beta2", "eps", "weight_decay"})
    assert {name: numbers[name] for name in own} == {name: defaults[name] for name in own}


def test_what_is_said_of_an_optimizer_is_kept_zeros_too() -> None:
    said = {"kind": "adamw", "weight_decay": 0.0, "beta1": 0.0, "beta2": 0.5, "eps": 1e-3}
    hyper = plan.hyperparameters(spec_with(optimizer=said), point_of(spec_with()))
    assert dict(hyper.numbers) | said == dict(hyper.numbers) | {"kind": "adamw"}


def test_an_optimizer_has_momentum_where_any_trial_may_have_it() -> None:
    def optimizer(**changed: Any) -> Any:
        spec = spec_with(**changed)
        return plan.structure(spec, spec.space.resolve({"lr_exponent": -2.0, "momentum": 0.0})).optimizer

    assert isinstance(optimizer(), SGD)
    assert not optimizer().momentum
    assert optimizer(space={"lr_exponent": -2, "momentum": [0.0, 0.9]}).momentum
    nesterov = optimizer(optimizer={"kind": "sgd", "momentum": 0.9, "nesterov": True})
    assert (nesterov.momentum, nesterov.nesterov) == (True, True)
    assert optimizer(optimizer="adam") == Adam()
    assert optimizer(optimizer="adamw") == AdamW()


def test_a_batch_size_in_the_space_overrides_that_of_the_budget() -> None:
    spec = spec_with(space={"lr_exponent": -2, "batch_size": [4, 8]})
    assert plan.structure(spec, point_of(spec, batch_size=4)).batch_size == 4
    assert plan.structure(spec_with(), point_of(spec_with())).batch_size == 11


STRUCTURED = spec_with(
    space={
        "lr_exponent": {"low": -3, "high": 0},
        "momentum": {"low": 0, "high": 0.9},
        "warmup": [0.0, 0.1],
        "seed": [0, 1],
        "batch_size": [4, 8],
        "scale": [0.1, 1.0],
    }
)
POINTS = st.fixed_dictionaries(
    {
        "lr_exponent": st.floats(-3, 0),
        "momentum": st.floats(0, 0.9),
        "warmup": st.sampled_from([0.0, 0.1]),
        "seed": st.sampled_from([0, 1]),
        "batch_size": st.sampled_from([4, 8]),
        "scale": st.sampled_from([0.1, 1.0]),
    }
)


@given(POINTS, POINTS)
def test_two_trials_share_a_program_if_and_only_if_their_structural_values_are_equal(a: Any, b: Any) -> None:
    keys = [plan.structural_key(STRUCTURED, STRUCTURED.space.resolve(point)) for point in (a, b)]
    alike = all(a[name] == b[name] for name in ("batch_size", "scale"))
    assert (keys[0] == keys[1]) is alike
    structures = [plan.structure(STRUCTURED, STRUCTURED.space.resolve(point)) for point in (a, b)]
    assert not alike or structures[0] == structures[1]


def test_the_options_of_the_task_come_from_the_spec_and_from_the_point() -> None:
    fields = {"name": "n", "task": "espalier.core.tasks.names:Names", "task_options": {"context": 2}}
    spec = make_spec(fields | {"space": {"lr_exponent": -1, "hidden": [8, 16], "embedding": 3}})
    assert plan.task_options(spec, spec.space.resolve({"hidden": 16})) == {"context": 2, "hidden": 16, "embedding": 3}


def test_a_task_option_may_be_null_in_the_space_too() -> None:
    fields = {"name": "n", "task": "espalier.core.tasks.names:Names"}
    spec = make_spec(fields | {"space": {"lr_exponent": -1, "validation": None}})
    assert plan.task_options(spec, spec.space.resolve({})) == {"validation": None}
    spec = make_spec(fields | {"space": {"lr_exponent": -1, "validation": [None, 100]}})
    assert plan.task_options(spec, spec.space.resolve({"validation": None})) == {"validation": None}


def test_an_unknown_hyperparameter_is_refused_with_all_that_the_sweep_takes() -> None:
    spec = spec_with(space={"lr_exponent": -2, "learning_rate": 0.1})
    with pytest.raises(BadInput) as refused:
        plan.check_names(spec)
    said = str(refused.value)
    assert "unknown hyperparameter 'learning_rate' in space" in said
    assert all(name in said for name in (*ENGINE, "scale"))


def test_a_hyperparameter_stands_in_the_space_or_among_the_options_but_not_in_both() -> None:
    with pytest.raises(BadInput, match=r"space\.scale: it stands under task_options too; keep one"):
        plan.check_names(spec_with(task_options={"scale": 1.0}, space={"scale": [0.1, 1.0]}))


def test_the_tasks_own_hyperparameters_are_taken() -> None:
    plan.check_names(spec_with(space={"lr_exponent": -2, "scale": [0.1, 1.0]}))
