"""A schedule, an optimizer and a score of a person's own, each a class in a file that a spec names."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.core.errors import BadInput
from espalier.core.schedules.for_torch import torch_scheduler
from espalier.core.training.events import Ended, Scored
from espalier.core.training.history import history
from espalier.core.training.scores import Scoring
from espalier.sweeps import cohorts as plan
from espalier.sweeps.checks.preflight import check_spec
from espalier.sweeps.engine import make_cohort
from espalier.sweeps.home import Home
from espalier.sweeps.own_kinds import code_of
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.search.halving import Halving
from espalier.sweeps.spec import paths
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import THERMOMETER

SCHEDULE = """
import math

from espalier.core.numbers import Number
from espalier.core.schedules.schedule import Schedule


class Sawtooth(Schedule):
    numbers = (Number("teeth", 3, 1, 100, "how many times the rate falls"),)

    def rate(self, u, teeth):
        return 1 - math.sin(u * teeth) ** 2 / 2
"""
OPTIMIZER = """
from dataclasses import dataclass

from espalier.core.numbers import Flag, Number
from espalier.core.optimizers import Optimizer


@dataclass(frozen=True)
class Lion(Optimizer):
    numbers = (Number("kept", 0.9, 0.0, 1.0, "how much of the mean is kept", below=True), Flag("signed", True))
    slots = ("mean",)

    signed: bool = True

    def update(self, theta_KP, grad_KP, slots, c_CK1):
        lr_K1, kept_K1 = c_CK1
        mean_KP = slots["mean"]
        mean_KP.mul_(kept_K1).add_(grad_KP * (1 - kept_K1))
        theta_KP.sub_((mean_KP.sign() if self.signed else mean_KP) * lr_K1)
"""


SCORE = """
from espalier.core.scores.score import Score


class Trend(Score):
    def values(self, rung):
        loss = rung.values["valid_loss"]
        earlier = [values["valid_loss"] for step, values in rung.reports if step < rung.step]
        return {"valid_loss": 2 * loss - earlier[-1] if earlier else loss}


class Drop(Score):
    trains_on = True
    rate_factor = 0.1


class Both(Drop):
    averaged = True


class Nameless(Score):
    def values(self, rung):
        return {"loss": 1.0}


class Raising(Score):
    def values(self, rung):
        if rung.step == 50:
            return rung.values
        raise ZeroDivisionError
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SCHEDULE)
    (tmp_path / "lion.py").write_text(OPTIMIZER)
    (tmp_path / "scores.py").write_text(SCORE)
    return tmp_path


def spec_of(folder: Path, **changed: Any) -> SweepSpec:
    """Return a spec beside the two files, that names both."""
    space = {"lr_exponent": -2, "teeth": [2, 5], "kept": [0.5, 0.9]}
    fields = dict(THERMOMETER) | {"schedule": "mine.py:Sawtooth", "optimizer": "lion.py:Lion", "space": space}
    return make_spec(paths.found_files(fields | changed, folder))


def points(spec: SweepSpec) -> list[dict[str, Any]]:
    domains = dict(spec.space.domains())
    listed = {name: domain.choices for name, domain in domains.items()}  # pyright: ignore[reportAttributeAccessIssue]
    count = max(map(len, listed.values()))
    return [spec.space.resolve({name: values[i] for name, values in listed.items()}) for i in range(count)]


def trained(spec: SweepSpec, program: str, count: int = 2) -> dict[str, Any]:
    """Return the last values of each trial."""
    trials = [PlannedTrial(i, point) for i, point in enumerate(points(spec)[:count])]
    cohort = make_cohort(spec, trials, Provenance(program, "", max(count, 2), "cpu"))
    ends = [event for event in cohort.train() if isinstance(event, Ended)]
    return {str(end.trial): (end.values, end.curve) for end in ends}


def test_a_spec_keeps_the_absolute_paths_of_a_persons_kinds(folder: Path) -> None:
    spec = spec_of(folder, space={"lr_exponent": -2, "schedule": ["cosine", "mine.py:Sawtooth"]})
    real = folder.resolve()
    assert spec.optimizer.kind == f"{real / 'lion.py'}:Lion"
    assert spec.schedule.kind == f"{real / 'mine.py'}:Sawtooth"
    assert spec.schedule_kinds() == ["cosine", f"{real / 'mine.py'}:Sawtooth"]
    assert make_spec(spec.model_dump(mode="json"), stored=True) == spec


