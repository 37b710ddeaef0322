"""Trials with rungs, and the scores that they were given there."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from espalier.core.training.events import Event, Scored
from espalier.core.training.trial import Trial
from tests.laws.cases import exact

EVERY_SCORE = ("value", "probe", "cooldown", "average")


def with_rungs(trials: Sequence[Trial], rungs: Iterable[int]) -> list[Trial]:
    return [replace(trial, rungs=tuple(sorted(rungs))) for trial in trials]


def scores(events: Iterable[Event]) -> dict[tuple[str, int, str], Any]:
    """Return the values of every score by trial, rung and kind; each is said once."""
    said = [event for event in events if isinstance(event, Scored)]
    found = {(event.trial, event.step, event.score): exact(dict(event.values)) for event in said}
    assert len(found) == len(said)
    return found
