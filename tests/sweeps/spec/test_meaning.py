"""What a person probably meant: metrics without a mode, exponents that look like rates, names of other programs."""

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps import cohorts as plan
from espalier.sweeps.checks.lr_range import run_test
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.header import header
from espalier.sweeps.spec.meaning import is_loss
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.space import Range
from espalier.sweeps.spec.spec import SweepSpec, load_spec, make_spec
from tests.sweeps.made import THERMOMETER, best_fields, read_best, spec_with


def refusal(**changed: Any) -> str:
    with pytest.raises(BadInput) as refused:
        spec_with(**changed)
    assert str(refused.value).isprintable()
    return str(refused.value)


# --- the mode of a metric ---------------------------------------------------------------------------------------------

LOSSES = ["valid_loss", "train_loss", "loss", "valid_mse", "valid_RMSE", "valid_mean_squared_error", "validMSELoss"]
LOSSES += [
    "valid_nll",
    "valid_perplexity",
    "word_error_rate",
    "valid_loss_2",
    "val-loss",
    "error1",
    "valid.loss",
    "wer",
]
NO_LOSSES = ["valid_accuracy", "f1", "auc", "precision", "recall", "r2", "score", "bleu", "top1", "valid_x", "gloss"]
NO_LOSSES += [
    "valid_lossless",
    "valid_neg_mse",
    "negative_loss",
    "loss_reduction",
    "mirror",
    "terror",
    "valid_mser",
    "x",
]
NO_LOSSES += ["valid_top5_accuracy", "error_free_rate", "blossom", "likelihood", "errorless", "inverse_loss", "é"]


@pytest.mark.parametrize("metric", LOSSES)
def test_a_loss_may_leave_its_mode_out(metric: str) -> None:
    assert is_loss(metric)
    assert spec_with(objective={"metric": metric}).objective.mode == "min"


@pytest.mark.parametrize("metric", NO_LOSSES)
def test_a_metric_that_is_no_loss_needs_its_mode(metric: str) -> None:
    said = refusal(objective={"metric": metric})
    assert "objective: whether " in said and f"'{metric}'" in said and "mode: max" in said and "mode: min" in said
    for mode in ("min", "max"):
        assert spec_with(objective={"metric": metric, "mode": mode}).objective.mode == mode


def test_a_metric_of_which_more_is_better_is_asked_for_max_first() -> None:
    assert "write mode: max, or mode: min" in refusal(objective={"metric": "valid_accuracy"})
    assert "write mode: min, or mode: max" in refusal(objective={"metric": "valid_distance"})


def test_another_metric_by_an_override_does_not_keep_the_mode_of_the_one_before() -> None:
    fields = {"objective": {"metric": "valid_loss", "mode": "min"}}
    changed = override(json.loads(json.dumps(fields)), ["objective.metric=valid_accuracy"])
    assert changed == {"objective": {"metric": "valid_accuracy"}}
    assert "mode: max" in refusal(**changed)
    both = ["objective.metric=valid_accuracy", "objective.mode=max"]
    for order in (both, both[::-1]):
        assert override(json.loads(json.dumps(fields)), order)["objective"] == {
            "metric": "valid_accuracy",
            "mode": "max",
        }


@pytest.mark.parametrize("metric", [*LOSSES, *NO_LOSSES])
def test_the_json_schema_takes_what_the_program_takes_and_asks_for_a_mode(metric: str) -> None:
    def complaints(objective: dict[str, str]) -> list[str]:
        fields = dict(THERMOMETER) | {"objective": objective}
        return [e.message for e in jsonschema.Draft202012Validator(SweepSpec.model_json_schema()).iter_errors(fields)]

    assert complaints({"metric": metric, "mode": "max"}) == []
    if is_loss(metric):
        assert complaints({"metric": metric}) == []
    elif not any(word in metric.lower() for word in ("loss", "mse", "error", "err")):
        assert any("mode" in complaint for complaint in complaints({"metric": metric}))


# --- exponents and rates ----------------------------------------------------------------------------------------------

