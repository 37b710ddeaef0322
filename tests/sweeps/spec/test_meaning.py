"""What a person probably meant: metrics without a mode, names of other programs, limits."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from espalier.core.errors import BadInput
from espalier.sweeps import cohorts as plan
from espalier.sweeps.spec.meaning import is_loss
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import THERMOMETER, spec_with
from tests.sweeps.spec.refusals import refusal

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
