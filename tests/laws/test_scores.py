"""Scores at rungs: they change nothing, and are what their names say."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from espalier.core.optimizers import SGD
from espalier.core.training.averages import AVERAGE_EVERY
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported, Scored
from espalier.core.training.history import history
from espalier.core.training.scores import Scoring
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.laws.cases import (
    OPTIMIZERS,
    STEPS,
    TASKS,
    Case,
    Engine,
    batched,
    crowds,
    exact,
    results,
    stream,
)
from tests.laws.resuming import resumed, turns
from tests.laws.scoring import EVERY_SCORE, scores, with_rungs
from tests.tiers import examples

pytestmark = pytest.mark.each_value


@examples(40)
@given(
    crowd=crowds(),
    lanes=st.integers(1, 9),
    rungs=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=3),
    kinds=st.sets(st.sampled_from(EVERY_SCORE), min_size=1),
    steps=st.integers(1, 5),
)
def test_scores_change_no_trial_and_are_those_of_a_solo_run(
    engine: Engine,
    crowd: tuple[str, Structure, list[Trial]],
    lanes: int,
    rungs: set[int],
    kinds: set[str],
    steps: int,
) -> None:
    task, structure, bare = crowd
    trials, scoring = with_rungs(bare, rungs), Scoring(tuple(sorted(kinds)), steps)
    cohort = engine.cohort(task, structure, trials, lanes, scoring=scoring)
    events = list(cohort.train())
    assert results(events) == engine.all_alone(task, structure, bare)
    alone: dict[tuple[str, int, str], Any] = {}
    for trial in trials:
        alone |= scores(engine.cohort(task, structure, [trial], 1, scoring=scoring).train())
    assert scores(events) == alone
    ends = {event.trial: event.step for event in events if isinstance(event, Ended)}
    passed = {(trial.id, rung) for trial in trials for rung in rungs if rung <= ends[trial.id]}
    assert {(trial, rung, kind) for trial, rung in passed for kind in kinds} >= set(alone)
    complete = {event.trial for event in events if isinstance(event, Ended) and event.status == "complete"}
    assert {key for key in alone if key[0] in complete} == {
        (trial, rung, kind) for trial, rung in passed for kind in kinds if trial in complete
    }
    if len(complete) == len(trials):  # one that diverges is noticed at the end of a stretch
        plain = engine.cohort(task, structure, bare, lanes)
        list(plain.train())
        assert cohort.steps_shared == plain.steps_shared
        assert cohort.lane_steps - cohort.work.probe_steps == plain.lane_steps


@examples(25)
@given(
    crowd=crowds(),
    lanes=st.integers(1, 5),
    rungs=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=3),
    kills=st.lists(st.integers(0, 8), min_size=1, max_size=3),
)
def test_a_resumed_run_says_the_same_scores(
    engine: Engine,
    crowd: tuple[str, Structure, list[Trial]],
    lanes: int,
    rungs: set[int],
    kills: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    task, structure, trials = crowd[0], crowd[1], with_rungs(crowd[2], rungs)

    def make() -> Cohort:
        return engine.cohort(task, structure, trials, lanes, scoring=Scoring(EVERY_SCORE, 3))

    assert resumed(make, kills, tmp_path_factory.getbasetemp() / "rungs.pt") == stream(make().train())


@examples(25)
@given(
    crowd=crowds(),
    lanes=st.integers(1, 5),
    rungs=st.sets(st.integers(1, STEPS - 1), max_size=3),
    turns_=st.integers(0, 12),
)
def test_a_cohort_repeats_what_its_trials_have_said(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]], lanes: int, rungs: set[int], turns_: int
) -> None:
    def plain(events: Iterable[Event]) -> list[dict[str, Any]]:
        bare = (replace(e, verdict="", evidence="", ratios=()) if isinstance(e, Reported) else e for e in events)
        return sorted(stream(bare), key=str)

    cohort = engine.cohort(*crowd[:2], with_rungs(crowd[2], rungs), lanes, scoring=Scoring(EVERY_SCORE, 2))
    seen = list(itertools.chain.from_iterable(itertools.islice(turns(cohort), turns_)))
    assert plain(cohort.events_so_far()) == plain(seen)
    again = engine.cohort(*crowd[:2], with_rungs(crowd[2], rungs), lanes, scoring=Scoring(EVERY_SCORE, 2))
    again.load_state(cohort.state())
    assert stream(again.events_so_far()) == stream(cohort.events_so_far())


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_probe_is_the_run_that_decays_there_and_a_value_is_the_validation_there(
    engine: Engine, task_name: str, optimizer: str
) -> None:
    case = Case(task_name, optimizer, "step", 0.0)
    hyper = replace(case.hyper, decay_points=())
    trial = Trial("t", 3, STEPS, hyper, STEPS, rungs=(5,))
    found = scores(engine.cohort(task_name, case.structure, [trial], 2, scoring=Scoring(EVERY_SCORE, 4)).train())
    decaying = replace(trial, rungs=(), hyper=replace(hyper, decay_points=(5 / STEPS,), decay_factor=0.1))

    def values_by_step(trial: Trial) -> dict[int, Mapping[str, float]]:
        events = engine.cohort(task_name, case.structure, [trial], 2).train()
        return {event.step: event.values for event in events if isinstance(event, Reported)}

    reports = values_by_step(decaying)
    valid = {step: exact({k: v for k, v in values.items() if k[:5] == "valid"}) for step, values in reports.items()}
    assert found["t", 5, "probe"] == valid[9]
    assert found["t", 5, "value"] == valid[5]
    constant = values_by_step(replace(trial, rungs=()))
    assert found["t", 5, "cooldown"]["valid_loss"] == constant[9]["valid_loss"].hex(), "a constant rate stays"


def test_a_copy_trains_a_share_of_what_its_trial_has_trained(engine: Engine) -> None:
    case = Case(TASKS[0], next(iter(OPTIMIZERS)), "step", 0.0)
    trial = Trial("t", 3, STEPS, case.hyper, STEPS, rungs=(5, 10))
    cohort = engine.cohort(TASKS[0], case.structure, [trial], 2, scoring=Scoring(("probe",), share=0.4))
    list(cohort.train())
    assert cohort.work.probe_steps == 2 + 4


@pytest.mark.parametrize("kind", EVERY_SCORE)
def test_lanes_that_come_to_a_rung_together_are_scored_in_one_turn(engine: Engine, kind: str) -> None:
    """So that they are judged together."""
    case = Case(TASKS[0], next(iter(OPTIMIZERS)), "step", 0.0)
    trials = [Trial(str(k), 3, STEPS, replace(case.hyper, lr=0.01 * (k + 1)), 3, rungs=(5,)) for k in range(3)]
    cohort = engine.cohort(TASKS[0], case.structure, trials, lanes=3, scoring=Scoring((kind,), 3))
    turns: list[list[str]] = []
    while not cohort.done:
        turns.append([event.trial for event in cohort.turn() if isinstance(event, Scored)])
    assert [turn for turn in turns if turn] == [["0", "1", "2"]]


def test_the_cooldown_falls_in_a_line_to_the_rate_at_the_end() -> None:
    structure = Structure(SGD(), "cosine")
    trial = Trial("t", 0, 100, Hyperparameters(lr=2.0, floor=0.1))
    lr_S = history(structure, [trial.probed(50, 10, None)], [50], 10)[:, 0, 0]
    whole_S = history(structure, [trial], [0], 100)[:, 0, 0]
    line = [whole_S[50] + (whole_S[99] - whole_S[50]) * i / 10 for i in range(1, 11)]
    torch.testing.assert_close(lr_S, torch.stack(line))
    assert float(lr_S[-1]) == pytest.approx(float(whole_S[99]))


def published_power(width: float) -> float:
    """Return the power g of an average so wide, a share of the steps so far, to the two decimals that the paper gives.

    width = sqrt((g + 1) / ((g + 2)^2 (g + 3)))   (Karras et al. 2024, arXiv:2312.02696, sigma_rel)
    """
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    power = float(max(roots.real))
    assert math.sqrt((power + 1) / ((power + 2) ** 2 * (power + 3))) == pytest.approx(width)
    return round(power, 2)


@pytest.mark.parametrize("task_name", TASKS)
def test_the_average_is_that_of_the_weights_at_every_eighth_step(engine: Engine, task_name: str) -> None:
    case = Case(task_name, "momentum", "constant", 0.0)
    rung = 4 * AVERAGE_EVERY + 3
    trial = Trial("t", 3, rung + 5, case.hyper, rung + 5, rungs=(rung,))
    cohort = engine.cohort(task_name, case.structure, [trial], 2, scoring=Scoring(("average",)))
    mean: dict[str, Tensor] = {}
    said: list[Event] = []
    while not said:
        said = [event for event in cohort.turn() if isinstance(event, Scored)]
        row, step = cohort.pool.rows.row(0), cohort.pool.active[0].step
        weights = {name: t.double() for name, t in row.items() if name.startswith(("theta.", "buffer."))}
        if step % AVERAGE_EVERY == 0:
            beta = (1 - AVERAGE_EVERY / step) ** (published_power(0.10) + 1)
            mean = {name: beta * mean.get(name, 0) + (1 - beta) * value for name, value in weights.items()}
    averaged = row | {name: value.float() for name, value in mean.items()}
    expected = cohort.program.evaluate(averaged, cohort.data.valid)
    assert said[0].values["valid_loss"] == pytest.approx(expected["loss"], rel=1e-5)
    raw = cohort.program.evaluate(row, cohort.data.valid)["loss"]
    assert abs(raw - expected["loss"]) > 1e-4 * raw, "an average that is the last weights would pass"


@batched
def test_averages_of_lanes_of_different_ages_are_those_of_solo_runs_taken_step_by_step(
    engine: Engine, program: str
) -> None:
    """However many steps a turn takes, no lane's eighth step is passed over on the way.

    The model has no matrix, whose ratios would be taken at every step.
    """
    case = Case("thermometer", "momentum", "constant", 0.0)
    lengths = {"early": 13, "middle": 61, "late": 61, "last": 45}
    trials = [
        Trial(key, seed, steps, case.hyper, reports=1, rungs=tuple(rung for rung in (11, 37, 44) if rung < steps))
        for seed, (key, steps) in enumerate(lengths.items())
    ]
    scoring = Scoring(("average",))
    alone: dict[tuple[str, int, str], Any] = {}
    for trial in trials:
        cohort = engine.cohort(case.task, case.structure, [trial], 1, program, scoring=scoring)
        events: list[Event] = []
        while not cohort.done:
            events += cohort.turn(1)
        alone |= scores(events)
    assert len(alone) == 1 + 3 * 3
    together = engine.cohort(case.task, case.structure, trials, 2, program, scoring=scoring)
    assert scores(together.train()) == alone


@pytest.mark.parametrize("kind", EVERY_SCORE)
def test_a_trial_that_is_stopped_at_its_rung_frees_its_lane_and_its_neighbours_go_on(engine: Engine, kind: str) -> None:
    case = Case("names", "SGD", "step", 0.0)
    trials = with_rungs(case.trials(), [6])
    cohort = engine.cohort(case.task, case.structure, trials, lanes=3, scoring=Scoring((kind,), 3))
    events: list[Event] = []
    while not cohort.done:
        events += cohort.turn()
        if any(isinstance(event, Scored) and event.trial == "trunk" for event in events):
            cohort.stop("trunk", "it is the worse one")
    found = results(events)
    assert found["trunk"][-1]["status"] == "stopped"
    assert found["trunk"][-1]["step"] == 6 or kind == "value"
    others = [trial for trial in case.trials() if trial.id != "trunk"]
    assert {t.id: found[t.id] for t in others} == engine.all_alone(case.task, case.structure, others)
