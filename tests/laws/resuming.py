"""Cohorts that are saved and thrown away while they train, and go on in new ones."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from espalier.core import checkpoint
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event
from tests.laws.cases import (
    stream,
)


def turns(cohort: Cohort) -> Iterator[list[Event]]:
    while not cohort.done:
        yield cohort.turn()


def counts(cohort: Cohort) -> tuple[int, ...]:
    """Return how many steps a cohort has trained, of lanes, of trials and of probes, and how many trials shared."""
    return cohort.lane_steps, cohort.work.trial_steps, cohort.work.probe_steps, cohort.steps_shared


def resumed(make: Callable[[], Cohort], kills: Sequence[int], path: Path) -> list[dict[str, Any]]:
    """Train, save and throw the cohort away after so many turns, go on in a new one, and so on; return all events."""
    seen: list[Event] = []
    cohort = make()
    for kill in kills:
        seen += itertools.chain.from_iterable(itertools.islice(turns(cohort), kill))
        counted = counts(cohort)
        checkpoint.save(path, cohort.state())
        cohort = make()
        cohort.load_state(checkpoint.load(path))
        assert counts(cohort) == counted, "what was trained before a kill is counted"
    seen += cohort.train()
    assert stream(cohort.ended) == stream(event for event in seen if isinstance(event, Ended))
    return stream(seen)
