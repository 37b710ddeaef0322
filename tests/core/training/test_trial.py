"""Trials: when they report, and what of them changes the program."""

import dataclasses
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.optimizers import SGD
from espalier.core.training.trial import Hyperparameters, Structure, Trial


@given(steps=st.integers(1, 500), reports=st.integers(1, 600))
def test_a_trial_reports_at_equal_shares_and_at_its_end(steps: int, reports: int) -> None:
    marks = Trial("t", 0, steps, Hyperparameters(0.1), reports).report_steps()
    assert marks[-1] == steps and marks[0] >= 1
    assert len(marks) == min(steps, reports)
    gaps = {after - before for before, after in zip([0, *marks], marks, strict=False)}
    assert max(gaps) - min(gaps) <= 1 or reports > steps


def test_what_changes_the_program_is_hashable_and_what_is_a_number_is_not_part_of_it() -> None:
    assert {Structure(): 1}[Structure()] == 1
    assert Structure(SGD(nesterov=True)) != Structure()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Structure().batch_size = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert replace(Hyperparameters(0.1), lr=0.2).get("momentum", 0.0) == 0
