"""Hyperparameter histories of trials, and where two of them part."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.optimizers import SGD, Adam, AdamW
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.training.history import fork_step, groups_at, history
from espalier.core.training.trial import Hyperparameters, Structure, Trial

structures = st.builds(
    Structure,
    optimizer=st.sampled_from((SGD(), SGD(nesterov=True), Adam(), AdamW())),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    phases=st.just(((0.3, "linear", 0.1, 1.0), (0.7, "exponential", 1.0, 0.01))),
)
hypers = st.builds(
    Hyperparameters,
    lr=st.sampled_from((0.1, 0.03, 1e-5)),
    decay_points=st.lists(st.sampled_from((0.2, 0.5, 0.7, 0.9)), max_size=3, unique=True).map(tuple),
    decay_factor=st.sampled_from((0.1, 0.5)),
    warmup=st.sampled_from((0.0, 0.3)),
    floor=st.sampled_from((None, 0.1)),
    power=st.sampled_from((None, 0.5, 2.0)),
    momentum=st.sampled_from((0.0, 0.9)),
    weight_decay=st.sampled_from((0.0, 0.01)),
    beta1=st.sampled_from((0.0, 0.9)),
)
trial_lists = st.lists(hypers, min_size=2, max_size=6).map(
    lambda found: [Trial(f"t{i}", 0, 50, hyper) for i, hyper in enumerate(found)]
)


@given(structure=structures, trials=trial_lists, first=st.integers(0, 40), cut=st.integers(1, 9))
def test_a_history_does_not_depend_on_neighbours_or_on_where_it_is_cut(
    structure: Structure, trials: list[Trial], first: int, cut: int
) -> None:
    together = history(structure, trials, [first] * len(trials), 10)
    for r, trial in enumerate(trials):
        alone = history(structure, [trial], [0], 50)[first : first + 10, :, 0]
        assert torch.equal(together[:, :, r], alone)
        pieces = [history(structure, [trial], [first], cut), history(structure, [trial], [first + cut], 10 - cut)]
        assert torch.equal(torch.cat(pieces)[:, :, 0], alone)


def test_each_trial_of_a_history_may_be_at_a_step_of_its_own() -> None:
    structure = Structure(Adam(), "cosine")
    trials = [Trial("a", 0, 50, Hyperparameters(0.1)), Trial("b", 0, 30, Hyperparameters(0.2))]
    together = history(structure, trials, [7, 20], 5)
    for r, (trial, first) in enumerate(zip(trials, (7, 20), strict=True)):
        assert torch.equal(together[:, :, r], history(structure, [trial], [first], 5)[:, :, 0])


@given(structure=structures, trials=trial_lists, first=st.integers(0, 49), block=st.integers(1, 60))
def test_the_parting_step_is_the_first_at_which_any_two_histories_differ(
    structure: Structure, trials: list[Trial], first: int, block: int
) -> None:
    tables = [history(structure, [trial], [0], 50)[:, :, 0].tolist() for trial in trials]
    slow = next((s for s in range(first, 50) if any(table[s] != tables[0][s] for table in tables)), None)
    assert fork_step(structure, trials, first, block) == slow


@pytest.mark.parametrize("first", (0, 700, 4096, 4999, 5000))
def test_a_parting_is_found_however_far_ahead_it_lies(first: int) -> None:
    trials = [Trial(f"{points}", 0, 10_000, Hyperparameters(0.1, points)) for points in ((), (0.5,), (0.9,))]
    assert fork_step(Structure(SGD(), "step"), trials, first) == 5000
    assert fork_step(Structure(SGD(), "step"), trials[::2], first) == 9000


@given(structure=structures, trials=trial_lists, step=st.integers(0, 49))
def test_trials_part_into_groups_of_equal_coefficients_in_the_order_given(
    structure: Structure, trials: list[Trial], step: int
) -> None:
    column = {t.id: tuple(history(structure, [t], [step], 1).flatten().tolist()) for t in trials}
    groups = groups_at(structure, trials, step)
    assert sorted(t.id for group in groups for t in group) == [t.id for t in trials]
    assert all(len({column[t.id] for t in group}) == 1 for group in groups)
    assert len({column[group[0].id] for group in groups}) == len(groups)
    assert [group[0].id for group in groups] == sorted(group[0].id for group in groups)