def test_numbers_of_ones_own_reach_the_lane_from_the_space_and_from_beside_the_kind(folder: Path) -> None:
    spec = spec_of(folder)
    plan.check_names(spec)
    numbers = [dict(plan.hyperparameters(spec, point).numbers) for point in points(spec)]
    assert [(n["teeth"], n["kept"]) for n in numbers] == [(2.0, 0.5), (5.0, 0.9)]
    assert plan.task_options(spec, points(spec)[0]) == {}
    beside = spec_of(
        folder,
        schedule={"kind": "mine.py:Sawtooth", "teeth": 7},
        optimizer={"kind": "lion.py:Lion", "signed": False},
        space={"lr_exponent": -2},
    )
    plan.check_names(beside)
    point = beside.space.resolve({})
    assert dict(plan.hyperparameters(beside, point).numbers)["teeth"] == 7
    assert plan.structure(beside, point).optimizer.signed is False  # pyright: ignore[reportAttributeAccessIssue]


def test_trials_of_a_persons_kinds_train_and_differ_by_their_numbers(folder: Path) -> None:
    found = trained(spec_of(folder), "vmap")
    assert found["0/0"][0]["valid_loss"] != found["1/0"][0]["valid_loss"]
    assert all(value == value for values, _ in found.values() for value in values.values())


def test_a_trial_of_a_persons_kinds_has_the_same_bits_alone_and_beside_others(folder: Path) -> None:
    spec = spec_of(folder)
    assert trained(spec, "vmap", 1)["0/0"] == trained(spec, "vmap")["0/0"]


@pytest.mark.parametrize("program", ["plain", "native"])
def test_every_program_trains_a_persons_kinds_alike(folder: Path, program: str) -> None:
    spec = spec_of(folder)
    there, here = trained(spec, program), trained(spec, "vmap")
    for trial, (values, _) in here.items():
        assert there[trial][0]["valid_loss"] == pytest.approx(values["valid_loss"], rel=1e-4)


def test_a_persons_schedule_gives_a_lane_the_same_rates_beside_any_others(folder: Path) -> None:
    spec = spec_of(folder)
    structure = plan.structure(spec, points(spec)[0])
    trials = [plan.replicates(spec, i, point)[0] for i, point in enumerate(points(spec))]
    together = history(structure, trials, [3, 3], 20)
    for r, trial in enumerate(trials):
        assert torch.equal(together[:, :, r], history(structure, [trial], [0], 40)[3:23, :, 0])


def test_a_persons_schedule_is_a_scheduler_of_torch_too(folder: Path) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    config = {"kind": f"{folder / 'mine.py'}:Sawtooth", "steps": 10, "teeth": 4}
    scheduler = torch_scheduler(config, optimizer)
    assert scheduler.get_last_lr() == [0.1]
    with pytest.raises(BadInput, match=r"schedule.teeth: 0 is no number in \[1, 100\]"):
        torch_scheduler(config | {"teeth": 0}, optimizer)


def test_the_code_of_a_sweep_changes_with_a_persons_kinds_and_only_then(folder: Path) -> None:
    from espalier.core.task import code_fingerprint, load_task

    task = load_task(THERMOMETER["task"], {})
    plain = make_spec(dict(THERMOMETER))
    assert code_of(plain, task) == code_fingerprint(task)
    before = code_of(spec_of(folder), task)
    assert before not in (code_of(plain, task), code_of(spec_of(folder, schedule="cosine"), task))


# --- a score ----------------------------------------------------------------------------------------------------------


def scored(spec: SweepSpec, count: int = 2) -> dict[str, dict[int, float]]:
    """Return the scores of each trial by rung, and put the ends of the trials to what they are without scores."""
    trials = [PlannedTrial(i, point) for i, point in enumerate(points(spec)[:count])]
    events = list(make_cohort(spec, trials, Provenance("vmap", "", 2, "cpu")).train())
    scores: dict[str, dict[int, float]] = {}
    for event in events:
        if isinstance(event, Scored):
            assert spec.stopping and event.score == spec.stopping.score
            scores.setdefault(event.trial, {})[event.step] = event.values["valid_loss"]
    ends = {str(event.trial): (event.values, event.curve) for event in events if isinstance(event, Ended)}
    assert ends == trained(spec.model_copy(update={"stopping": None}), "vmap", count), "a score changes no trial"
    return scores


