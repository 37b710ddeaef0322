"""Fields that are set beside a file: --set FIELD=VALUE."""

from pathlib import Path

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.made import THERMOMETER


def test_an_override_sets_a_field_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(dict(THERMOMETER)))
    said = ["budget.steps=500", "trials=8", "space.lr_exponent={low: -5, high: -4}", "search.sampler=random", "name=b"]
    spec = load_spec(str(path), [*said, "task_options.scale=1e-1", "space.decay_points=[0.5]"])
    assert (spec.budget.steps, spec.budget.batch_size, spec.trials) == (500, 11, 8)
    assert spec.space.lr_exponent.low == -5
    assert (spec.search.sampler, spec.name, spec.task_options) == ("random", "b", {"scale": 0.1})
    assert spec.space.decay_points == [0.5]


def test_an_override_reaches_into_an_optimizer_that_is_a_name() -> None:
    fields = override({"optimizer": "sgd", "schedule": "cosine"}, ["optimizer.momentum=0.9", "schedule.floor=0.1"])
    assert fields == {"optimizer": {"kind": "sgd", "momentum": 0.9}, "schedule": {"kind": "cosine", "floor": 0.1}}


def test_the_last_of_two_overrides_wins() -> None:
    assert override({}, ["trials=1", "trials=2"]) == {"trials": 2}


@pytest.mark.parametrize("text", ["trials", "=5", " =5", ""])
def test_an_override_without_a_field_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="FIELD=VALUE, for example"):
        override({}, [text])


def test_an_override_that_is_no_yaml_is_refused_by_its_field() -> None:
    with pytest.raises(BadInput, match=r"--set trials.*not valid YAML"):
        override({}, ["trials=[1"])


def test_an_override_of_an_unknown_field_is_refused_like_one_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(dict(THERMOMETER)))
    with pytest.raises(BadInput, match="stepz: unknown field; did you mean 'steps'"):
        load_spec(str(path), ["budget.stepz=5"])
