"""What `sweep run` refuses before anything is started, `sweep check` refuses too, in the same words."""

import re
from pathlib import Path
from typing import Any

import pytest

from espalier.core.checks.preflight import check_metric
from espalier.core.errors import BadInput
from espalier.sweeps.checks.checkup import examine
from espalier.sweeps.checks.preflight import check_spec
from espalier.sweeps.home import Home
from espalier.sweeps.spec import paths
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import THERMOMETER

MINE = """
import optuna
import espalier as es
from espalier.core.programs.plain import PlainProgram


class Proposes(es.Sampler):
    def make(self, domains, seed, draw_seed):
        return optuna.samplers.RandomSampler(seed)


class ProposesNothing(es.Sampler):
    def make(self, domains, seed, draw_seed):
        return seed


class Trains(PlainProgram):
    pass


class TrainsNothing(PlainProgram):
    def step(self, *arguments, **options):
        return self.lacking


class Watches(es.Watcher):
    seen = 0

    def measure(self, look):
        return {"distance": float(sum(p.detach().abs().sum() for p in look.model().parameters()))}

    def report(self, event, cohort):
        self.seen += event.values["valid_loss"] > 0

    def finish(self, event, cohort):
        assert event.reports[-1][0] == event.step and self.seen


class WatchesNoEnd(es.Watcher):
    def finish(self, event, cohort):
        self.lacking.append(event)


class MeasuresNothing(es.Watcher):
    def measure(self, look):
        return look.lacking
"""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a sampler": ({"search": {"sampler": "mine.py:ProposesNothing"}}, "make() returned 0; it must return a sampler"),
    "a program": ({"resources": {"program": "mine.py:TrainsNothing"}}, "no attribute 'lacking' (mine.py, line 23)"),
    "a metric": ({"objective": {"metric": "valid_accuracy", "mode": "max"}}, "the task reports no 'valid_accuracy'"),
    "a measure": ({"watchers": ["mine.py:MeasuresNothing"]}, "watchers: MeasuresNothing.measure() raised Attribute"),
    "an end": ({"watchers": ["mine.py:Watches", "mine.py:WatchesNoEnd"]}, "WatchesNoEnd.handle() raised Attribute"),
}


def spec_of(folder: Path, **changed: Any) -> SweepSpec:
    (folder / "mine.py").write_text(MINE)
    return make_spec(paths.found_files(dict(THERMOMETER) | changed, folder))


def refusal_of_a_run(spec: SweepSpec, home: Path) -> str:
    with pytest.raises(BadInput) as refusal:
        check_spec(spec, Home(home))
    return str(refusal.value)


def refusal_of_a_check(spec: SweepSpec) -> str:
    try:
        checkup, forecast = examine(spec)
    except BadInput as error:
        return str(error)
    assert not checkup.passed and forecast is None
    return "; ".join(finding.sentence for finding in checkup.findings if finding.level == "fail")


@pytest.mark.parametrize(("changed", "words"), REFUSED.values(), ids=REFUSED)
def test_a_check_refuses_what_a_run_refuses(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, **changed)
    refusal = refusal_of_a_run(spec, tmp_path)
    assert words in refusal
    assert refusal_of_a_check(spec) == refusal


def test_a_check_refuses_a_budget_of_gpus_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spec = spec_of(tmp_path, budget={"steps": 40, "gpu_hours": 8})
    assert refusal_of_a_check(spec) == "budget.gpu_hours: this sweep trains on CPUs; write hours"


def test_what_a_run_takes_a_check_takes(tmp_path: Path) -> None:
    own: dict[str, Any] = {"watchers": ["mine.py:Watches"], "search": {"sampler": "mine.py:Proposes"}}
    spec = spec_of(tmp_path, resources={"program": "mine.py:Trains"}, **own)
    assert check_spec(spec, Home(tmp_path))["parameters"] == 2
    checkup, forecast = examine(spec)
    assert checkup.passed and forecast


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("valid_loss", "of the validation data it reports valid_accuracy, valid_r2: name one"),
        ("valid_acuracy", "did you mean 'valid_accuracy'?"),
        ("train_los", "did you mean 'train_loss'?"),
    ],
)
def test_what_is_reported_of_the_validation_data_is_named_first(wanted: str, hint: str) -> None:
    with pytest.raises(BadInput, match=f"no '{wanted}'; {re.escape(hint)}"):
        check_metric(wanted, ["accuracy", "r2"])
