"""Sweeps that are trained get the same compute, whoever proposes their trials."""

import math
from dataclasses import replace

import optuna
import pytest

from espalier.core.training.events import Ended
from espalier.sweeps.engine import make_cohort
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from tests.bench import real
from tests.bench.real import OURS, PEERS, Real

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SMALL = Real("digits", "sgd", "step", 40, (-2.0, 0.0), (0.4, 0.9), 3, 0.5, "nobody")


def trained(sweep: Real, params: dict[str, float]) -> float:
    """Return the loss at the end of a whole training."""
    (end,) = (event for event in real.Alone(sweep).cohort(0, params).train() if isinstance(event, Ended))
    return end.values[real.METRIC]


def test_a_trial_of_optuna_is_that_of_the_command() -> None:
    """With its rate and its decay point, to the bit."""
    spec, losses = SMALL.spec(), set[float]()
    for end in (0.0, 1.0):
        params = {
            name: (1 - end) * domain.low + end * domain.high  # pyright: ignore[reportAttributeAccessIssue]
            for name, domain in real.distributions(SMALL).items()
        }
        params["lr_exponent"] = -0.5
        trial = PlannedTrial(0, spec.space.resolve(dict(params)))
        assert trial.point["decay_points"] == [(0.4, 0.9)[int(end)]]
        events = make_cohort(spec, [trial], Provenance("plain", "", 1, "cpu")).train()
        (loss,) = (event.values[real.METRIC] for event in events if isinstance(event, Ended))
        assert trained(SMALL, params) == loss
        losses.add(loss)
    assert len(losses) == 2, "the decay point matters"


@pytest.mark.parametrize(("sampler", "pruner"), PEERS)
def test_every_search_of_optuna_spends_the_budget_to_the_step(sampler: str, pruner: str) -> None:
    found = real.peer(SMALL, sampler, pruner, 0)
    assert found.lane_steps == SMALL.lane_steps == 120
    assert found.trials >= SMALL.trainings
    assert pruner or found.trials == SMALL.trainings
    assert math.isfinite(found.best)


def test_random_search_finds_the_best_of_its_trials_trained_alone() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    asked = [study.ask(real.distributions(SMALL)).params for _ in range(SMALL.trainings)]
    assert real.peer(SMALL, "random", "", 3).best == min(trained(SMALL, params) for params in asked)


def test_a_trial_that_the_budget_does_not_pay_is_lost() -> None:
    shorter = replace(SMALL, trainings=1, steps=100)
    trial = optuna.create_study().ask(real.distributions(shorter))
    cohort = real.Alone(shorter).cohort(0, trial.params)
    state, _ = real.trained_at_most(cohort, trial, 100, 70)
    assert state == optuna.trial.TrialState.FAIL
    assert cohort.work.lane_steps == 70


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [SMALL, replace(SMALL, schedule="cosine", decays=None)], ids=["step", "cosine"])
def test_the_command_trains_the_budget_and_no_further(sweep: Real) -> None:
    found = real.ours(sweep, 0)
    assert sweep.lane_steps - sweep.steps < found.lane_steps <= sweep.lane_steps
    assert math.isfinite(found.best)


def test_the_report_has_the_median_and_the_worst() -> None:
    rows = [
        {"sweep": "names-adamw-linear", "search": search, "seed": seed, "best": 2.3009 + off * (1 + seed)}
        | {"lane_steps": 59_000 + seed, "trials": 20, "seconds": 12.0}
        for search, off in ((OURS, 0.001), ("Optuna TPE", 0.01))
        for seed in range(3)
    ]
    text = real.report(rows, "Machine: none.")
    assert f"| {OURS} | 2.3029 | 2.3039 | 0.0020 | 0.0030 | 59,000 ... 59,002 | 20 | 12.0 |" in text
    assert "| Optuna TPE | 2.3209 | 2.3309 | 0.0200 | 0.0300 |" in text
