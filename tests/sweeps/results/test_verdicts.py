"""What every verdict of every ready sweep keeps to, for losses and for metrics that are to grow."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from espalier.core.measures.verdicts import VERDICTS
from espalier.core.optimizers import SGD
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.program import Program
from espalier.core.task import Task, load_task
from espalier.core.tasks.fashion import DEBIAN
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Event
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Trial
from espalier.sweeps import cohorts as plan
from espalier.sweeps.cohorts import structural_key
from espalier.sweeps.results.comparison import judged_together
from espalier.sweeps.results.trial_result import TrialResult, best_trial, ranked
from espalier.sweeps.search.replicates import Replicates, value_to_beat
from espalier.sweeps.search.trial_events import Outcome
from espalier.sweeps.spec.space import Choice, extremes
from espalier.sweeps.spec.spec import SweepSpec, load_spec

LIBRARY = Path(__file__).resolve().parents[3] / "sweeps" / "library"
READY = sorted(path.stem for path in LIBRARY.glob("*.yaml"))
SMALL: Mapping[str, Sequence[str]] = {
    "names": ("budget.steps=500", "task_options={hidden: 60, validation: 1000}"),
    "names-sgd": ("budget.steps=500", "task_options={hidden: 60, validation: 1000}"),
    "names-batchnorm": ("budget.steps=300", "task_options={hidden: 60, validation: 1000, batchnorm: true}"),
    "deep-names": ("budget.steps=120", "task_options={hidden: 40, validation: 1000}"),
    "digits": ("budget.steps=400",),
    "digits-conv": ("budget.steps=100", "task_options={channels: 4}"),
    "fashion": ("budget.steps=200", "task_options={hidden: 32, validation: 2000}"),
    "line": (),
    "thermometer": (),
}
FAR = 0.5  # decades


def test_every_ready_sweep_is_looked_at() -> None:
    assert set(SMALL) == set(READY)


def points(spec: SweepSpec, count: int) -> list[dict[str, Any]]:
    """Return points evenly over the exponents of a spec, each with the next of its choices."""
    ends = [float(value) for value in extremes(spec.space.lr_exponent)]
    low, high = min(ends), max(ends)
    first = plan.first_point(spec)
    schedules = [
        choice
        for name, d in spec.space.domains()
        if isinstance(d, Choice) and name == "schedule"
        for choice in d.choices
    ]
    made = []
    for i in range(count):
        exponent = low + (high - low) * i / (count - 1)
        made.append(first | {"lr_exponent": exponent} | ({"schedule": schedules[i % 4]} if schedules else {}))
    return made


def trained(spec: SweepSpec, made: Sequence[dict[str, Any]]) -> list[TrialResult]:
    """Train the points of a spec as a sweep does, cohort by cohort, and return its table."""
    cohorts: dict[str, list[int]] = {}
    for number, point in enumerate(made):
        cohorts.setdefault(structural_key(spec, point), []).append(number)
    rows = []
    for numbers in cohorts.values():
        rows += cohort_rows(spec, {number: made[number] for number in numbers})
    mode = spec.objective.mode
    return judged_together(sorted(rows, key=lambda t: t.number), plan.thresholds(spec), mode)


def cohort_rows(spec: SweepSpec, made: Mapping[int, dict[str, Any]]) -> list[TrialResult]:
    first = next(iter(made.values()))
    task = load_task(spec.task, plan.task_options(spec, first))
    members = [member for number, point in made.items() for member in plan.replicates(spec, number, point)]
    structure, watchers = plan.structure(spec, first), plan.watchers(spec)
    cohort = Cohort(CohortSetup(task, task.data(), structure, members, len(members), watchers=watchers))
    stories = {number: Replicates(number, spec.replicates) for number in made}
    rows: dict[int, dict[int, float]] = {number: {} for number in made}
    outcomes = []
    for event in cohort.train():
        number = event.trial_id.number
        told = stories[number].merge(Event.from_json(json.loads(json.dumps(event.to_json()))))
        if isinstance(told, Outcome):
            outcomes.append(told)
        elif told is not None and spec.objective.metric in told.values:
            rows[number][told.step] = told.values[spec.objective.metric]
    return [row_of(spec, made[outcome.trial], outcome, rows[outcome.trial]) for outcome in outcomes]


def row_of(spec: SweepSpec, point: dict[str, Any], outcome: Outcome, reports: Mapping[int, float]) -> TrialResult:
    metric, mode = spec.objective.metric, spec.objective.mode
    value = outcome.values.get(metric) if outcome.status == "complete" else None
    beats = value_to_beat(outcome.replicates, metric, mode)
    return TrialResult(
        outcome.trial,
        outcome.status,
        value,
        point,
        verdict=outcome.verdict,
        evidence=outcome.evidence,
        reports=reports,
        to_beat=beats,
    )


def shares(target: Tensor) -> Tensor:
    return target.bincount().double() / len(target)


def floors(spec: SweepSpec, task: Task) -> list[float]:
    """Return what a constant guess and an untrained model have of the objective, by this test's own arithmetic."""
    data, metric = task.data(), spec.objective.metric
    program = PlainProgram(task, SGD())
    before = program.evaluate(program.fresh_row(0), data.valid)[metric.removeprefix("valid_")]
    seen, asked = data.train[1], data.valid[1]
    if metric == "valid_accuracy":
        guess = float((asked == shares(seen).argmax()).double().mean())
    elif seen.is_floating_point():
        guess = float((asked - seen.mean()).square().mean())
    else:
        guess = -float(shares(seen)[asked].log().mean())
    return [guess, before]