MISREAD: list[tuple[Any, str]] = [
    ({"low": 1e-5, "high": 1e-1}, "lr: {low: 1e-05, high: 0.1, log: true}"),
    ({"low": 1e-5, "high": 1e-1, "log": True}, "lr: {low: 1e-05, high: 0.1, log: true}"),
    ({"low": 0.001, "high": 1}, "lr: {low: 0.001, high: 1, log: true}"),
    ({"low": 0.1, "high": 1, "step": 0.1}, "lr: {low: 0.1, high: 1, log: true}"),
    ({"low": 0, "high": 0.1}, "lr: {low: 0.0001, high: 0.1, log: true}"),
    ({"low": 1e-4, "high": 10, "log": True}, "lr: {low: 0.0001, high: 10, log: true}"),
    ([0.1, 0.01], "lr: [0.1, 0.01]"),
    ({"choices": [0.1, 0.01, 0.001]}, "lr: [0.1, 0.01, 0.001]"),
    ([0, 0.1], "lr: [0, 0.1]"),
    (0.001, "lr: 0.001"),
    (1, "lr: 1"),
    ([0.001], "lr: [0.001]"),
    ({"low": 1e-5, "high": 2}, "lr: {low: 1e-05, high: 2, log: true}"),
    ([0.01, 3], "lr: [0.01, 3]"),
]


@pytest.mark.parametrize(("domain", "meant"), MISREAD)
def test_exponents_that_look_like_rates_are_refused_with_both_meanings(domain: Any, meant: str) -> None:
    said = refusal(space={"lr_exponent": domain})
    assert f"if rates were meant, write {meant}; if exponents, lr: " in said
    assert "space.lr_exponent: exponents" in said


@pytest.mark.parametrize(
    "domain",
    [
        *({"low": -2, "high": 0.5}, {"low": 0, "high": 0.5}, {"low": -1, "high": 1}, {"low": 0, "high": 1}, -1, 0, 1.5),
        *([-3, -2], [-1, 0, 1], {"low": -3, "high": -1, "step": 0.5}, [-2, 0.5], {"low": 0.5, "high": 1.5}, "auto"),
        *({"low": 0, "high": 0}, {"low": -3, "high": 0.1}, [0, 0.5]),
    ],
)
def test_exponents_are_taken(domain: Any) -> None:
    spec_with(space={"lr_exponent": domain})


def test_a_logarithmic_range_of_exponents_below_0_is_told_to_leave_log_out() -> None:
    said = refusal(space={"lr_exponent": {"low": -5, "high": -1, "log": True}})
    assert "space.lr_exponent: low -5 with log" in said and "leave log out" in said


@pytest.mark.parametrize(
    ("rates", "exponents"),
    [
        ({"low": 1e-4, "high": 1e-1, "log": True}, Range(low=-4, high=-1)),
        ([0.1, 0.01], [-1, -2]),
        ({"choices": [0.1, 10]}, [-1, 1]),
        (0.001, -3),
        (1, 0),
        ("auto", "auto"),
        ({"low": 1.5, "high": 3, "log": True}, Range(low=math.log10(1.5), high=math.log10(3))),  # exponents in (0, 1]
    ],
)
def test_lr_is_another_way_to_write_lr_exponent(rates: Any, exponents: Any) -> None:
    spec = spec_with(space={"lr": rates})
    domain = spec.space.lr_exponent
    assert (domain if not hasattr(domain, "choices") else domain.choices) == exponents
    assert "lr" not in dict(spec.space.domains()) and "lr" not in spec.space.resolve({"lr_exponent": -1.0})
    for kept in (
        spec.model_dump(mode="json"),
        json.loads(json.dumps(spec.model_dump(mode="json", exclude_unset=True))),
    ):
        assert "lr" in kept["space"] and "lr_exponent" not in kept["space"]
        assert make_spec(kept) == spec
    assert make_spec(yaml.safe_load(spec.as_yaml())) == spec
    assert jsonschema.Draft202012Validator(SweepSpec.model_json_schema()).is_valid(
        dict(THERMOMETER) | {"space": {"lr": rates}}
    )


