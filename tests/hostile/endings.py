"""What must hold of a sweep when it has ended, whatever happened to it: the records of a calm run, each once."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from espalier.core.native import compiler
from espalier.core.task import load_task
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Trial
from espalier.sweeps import cohorts as plan
from espalier.sweeps.recording.tracking import shown_params
from espalier.sweeps.search.replicates import Replicates
from espalier.sweeps.search.trial_events import Report
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.hostile.harness import Sweep, client_of

Reports = list[tuple[int, dict[str, float]]]


def uninterrupted(
    spec: SweepSpec, points: Mapping[int, Mapping[str, Any]], programs: Mapping[int, str]
) -> dict[int, Reports]:
    """Train these points from start to end in this process, each by its program; return all reports of each trial."""
    told = json.dumps([spec.model_dump(mode="json"), [(n, points[n], programs[n]) for n in sorted(points)]])
    return _uninterrupted(told)


@cache
def _uninterrupted(told: str) -> dict[int, Reports]:
    fields, points = json.loads(told)
    spec = make_spec(fields)
    task = load_task(spec.task, spec.task_options)
    alike: dict[tuple[str, str], list[Trial]] = {}
    for number, point, program in points:
        alike.setdefault((plan.structural_key(spec, point), program), []).extend(plan.replicates(spec, number, point))
    structures = {plan.structural_key(spec, point): plan.structure(spec, point) for _, point, _ in points}
    stories = {number: Replicates(number, spec.replicates) for number, _, _ in points}
    found: dict[int, Reports] = {number: [] for number, _, _ in points}
    for (key, program), trials in alike.items():
        cohort = Cohort(
            CohortSetup(task, task.data(), structures[key], trials, 16, program, scoring=plan.scoring(spec))
        )
        for event in cohort.train():
            heard = stories[event.trial_id.number].merge(event)
            if isinstance(heard, Report):
                found[heard.trial].append((heard.step, dict(heard.values)))
    return found


def check_the_end(sweep: Sweep) -> None:
    """Whatever happened: each trial once in Optuna and once in MLflow, whole, with the numbers of a calm run."""
    trials = {t.number: t for t in sweep.trials()}
    assert sorted(trials) == list(range(sweep.spec.trials))
    ends = {"complete", "stopped"} if sweep.spec.stopping else {"complete"}
    assert {t.state for t in trials.values()} == ends

    runs = sweep.runs()
    states = Counter(run.info.status for run in runs)
    assert states == {"FINISHED": 1 + len(trials)}, states
    assert {run.data.tags.get("espalier.sweep") for run in runs} == {sweep.id}
    (parent,) = [run for run in runs if "espalier.trial" not in run.data.tags]
    children = {int(run.data.tags["espalier.trial"]): run for run in runs if run is not parent}
    assert sorted(children) == sorted(trials)
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    expected_params = {n: shown_params(t.params) for n, t in trials.items()}
    assert {number: _params(run) for number, run in children.items()} == expected_params

    assert sweep.links() == {number: run.info.run_id for number, run in children.items()}
    check_numbers(sweep, children)


def check_numbers(sweep: Sweep, runs: Mapping[int, Any]) -> None:
    """Some trials have in MLflow and in Optuna what a calm run gives, each number once."""
    trials = {t.number: t for t in sweep.trials()}
    expected = uninterrupted(sweep.spec, {n: trials[n].params for n in runs}, sweep.programs())
    for number, run in runs.items():
        measured = dict(histories(sweep.tracking, run))
        twice = {key: s for key, points in measured.items() if (s := _twice(points))}
        assert not twice, f"trial {number} has metrics that were logged twice for a step: {twice}"
        whole = trials[number].state == "complete"
        reports = expected[number] if whole else expected[number][: len(trials[number].reports)]
        for name in ("valid_loss", "lr"):
            calm = [(step, values[name]) for step, values in reports]
            apart = sorted(set(measured[name]) ^ set(calm))
            assert measured[name] == calm, f"{name} of trial {number} differs from an uninterrupted run: {apart}"
        assert len(measured["train_loss"]) == 10 * len(reports)
        final = reports[-1][1]["valid_loss"]
        assert trials[number].value == (final if whole else None), (trials[number], final)
        assert trials[number].reports == {step: values["valid_loss"] for step, values in reports}
        last, value = measured["valid_loss"][-1]
        assert value == final == run.data.metrics["valid_loss"]
        assert last == sweep.spec.budget.steps if whole else last == reports[-1][0] < sweep.spec.budget.steps


def check_chosen(sweep: Sweep) -> None:
    """Every trial trained by machine code, which is chosen by itself where it can be had."""
    assert set(sweep.programs().values()) == ({"native"} if compiler() else {"vmap"})


def _params(run: Any) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in run.data.params.items()}


def histories(uri: str, run: Any) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    client = client_of(uri)
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        yield name, sorted((point.step, point.value) for point in history)


def _twice(points: Sequence[tuple[int, float]]) -> list[int]:
    return [step for step, times in Counter(step for step, _ in points).items() if times > 1]
