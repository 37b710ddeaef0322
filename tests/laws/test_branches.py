"""Law 2: a branch equals the run that was never forked."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.training.events import Forked, Started
from espalier.core.training.history import history
from espalier.core.training.trial import Trial
from tests.laws.cases import CASES, DIVERGENT, REPORTS, STEPS, Case, Engine, results
from tests.tiers import examples

pytestmark = pytest.mark.each_value


@examples(40)
@given(
    case=st.sampled_from([case for case in CASES if case.schedule == "step" and not case.warmup]),
    decays=st.lists(st.sets(st.integers(0, STEPS - 1), max_size=3), min_size=2, max_size=6),
    lanes=st.integers(1, 5),
)
def test_a_branch_equals_the_run_that_was_never_forked(
    engine: Engine, case: Case, decays: list[set[int]], lanes: int
) -> None:
    """Forks at arbitrary steps, parked where there are more branches than lanes; no step is trained twice."""
    points = [tuple(step / STEPS for step in sorted(steps)) for steps in decays]
    trials = [Trial(f"t{i}", 0, STEPS, replace(case.hyper, decay_points=p), REPORTS) for i, p in enumerate(points)]
    cohort = engine.cohort(case.task, case.structure, trials, lanes)
    assert results(cohort.train()) == engine.all_alone(case.task, case.structure, trials)
    table_SCR = history(case.structure, trials, [0] * len(trials), STEPS)
    prefixes = {tuple(table_SCR[: s + 1, :, r].flatten().tolist()) for s in range(STEPS) for r in range(len(trials))}
    assert cohort.lane_steps == len(prefixes)
    assert cohort.steps_shared == STEPS * len(trials) - len(prefixes)


def test_a_fork_names_its_step_and_its_trunk(engine: Engine) -> None:
    case = Case("names", "momentum", "step", 0.0)
    hypers = {"never": (), "early": (3 / STEPS,), "late": (10 / STEPS,)}
    trials = [Trial(key, 0, STEPS, replace(case.hyper, decay_points=p), REPORTS) for key, p in hypers.items()]
    events = list(engine.cohort(case.task, case.structure, trials, 3).train())
    assert [(e.trial, e.step) for e in events if isinstance(e, Started)] == [("never", 0), ("early", 0), ("late", 0)]
    assert [(e.trial, e.step, e.trunk) for e in events if isinstance(e, Forked)] == [
        ("early", 3, "never"),
        ("late", 10, "never"),
    ]


def test_trials_that_warm_up_share_the_step_at_rate_zero(engine: Engine) -> None:
    """The first step of every warm-up has rate 0, whatever the peak: it is trained once, and the rates then part."""
    case = Case("names", "SGD", "cosine", 3.5 / STEPS)
    trials = [Trial(f"{lr}", 0, STEPS, replace(case.hyper, lr=lr), REPORTS) for lr in (0.01, 0.1, DIVERGENT)]
    cohort = engine.cohort(case.task, case.structure, trials, 2)
    events = list(cohort.train())
    assert [(e.trial, e.step) for e in events if isinstance(e, Forked)] == [("0.1", 1), (f"{DIVERGENT}", 1)]
    assert results(events) == engine.all_alone(case.task, case.structure, trials)