def hold(spec: SweepSpec, table: Sequence[TrialResult]) -> None:
    """Hold a table to the rules."""
    sign, mode = spec.objective.sign, spec.objective.mode
    best = best_trial(table, mode)
    assert best and best.value is not None
    floor = floors(spec, load_task(spec.task, plan.task_options(spec, dict(table[0].params))))
    said = {t.number: (round(t.params["lr_exponent"], 2), t.value, t.verdict, t.evidence) for t in table}
    for t in table:
        assert t.verdict in VERDICTS and t.evidence, said[t.number]
        if t.value is not None and any(sign * t.value >= sign * level for level in floor):
            assert t.verdict not in ("healthy", "catapult"), said[t.number]
        if t.params["lr_exponent"] >= best.params["lr_exponent"] + FAR:
            assert t.verdict not in ("frozen", "stuck"), said[t.number]
    for t in ranked(table, mode)[: math.ceil(len(table) / 10)]:
        assert t.verdict not in ("frozen", "hot", "stuck"), said[t.number]
    assert best.verdict == "healthy" or best.verdict == "catapult", said[best.number]


def ready(name: str, *assignments: str) -> SweepSpec:
    if name == "fashion" and not Path(DEBIAN).is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    return load_spec(str(LIBRARY / f"{name}.yaml"), assignments)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", READY)
def test_the_verdicts_of_a_small_ready_sweep_keep_to_the_rules(name: str) -> None:
    spec = ready(name, *SMALL[name])
    hold(spec, trained(spec, points(spec, 12)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("more", [(), ("budget.steps=8000",)], ids=["as it is", "8,000 steps"])
@pytest.mark.parametrize("name", READY)
def test_the_verdicts_of_a_ready_sweep_keep_to_the_rules(name: str, more: Sequence[str]) -> None:
    if more and name not in ("digits", "line", "thermometer"):
        pytest.skip("long enough as it is")
    spec = ready(name, *more)
    hold(spec, trained(spec, points(spec, 24)))


@pytest.mark.parametrize("metric, mode", [("valid_accuracy", "max"), ("valid_loss", "min"), ("train_loss", "min")])
def test_the_rules_hold_whatever_the_objective(metric: str, mode: str) -> None:
    """Rates up to a hundred times too high break ReLUs for good, after which gradients, and ratios, are small."""
    wide = "space={lr_exponent: {low: -5, high: 1}}"
    spec = ready("digits", "budget.steps=300", wide, f"objective={{metric: {metric}, mode: {mode}}}")
    made = [point | {"schedule": "constant"} for point in points(spec, 13)]
    table = trained(spec, made)
    if metric != "train_loss":
        hold(spec, table)
    best = best_trial(table, mode)
    assert best and best.verdict == "healthy"
    for t in table:
        if t.value is not None and t.params["lr_exponent"] > best.params["lr_exponent"] + FAR:
            assert t.verdict in ("hot", "collapsed", "diverged", "healthy"), (t.params["lr_exponent"], t.evidence)
    assert table[0].verdict in ("frozen", "stuck"), (table[0].value, table[0].evidence)


def test_a_verdict_of_its_own_is_the_same_in_every_company() -> None:
    spec = ready("digits", "budget.steps=60")
    made = [point | {"schedule": "constant"} for point in points(spec, 6)]
    together = {t.number: t for t in cohort_rows(spec, dict(enumerate(made)))}
    for number, point in enumerate(made):
        (alone,) = cohort_rows(spec, {number: point})
        beside = together[number]
        assert (alone.verdict, alone.evidence, alone.to_beat) == (beside.verdict, beside.evidence, beside.to_beat)


def test_what_a_trial_has_to_beat_costs_one_validation_for_each_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ready("digits", "budget.steps=20", "replicates=2")
    made = [point | {"schedule": "constant"} for point in points(spec, 5)]
    asked: list[int] = []
    fresh = Program.fresh_row

    def counted(self: Program, seed: int) -> dict[str, Tensor]:
        if type(self) is PlainProgram:  # the plain one is that of the baselines, here
            asked.append(seed)
        return fresh(self, seed)

    monkeypatch.setattr(Program, "fresh_row", counted)
    cohort_rows(spec, dict(enumerate(made)))
    assert sorted(asked) == [0, 1]


def test_trials_are_the_same_to_the_last_bit_whether_somebody_judges_them_or_not() -> None:
    spec = ready("digits", "budget.steps=30")
    point = points(spec, 2)[0]
    task = load_task(spec.task, {})

    def values(watchers: Sequence[Any]) -> list[Any]:
        member: Trial = plan.replicates(spec, 0, point)[0]
        cohort = Cohort(
            CohortSetup(task, task.data(), plan.structure(spec, point), [member], 1, "plain", watchers=watchers)
        )
        end = list(cohort.train())[-1]
        return [end.curve, [values["valid_loss"] for _, values in end.reports]]

    torch.manual_seed(7)
    expected = torch.get_rng_state()
    assert values(plan.watchers(spec)) == values(())
    assert torch.equal(torch.get_rng_state(), expected)
