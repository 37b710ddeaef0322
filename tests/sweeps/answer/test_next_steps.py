"""What to try next: each step has a reason that was seen, and an option that a spec takes."""

import re
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.next_steps import Step, next_steps
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.answer.test_words import bowl, foreign, known_noise
from tests.sweeps.answer.valleys import spec_of

DENSE = bowl("lr_exponent", -2.5, 0.3, -1, 60)


def steps(trials: list[TrialResult], spec: SweepSpec | None = None, **more: Any) -> list[Step]:
    return next_steps(answer_of(spec or spec_of("rate"), trials, **more), "made-1")


def taken(step: Step, spec: SweepSpec) -> SweepSpec:
    """Return a spec with the options of a step."""
    words = shlex.split(step.do)
    assert words[::2] == ["--set"] * (len(words) // 2)
    return make_spec(override(spec.model_dump(mode="json", exclude_defaults=True), words[1::2]))


def lost(*exponents: float, verdict: str = "diverged") -> list[TrialResult]:
    return [
        TrialResult(200 + k, "diverged", None, {"lr_exponent": x}, verdict=verdict) for k, x in enumerate(exponents)
    ]


def test_an_answer_that_nothing_stands_against_is_to_be_used() -> None:
    assert steps(known_noise(DENSE)) == [Step("nothing stands against it; use it", "sweep best made-1 > best.yaml")]


def test_an_unknown_noise_is_to_be_learnt() -> None:
    (step,) = steps(DENSE)
    assert "noise of another seed is unknown" in step.why
    assert taken(step, spec_of("rate")).confirm == 3


def test_a_best_at_the_edge_widens_the_range() -> None:
    (step,) = steps(known_noise(bowl("lr_exponent", -3, 0.5, 0.9, 60)))
    assert "the high end" in step.why
    space = taken(step, spec_of("rate")).space
    assert (space.lr_exponent.low, space.lr_exponent.high) == (-3, 1.5)


@pytest.mark.parametrize(
    ("space", "name", "low", "high", "best", "seen"),
    [
        ({"lr": {"low": 1e-4, "high": 0.1, "log": True}}, "lr_exponent", -4, -1, -0.5, (1e-4, 1.0)),
        ({"momentum": {"low": 0.2, "high": 0.8}}, "momentum", 0.2, 0.8, 1.2, (0.2, 0.9)),
    ],
)
def test_a_range_of_any_kind_is_widened(
    space: dict[str, Any], name: str, low: float, high: float, best: float, seen: tuple[float, float]
) -> None:
    spec = foreign(space)
    (step,) = steps(known_noise(bowl(name, low, high, best, 60)), spec)
    written = getattr(taken(step, spec).space, next(iter(space)))
    assert (written.low, written.high) == seen


def test_many_diverged_trials_lower_the_range_but_never_below_the_best() -> None:
    trials = known_noise(bowl("lr_exponent", -3, -0.5, -1.5, 40)) + lost(*np.linspace(-0.3, 0.5, 20))
    (step,) = steps(trials)
    assert step.why == "20 of 60 trials are diverged: search lower rates"
    assert taken(step, spec_of("rate")).space.lr_exponent.high == pytest.approx(-0.3)
    everywhere = known_noise(DENSE) + lost(*np.linspace(-2.4, 0.4, 80))
    (step,) = steps(everywhere)
    best = answer_of(spec_of("rate"), everywhere).best
    assert best and taken(step, spec_of("rate")).space.lr_exponent.high > best.params["lr_exponent"]


def test_where_all_diverged_lower_rates_are_to_be_searched() -> None:
    (step,) = steps(lost(-2.0, -1.0, 0.0))
    assert "3 of 3 trials are diverged" in step.why
    space = taken(step, spec_of("rate")).space
    assert space.lr_exponent.high == -2 and space.lr_exponent.low < -4


def test_many_frozen_trials_raise_the_range() -> None:
    trials = [replace(t, verdict="frozen") if t.params["lr_exponent"] < -2 else t for t in known_noise(DENSE)]
    frozen = [t for t in trials if t.verdict == "frozen"]
    more = [replace(frozen[0], number=300 + k, value=3.0) for k in range(30)]
    (step,) = [step for step in steps(trials + more) if "frozen" in step.why]
    assert "higher rates" in step.why
    assert -2.1 < taken(step, spec_of("rate")).space.lr_exponent.low < -1.99


def test_a_best_that_is_not_known_well_enough_needs_more_training() -> None:
    rng = np.random.default_rng(0)
    noisy = [
        replace(t, value=(t.value or 0) + 0.02 * rng.standard_normal()) for t in bowl("lr_exponent", -3, 0.4, -1, 10)
    ]
    (step, *_) = steps(known_noise(noisy))
    assert re.fullmatch(
        r"the best rate is known to 10\^-\S+ ± \S+ only, less well than it matters: train more", step.why
    )
    assert step.do.startswith("sweep extend made-1 --trials ")


@pytest.mark.parametrize(
    ("budget", "option"), [({"trainings": 6}, "--trainings 3"), ({"hours": 3}, "--hours 1.5"), ({}, "--trials 16")]
)
def test_more_training_is_asked_for_as_the_budget_is_written(budget: dict[str, float], option: str) -> None:
    answer = answer_of(spec_of("rate", budget={"steps": 1000, **budget}), bowl("lr_exponent", -2, 0, -1, 2))
    assert next_steps(answer, "made-1", " --home h")[0].do == f"sweep extend made-1 --home h {option}"


def test_too_few_trials_need_more() -> None:
    step = steps(bowl("lr_exponent", -2, 0, -1, 2))[0]
    assert step.why == "2 complete trials are too few for a valley: train more"
    assert steps(bowl("lr_exponent", -2, 0, -1, 1))[0].why.startswith("1 complete trial is too few")


def test_an_interrupted_sweep_is_to_go_on_before_it_is_given_more() -> None:
    to_do = steps(bowl("lr_exponent", -2, 0, -1, 2), state="interrupted")
    assert to_do[0] == Step("it was interrupted with 2 trials ended: go on", "sweep resume made-1")
    assert not any("extend" in step.do for step in to_do)


def test_a_space_of_which_all_has_been_begun_is_not_given_more_trials() -> None:
    spec = spec_of("rate", space={"lr_exponent": [-3, -2, -1.6]})
    trials = [TrialResult(n, "complete", 2.0 + n, {"lr_exponent": x}) for n, x in enumerate((-3, -2, -1.6))]
    assert any("extend" in step.do for step in steps(trials[:2], spec))
    assert not any("extend" in step.do for step in steps(trials, spec))


def test_a_reference_that_is_better_is_to_be_swept() -> None:
    reference = ReferenceResult("schedule-free-sgd", "schedule-free SGD", "complete", 2.0, hint="optimizer: sgd")
    (step,) = steps(known_noise(DENSE), references=[reference])
    assert step == Step("schedule-free SGD, untuned, is .3 better than the best trial: sweep it", "optimizer: sgd")


def test_failed_trials_are_to_be_mended_first() -> None:
    failed = [TrialResult(90, "failed", None, {"lr_exponent": -1.0}, evidence="KeyError: 'x'")]
    assert steps([*DENSE, *failed])[0] == Step("mend what failed: 1 trial failed: KeyError: 'x' (trial 90)")


def test_what_changes_nothing_is_to_be_left_out() -> None:
    rng = np.random.default_rng(1)
    spec = foreign({"lr": {"low": 1e-3, "high": 1.0, "log": True}, "idle": {"low": 0.0, "high": 1.0}})
    trials = [
        TrialResult(
            k, "complete", 2 + 0.2 * (x + 1.5) ** 2 + 0.01 * rng.standard_normal(), {"lr_exponent": x, "idle": u}
        )
        for k, (x, u) in enumerate(zip(rng.uniform(-3, 0, 80).tolist(), rng.random(80).tolist(), strict=True))
    ]
    said = [step.why for step in steps(trials, spec)]
    assert any(why.startswith("idle changes nothing beyond the noise") for why in said), said
    assert not any(why.startswith("lr changes nothing") for why in said)