@given(st.floats(1e-12, 1e3), st.floats(0, 6))
def test_a_range_of_rates_is_the_range_of_their_exponents(low: float, decades: float) -> None:
    domain = spec_with(space={"lr": {"low": low, "high": low * 10**decades, "log": True}}).space.lr_exponent
    assert 10**domain.low == pytest.approx(low) and 10**domain.high == pytest.approx(low * 10**decades)
    point = {"lr_exponent": domain.low, "decay_factor": 0.1, "warmup": 0.0}
    assert plan.hyperparameters(spec_with(), point).lr == pytest.approx(low)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"lr": 0.1, "lr_exponent": -1}, ["space.lr_exponent: lr stands in the space too; keep one of them"]),
        ({"lr_exponent": {"low": -3, "high": 0}, "lr": {"low": 0.1, "high": 1, "log": True}}, ["keep one of them"]),
        ({"lr": {"low": 0.01, "high": 0.1}}, ["space.lr: from 0.01 to 0.1 on a linear scale", "log: true"]),
        ({"lr": {"low": 0.01, "high": 0.1, "step": 0.01}}, ["space.lr", "list the rates"]),
        ({"lr": {"low": 1, "high": 3, "integer": True}}, ["space.lr", "list the rates"]),
        ({"lr": {"low": -4, "high": -1}}, ["space.lr: -4", "no rate", "above 0"]),
        ({"lr": {"low": 0, "high": 0.1, "log": True}}, ["space.lr", "above 0"]),
        ({"lr": 0}, ["space.lr: 0 is no rate"]),
        ({"lr": -0.1}, ["space.lr: -0.1 is no rate"]),
        ({"lr": "fast"}, ["space.lr: 'fast' is no rate; give numbers above 0, or auto"]),
        ({"lr": [0.1, "auto"]}, ["space.lr: 'auto' is no rate"]),
        ({"lr": [0.1, None]}, ["space.lr: None is no rate"]),
        ({"lr": True}, ["space.lr: True is no rate"]),
        ({"lr": []}, ["space.lr"]),
        ({"lr": {"low": 1e-4}}, ["space.lr.high: missing"]),
        ({"lr": {"low": 1e-4, "high": 0.1, "logg": True}}, ["space.lr.logg: unknown field; did you mean 'log'?"]),
        ({"lr": 1e300}, ["space.lr: 1e+300 is no rate"]),
        ({"lr": {"choices": [[0.1]]}}, ["space.lr: [0.1] is no rate"]),
    ],
)
def test_rates_that_cannot_be_are_refused(space: dict[str, Any], words: list[str]) -> None:
    said = refusal(space=space)
    assert all(word in said for word in words), said


def test_of_two_ways_to_write_the_rate_an_override_keeps_the_later() -> None:
    fields = {"space": {"lr_exponent": {"low": -3, "high": 0}, "hidden": 8}}
    assert override(json.loads(json.dumps(fields)), ["space.lr=0.1"])["space"] == {"lr": 0.1, "hidden": 8}
    back = override({"space": {"lr": 0.1}}, ["space.lr_exponent.low=-2", "space.lr_exponent.high=-1"])
    assert back == {"space": {"lr_exponent": {"low": -2, "high": -1}}}


def test_what_was_taken_before_is_still_read_from_where_it_was_written(tmp_path: Path) -> None:
    stored = spec_with(space={"lr_exponent": {"low": -3, "high": 0}}).model_dump(mode="json")
    stored["space"]["lr_exponent"] = {"low": 0.1, "high": 0.9, "log": False, "step": None, "integer": False}
    storage = SweepStore.open(str(tmp_path / "optuna.journal"))
    storage.create("warm-20260101-abcd", SweepSpec.model_validate(stored), {"created": "2026-01-01"})
    assert storage.find("warm").spec.space.lr_exponent == Range(low=0.1, high=0.9)
    file = tmp_path / "best.yaml"
    file.write_text(json.dumps(best_fields(spec=stored, params=best_fields()["params"] | {"lr_exponent": 0.3})))
    assert read_best(str(file))[0].params["lr_exponent"] == 0.3
    with pytest.raises(BadInput, match="if rates were meant"):
        make_spec(stored)


def test_the_range_test_takes_the_place_of_lr_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from espalier.sweeps.checks import lr_range
    from espalier.sweeps.home import Home

    spec = spec_with(space={"lr": "auto"})
    test = run_test(spec, -4, 0, 40, 2)
    monkeypatch.setattr(lr_range, "run_test", lambda spec: test)
    monkeypatch.setattr(lr_range, "record_test", lambda *_: "run")
    object.__setattr__(test, "interval", (0.5, 0.6))  # whose exponents would look like rates
    found, facts = lr_range.resolved(spec, Home.at(str(tmp_path)))
    assert found.space.lr_exponent == Range(low=0.0, high=1.1)
    assert found.space.lr is None and facts["lr_exponent_high"] == 1.1