def with_score(folder: Path, score: str, **changed: Any) -> SweepSpec:
    return spec_of(folder, stopping={"score": score, "rungs": [0.25, 0.5]}, **changed)


def test_trials_are_scored_by_a_persons_score_alone_and_beside_others(folder: Path) -> None:
    spec = with_score(folder, "scores.py:Trend")
    scores = scored(spec)
    steps = [spec.budget.steps // 4, spec.budget.steps // 2]
    assert [list(of_trial) for of_trial in scores.values()] == [steps, steps]
    assert scored(spec, 1)["0/0"] == scores["0/0"]
    plain = scored(with_score(folder, "value"))
    assert scores["0/0"] != plain["0/0"], "it makes something else of the same validations"


def test_a_persons_score_of_a_copy_that_trains_on_is_that_of_the_same_kind_of_this_program(folder: Path) -> None:
    assert scored(with_score(folder, "scores.py:Drop")) == scored(with_score(folder, "probe"))


def test_halving_names_a_persons_score_by_its_class(folder: Path) -> None:
    spec = with_score(folder, "scores.py:Trend")
    assert spec.stopping
    rule = Halving(spec.stopping.model_copy(update={"least": 2}))
    rule.enter([(25, 0, 2.0, 0), (25, 1, 3.0, 1)])
    assert rule.reason(25, 1) == "ranked 2 of 2 by Trend at step 25 (3), the best 1 go on"


def test_a_score_that_raises_while_trials_train_fails_each_of_them_and_is_named(folder: Path) -> None:
    spec = with_score(folder, "scores.py:Raising")
    plan.check_names(spec)
    trials = [PlannedTrial(i, point) for i, point in enumerate(points(spec)[:2])]
    ends = [
        event
        for event in make_cohort(spec, trials, Provenance("vmap", "", 2, "cpu")).train()
        if isinstance(event, Ended)
    ]
    assert [event.status for event in ends] == ["failed", "failed"]
    for event in ends:
        raised = r"stopping.score: .*scores.py:Raising raised ZeroDivisionError \(scores.py, line \d+\)"
        assert re.fullmatch(rf"{raised}, at step {spec.budget.steps // 4}", event.evidence)


def test_a_score_that_nobody_has_is_refused_by_the_engine_too() -> None:
    with pytest.raises(BadInput, match=r"stopping.score: unknown score 'prob'; did you mean 'probe'\?"):
        assert Scoring(("prob",)).averaged


WRONG = [
    ({"schedule": {"kind": "mine.py:Sawtooth", "tooth": 3}}, ["schedule.tooth", "did you mean 'teeth'?"]),
    ({"schedule": {"kind": "mine.py:Sawtooth", "teeth": 0}, "space": {}}, ["schedule.teeth: 0", "[1, 100]"]),
    ({"schedule": {"kind": "mine.py:Sawtooth", "teeth": 3}, "space": {"teeth": 4}}, ["space.teeth", "keep one"]),
    ({"space": {"teeth": [2, 101]}}, ["space.teeth: 101 is no number in [1, 100]"]),
    ({"space": {"signed": [True]}}, ["space.signed", "cannot be searched"]),
    ({"space": {"teath": [2, 3]}}, ["unknown hyperparameter 'teath'", "teeth"]),
    ({"space": {"decay_points": [0.5]}}, ["space.decay_points", "Sawtooth' has no decay points"]),
    ({"optimizer": {"kind": "lion.py:Lion", "signed": 3}}, ["optimizer.signed", "true or false"]),
    ({"optimizer": "lion.py:Tiger"}, ["optimizer.kind", "has no class 'Tiger'", "Lion"]),
    ({"optimizer": "mine.py:Sawtooth"}, ["Sawtooth is no Optimizer"]),
    ({"search": {"sampler": "mine.py:Sawtooth"}}, ["search.sampler", "Sawtooth is no Sampler"]),
    ({"schedule": "nowhere.py:A"}, ["schedule.kind: no file"]),
    ({"space": {"schedule": ["cosine", "nowhere.py:A"]}}, ["space.schedule: no file"]),
    ({"space": {"schedule": ["cosine", "lion.py:Lion"]}}, ["space.schedule", "Lion is no Schedule"]),
    ({"stopping": {"score": "mine.py:Sawtooth"}}, ["stopping.score", "Sawtooth is no Score"]),
    ({"stopping": {"score": "scores.py:Trent"}}, ["stopping.score", "has no class 'Trent'", "Trend"]),
    ({"stopping": {"score": "scores.py:Both"}}, ["stopping.score", "averaged and trains_on"]),
    ({"stopping": {"score": "scores.py:Nameless"}}, ["stopping.score", "has no valid_loss", "it has loss"]),
]


@pytest.mark.parametrize(("changed", "words"), WRONG, ids=str)
def test_what_a_persons_kind_does_not_take_is_refused_before_anything_trains(
    folder: Path, changed: dict[str, Any], words: list[str]
) -> None:
    spec = spec_of(folder, **{"space": {"lr_exponent": -2}} | changed)
    with pytest.raises(BadInput) as refused:
        plan.check_names(spec)
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (
            '(Number("lr_exponent", 3, 1, 9),)',
            ["schedule.kind", "'lr_exponent' is taken; give its number another name"],
        ),
        ('(Number("batch_size", 3, 1, 9),)', ["'batch_size' is taken"]),
        ('("teeth",)', ["numbers has 'teeth'; write a tuple of espalier.Number"]),
        ('"teeth"', ["numbers is 'teeth'; write a tuple"]),
        ('Number("teeth", 3, 1, 9)', ["numbers is Number("]),
        ('(Flag("teeth"),)', ["numbers has Flag("]),
        ("None", ["numbers is None"]),
    ],
)
def test_wrong_numbers_of_a_schedule_are_refused_in_words(folder: Path, numbers: str, words: list[str]) -> None:
    text = SCHEDULE.replace('(Number("teeth", 3, 1, 100, "how many times the rate falls"),)', numbers)
    (folder / "bad.py").write_text(text.replace("import Number", "import Flag, Number"))
    with pytest.raises(BadInput) as refused:
        plan.check_names(spec_of(folder, schedule="bad.py:Sawtooth", space={"lr_exponent": -2}))
    assert all(word in str(refused.value) for word in ["bad.py:Sawtooth", *words])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("@dataclass(frozen=True)", "@dataclass"), "it cannot be hashed; make it @dataclass.frozen=True"),
        (('    slots = ("mean",)', "    @classmethod\n    def make(cls, flags, used): return 3"), "make.. returned 3"),
        (("def update", "def upadte"), r"Lion has no update\(\)"),
        (("mean_KP = slots", "mean_KP = 1 / 0 + slots"), r"ZeroDivisionError: division by zero \(bad.py, line \d+\)"),
    ],
)
def test_a_wrong_optimizer_is_refused_in_words(folder: Path, change: tuple[str, str], words: str) -> None:
    (folder / "bad.py").write_text(OPTIMIZER.replace(*change))
    with pytest.raises(BadInput, match=words):
        plan.check_names(spec_of(folder, optimizer="bad.py:Lion", space={"lr_exponent": -2}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ("return float('nan')", "the rate at 0"),
        ("return -u", "the rate at 0.5"),
        ("return 'a'", "TypeError"),
    ],
)
def test_a_schedule_that_gives_no_rates_is_refused_before_anything_trains(folder: Path, body: str, words: str) -> None:
    (folder / "bad.py").write_text(SCHEDULE.replace("return 1 - math.sin(u * teeth) ** 2 / 2", body))
    with pytest.raises(BadInput, match=words):
        plan.check_names(spec_of(folder, schedule="bad.py:Sawtooth", space={"lr_exponent": -2}))


@pytest.mark.parametrize(
    "changed",
    [
        {"resources": {"program": "nowhere.py:Mine"}},
        {"resources": {"program": "mine.py:Sawtooth"}},
        {"search": {"sampler": "mine.py:Stub"}},
        {"watchers": ["mine.py:Sawtooth"]},
    ],
    ids=str,
)
def test_every_wrong_kind_is_refused_before_the_sweep_is_announced(folder: Path, changed: dict[str, Any]) -> None:
    (folder / "mine.py").write_text(f"import espalier as es\n{SCHEDULE}\n\nclass Stub(es.Sampler): pass\n")
    announced: list[bool] = []
    with pytest.raises(BadInput):
        check_spec(spec_of(folder, **changed), Home.at(str(folder)), lambda: announced.append(True))
    assert not announced
