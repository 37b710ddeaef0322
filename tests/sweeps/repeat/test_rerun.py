"""A trial of a best file, trained again."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.core.task import code_fingerprint, load_task
from espalier.core.training.events import Ended
from espalier.sweeps.engine import make_cohort
from espalier.sweeps.repeat.rerun import rerun
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from tests.sweeps.made import best_fields, read_best, spec_with


def trained(replicates: int = 1, params: Mapping[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return the fields of a best file whose numbers came from training, as a sweep would write them."""
    spec = spec_with(replicates=replicates, **changed)
    params = dict(params or best_fields()["params"])
    cohort = make_cohort(spec, [PlannedTrial(3, params)], Provenance("vmap", "", 4, "cpu"))
    ends = {event.trial: event.to_json() for event in cohort.train() if isinstance(event, Ended)}
    members = [ends[f"3/{r}"] for r in range(replicates)]
    losses = [member["values"]["valid_loss"] for member in members]
    task = load_task(spec.task, {})
    made_with = best_fields()["made_with"] | {"data": task.data().fingerprint(), "code": code_fingerprint(task)}
    return best_fields(
        params=params,
        spec=spec.model_dump(mode="json"),
        result={"valid_loss": sum(losses) / replicates},
        reports=[[[step, dict(values)] for step, values in member["reports"]] for member in members],
        made_with=made_with,
    )


def outcome_of(fields: Mapping[str, Any], tmp_path: Path) -> Any:
    path = tmp_path / "best.yaml"
    path.write_text(yaml.safe_dump(dict(fields)))
    return rerun(*read_best(str(path)))


@pytest.mark.parametrize("replicates", [1, 2])
def test_a_trial_trained_again_gives_the_same_numbers(replicates: int, tmp_path: Path) -> None:
    outcome = outcome_of(trained(replicates), tmp_path)
    assert outcome.reproduced
    assert outcome.value == outcome.expected
    assert list(outcome.surroundings) == []


def test_a_trial_without_what_does_not_exist_there_gives_the_same_numbers(tmp_path: Path) -> None:
    """The task has its own default for an option that is absent, an optimizer the usual one for its number."""
    space = {
        "lr_exponent": -2.0,
        "schedule": ["cosine", "step"],
        "momentum": {"low": 0.5, "high": 0.9, "when": {"schedule": "step"}},
        "warmup": {"choices": [0.1, 0.2], "when": {"schedule": "step"}},
        "scale": {"choices": [0.05, 1.0], "when": {"schedule": "step"}},
    }
    params = {"lr_exponent": -2.0, "decay_factor": 0.1, "seed": 0, "schedule": "cosine"}
    fields = trained(params=params, space=space)
    assert outcome_of(fields, tmp_path).reproduced
    usual = trained(params=params | {"warmup": 0.0}, space={"schedule": ["cosine", "step"]})
    assert fields["reports"] == usual["reports"]


def test_a_best_file_lacks_nothing_that_exists(tmp_path: Path) -> None:
    space = {"schedule": ["cosine", "step"], "scale": {"choices": [0.05, 1.0], "when": {"schedule": "step"}}}
    params = {"lr_exponent": -2.0, "decay_factor": 0.1, "warmup": 0.0, "seed": 0, "schedule": "step", "scale": 0.05}
    fields = trained(params=params, space=space)
    assert outcome_of(fields, tmp_path).reproduced
    del fields["params"]["scale"]
    with pytest.raises(BadInput, match="params: missing scale"):
        outcome_of(fields, tmp_path)


def test_the_first_step_that_differs_is_named_with_both_numbers(tmp_path: Path) -> None:
    fields = trained()
    before = fields["reports"][0][1][1]["valid_loss"]
    for _, values in fields["reports"][0][1:]:
        values["valid_loss"] = math.nextafter(values["valid_loss"], math.inf)
    outcome = outcome_of(fields, tmp_path)
    assert not outcome.reproduced
    assert "step 20: valid_loss" in outcome.difference
    assert repr(before) in outcome.difference
    assert repr(math.nextafter(before, math.inf)) in outcome.difference


def test_a_difference_in_a_replicate_names_the_replicate(tmp_path: Path) -> None:
    fields = trained(2)
    fields["reports"][1][0][1]["valid_loss"] += 1
    assert "step 10 of replicate 1: valid_loss" in outcome_of(fields, tmp_path).difference


def test_a_different_number_of_reports_is_a_difference(tmp_path: Path) -> None:
    fields = trained()
    del fields["reports"][0][-1]
    assert "4 reports, where the file has 3" in outcome_of(fields, tmp_path).difference


def test_a_different_step_is_a_difference(tmp_path: Path) -> None:
    fields = trained()
    fields["reports"][0][0][0] = 11
    assert "after step 10, where the file has one after step 11" in outcome_of(fields, tmp_path).difference


def test_a_result_that_its_own_reports_deny_is_a_difference(tmp_path: Path) -> None:
    assert "the file says -1.0" in outcome_of(trained() | {"result": {"valid_loss": -1.0}}, tmp_path).difference


@pytest.mark.parametrize("key", ["torch", "data", "code", "numpy", "python", "processor"])
def test_what_differs_around_a_rerun_is_said(key: str, tmp_path: Path) -> None:
    fields = trained()
    now = fields["made_with"][key]
    fields["made_with"] = dict(fields["made_with"]) | {key: "another"}
    (line,) = outcome_of(fields, tmp_path).surroundings
    assert line == f"{key}: another then, {now} now"


def test_another_device_is_said(tmp_path: Path) -> None:
    assert "device: mps then, cpu now" in outcome_of(trained() | {"device": "mps"}, tmp_path).surroundings


def test_a_trial_that_diverges_now_is_not_reproduced(tmp_path: Path) -> None:
    fields = trained()
    fields["params"] = dict(fields["params"]) | {"lr_exponent": 3.0}
    outcome = outcome_of(fields, tmp_path)
    assert not outcome.reproduced
    assert "reports" in outcome.difference or "step" in outcome.difference