@pytest.mark.parametrize(("low", "high"), [(1e-5, 0.1), (0.001, 1), (0, 0.1), (0.3, 0.9)])
def test_a_range_test_from_rate_to_rate_is_refused_with_what_to_write(low: float, high: float) -> None:
    with pytest.raises(BadInput, match=rf"--low {low:g} --high {high:g}: exponents.*write their powers of ten"):
        run_test(spec_with(), low, high)


# --- names of other programs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": 0.1}, ["lr: unknown field", "space.lr in rates, or space.lr_exponent"]),
        ({"learning_rate": 0.1}, ["learning_rate: unknown field", "space.lr in rates"]),
        ({"optimizer": {"kind": "sgd", "lr": 0.1}}, ["optimizer.lr: unknown field", "space.lr in rates"]),
        ({"epochs": 3}, ["epochs: unknown field", "budget.steps counts the steps"]),
        ({"budget": {"epochs": 3}}, ["budget.epochs: unknown field", "budget.steps counts the steps"]),
        ({"optimizer": {"kind": "adam", "betas": [0.9, 0.99]}}, ["optimizer.beta1 and optimizer.beta2"]),
        ({"objective": {"metric": "valid_loss", "direction": "minimize"}}, ["objective.mode: min or max"]),
    ],
)
def test_a_name_of_another_program_points_to_what_is_meant(changed: Any, words: list[str]) -> None:
    said = refusal(**changed)
    assert all(word in said for word in words), said


@pytest.mark.parametrize("name", ["learning_rate", "epochs", "LR"])
def test_so_it_does_in_the_space_where_the_task_has_no_such_option(name: str) -> None:
    with pytest.raises(BadInput, match=r"unknown hyperparameter.*(space.lr in rates|budget.steps counts)"):
        plan.check_names(spec_with(space={name: [1, 2]}))


@pytest.mark.parametrize("word", ["no", "off", "false ", "yes", "True"])
def test_a_word_is_not_taken_for_true_or_false(word: str, tmp_path: Path) -> None:
    names = {"name": "a", "task": "espalier.core.tasks.names:Names"}
    for changed in ({"task_options": {"batchnorm": word}}, {"space": {"batchnorm": [True, word]}}):
        with pytest.raises(BadInput, match=rf"batchnorm: '{word}' is a text; write true or false"):
            plan.check_names(make_spec(names | changed))


# --- one GPU, and other limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [2, 1.5, 8, 1e308, 2**63, 2**65])
def test_more_than_the_one_gpu_that_a_cohort_uses_is_refused(gpus: float) -> None:
    assert "resources.gpus" in (said := refusal(resources={"gpus": gpus})) and ("cohorts" in said or "64 bits" in said)


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 1.0, "auto"])
def test_a_gpu_or_a_part_of_one_is_taken(gpus: Any) -> None:
    assert spec_with(resources={"gpus": gpus}).resources.gpus == gpus


BEYOND: list[dict[str, Any]] = [
    *({"trials": n} for n in (2**63, 2**64, 10**6 + 1)),
    *({"budget": {field: n}} for field in ("steps", "batch_size", "reports") for n in (2**63, 10**10 + 1)),
    *({"replicates": n} for n in (1001, 2**63)),
    *({"resources": {field: n}} for field in ("cpus", "gpus", "cohorts", "lanes") for n in (1e308, 2**63, 100_001)),
    {"ratios": {"samples": 2**63}},
    {"search": {"seed": 2**32}},
    {"stopping": {"least": 2**63}},
    {"stopping": {"reduction": 1e308}},
    {"optimizer": {"weight_decay": 1e308}},
    {"space": {"decay_points": {"count": 17}}},
    {"space": {"decay_points": {"branches": 2**63}}},
    {"objective": {"metric": "valid_loss" * 100}},
    {"watchers": ["a:B"] * 101},
]


@pytest.mark.parametrize("changed", BEYOND, ids=str)
def test_a_limit_stands_in_the_schema_and_so_in_the_json_schema(changed: dict[str, Any]) -> None:
    refusal(**changed)
    assert not jsonschema.Draft202012Validator(SweepSpec.model_json_schema()).is_valid(dict(THERMOMETER) | changed)


