"""Law 5: permuting the trials permutes the results."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.training.trial import Structure, Trial
from tests.laws.cases import Case, Engine, crowds, every_case, results
from tests.tiers import examples

pytestmark = pytest.mark.each_value


@every_case
def test_permuting_the_trials_permutes_the_results(engine: Engine, case: Case) -> None:
    trials = case.trials()
    permuted = random.Random(str(case)).sample(trials, len(trials))
    in_order, again = (
        results(engine.cohort(case.task, case.structure, order, 2).train()) for order in (trials, permuted)
    )
    assert again == in_order


@examples(20)
@given(crowd=crowds(), lanes=st.integers(1, 4), draw=st.randoms(use_true_random=False))
def test_any_permutation_of_any_crowd_permutes_the_results(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]], lanes: int, draw: random.Random
) -> None:
    task, structure, trials = crowd
    permuted = draw.sample(trials, len(trials))
    together, again = (results(engine.cohort(task, structure, order, lanes).train()) for order in (trials, permuted))
    assert together == again