@pytest.mark.parametrize(
    "domain",
    [
        *(
            {"low": -1e308, "high": 1e308},
            {"low": 0, "high": 1, "step": 1e-300},
            {"low": 0, "high": 2**60, "integer": True},
        ),
        *(2**64, -(2**63) - 1, [1, 10**400]),
    ],
)
def test_a_domain_of_which_no_sampler_can_draw_is_refused(domain: Any) -> None:
    assert "space.own" in refusal(space={"own": domain})


def test_gp_is_given_no_range_that_it_would_write_down() -> None:
    space = {"own": {"low": 0, "high": 2**40, "integer": True}}
    assert "space.own: 1,099,511,627,777 points; gp" in refusal(search={"sampler": "gp"}, space=space)
    spec_with(search={"sampler": "tpe"}, space=space)


# --- the first line of a run ------------------------------------------------------------------------------------------

BRANCHED = {"lr_exponent": {"low": -2, "high": 0.5}, "decay_points": {"low": 0.4, "high": 0.9, "branches": 4}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"space": {"lr_exponent": {"low": -2.5, "high": 0.5}}}, ["at rates from 0.00316 to 3.16"]),
        ({"space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}}}, ["at rates from 0.0001 to 0.1"]),
        ({"space": {"lr_exponent": [-3, -1]}}, ["at the rates 0.001, 0.1"]),
        ({"space": {"lr": 0.05}}, ["at the rate 0.05"]),
        ({"space": {"lr_exponent": "auto"}}, ["at rates that a range test finds first"]),
        ({"space": {"lr_exponent": list(range(-9, 1))}}, ["at 10 rates from 1e-09 to 1"]),
        ({"space": {}}, ["at rates from 0.001 to 1"]),
        ({"space": BRANCHED, "trials": 16}, ["16 trials", "4 exponents with 4 decay points each"]),
        ({"space": BRANCHED, "trials": 18}, ["5 exponents with 4 decay points each, the last with 2"]),
        ({"space": BRANCHED, "trials": 3}, ["1 exponent with 3 decay points each"]),
        (
            {"space": BRANCHED | {"scale": [0.1, 1.0]}, "trials": 16},
            ["4 exponents with 4 decay points", "each of the 2 values of scale gets about 2 of them"],
        ),
        (
            {"space": BRANCHED | {"scale": [0.1, 1.0], "batch_size": [4, 8, 11]}, "trials": 16},
            ["of the 6 combinations of batch_size, scale 4 at most are tried"],
        ),
        ({"space": {"scale": [0.1, 1.0]}, "trials": 16}, ["each of the 2 values of scale gets about 8 trials"]),
        ({"space": BRANCHED | {"lr_exponent": -1}, "trials": 8}, ["2 configurations with 4 decay points each"]),
        ({"budget": {"steps": 1}, "trials": 1}, ["1 trial of 1 step at"]),
        ({"replicates": 3, "trials": 5}, ["5 trials of 40 steps under 3 seeds each at rates"]),
        ({"space": {"decay_points": {"count": 2, "branches": 3}}, "trials": 6}, ["2 exponents with 3 pairs of decay"]),
        ({"space": {"decay_points": {"count": 4, "branches": 3}}, "trials": 6}, ["2 exponents with 3 sets of 4 decay"]),
    ],
    ids=str,
)
def test_the_first_line_says_what_is_tried(changed: dict[str, Any], words: list[str]) -> None:
    said = header(spec_with(**changed))
    assert said.startswith("sweep warm: ")
    assert all(word in said for word in words), said


def test_a_grid_has_no_trunks_and_each_choice_once() -> None:
    space = {"lr_exponent": [-3, -2], "scale": [0.1, 1.0]}
    said = header(spec_with(space=space, search={"sampler": "grid"}, trials=100))
    assert said == "sweep warm: 4 trials of 40 steps at the rates 0.001, 0.01"


def test_the_specs_of_the_library_say_their_rates() -> None:
    library = Path(__file__).resolve().parents[3] / "sweeps" / "library"
    said = header(load_spec(str(library / "names.yaml")))
    assert (
        said
        == "sweep names: 96 trials of 10,000 steps at rates from 0.00316 to 3.16; 24 exponents with 4 decay points each"
    )


def test_the_header_is_one_printed_line_whatever_a_choice_is_called() -> None:
    said = header(spec_with(space={"lr_exponent": {"low": -2, "high": 0}, "hid\uf3ecden\n": [1, 2]}))
    assert said.isprintable() and "values of hid\\uf3ecden" in said
