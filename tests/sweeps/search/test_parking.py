"""Parked trials over several processes: each ends with what it had come to, whichever process ends it."""

import json
import random
from pathlib import Path

import pytest

from espalier.core.training.events import Parked, Scored
from espalier.sweeps.search.trial_events import Outcome
from tests.sweeps.search.desk import Desk
from tests.sweeps.search.test_pieces import Crew, by_pieces, piece_events, run


def as_json(outcomes: dict[int, Outcome]) -> object:
    """Return outcomes with the ends of their replicates as records have them."""
    return json.loads(
        json.dumps({n: vars(o) | {"replicates": [end.to_json() for end in o.replicates]} for n, o in outcomes.items()})
    )


def stopped(crew: Crew) -> dict[int, Outcome]:
    return {e.trial: e for e in crew.events if isinstance(e, Outcome) and e.status == "stopped"}


@pytest.mark.parametrize("seed", range(3))
def test_a_trial_that_an_earlier_process_parked_ends_as_if_there_had_been_one(seed: int, tmp_path: Path) -> None:
    spec, dice = by_pieces(search={"sampler": "thaw", "repeatable": True}), random.Random(seed)
    whole = run(Desk(tmp_path / "whole", spec))
    assert all(outcome.replicates and outcome.values for outcome in stopped(whole).values())
    desk = Desk(tmp_path / "killed", spec)
    crew = Crew(desk, dice)
    while crew.begin():
        crew.train_one()
        if dice.random() < 0.3:
            desk.take_up()
            crew = Crew(desk, dice)
    assert as_json(stopped(crew)) == as_json(stopped(whole))
    assert len(stopped(whole)) > 3


@pytest.mark.parametrize("text", ['{"kind": "st', '{"kind": "of another version"}'])
def test_without_a_readable_file_it_ends_with_its_verdict(text: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces())
    crew = Crew(desk, random.Random(0))
    while crew.begin():
        crew.train_one()
        for file in desk.ends.folder.glob("*.json"):
            file.write_text(text)
        desk.take_up()
        crew = Crew(desk, random.Random(0))
    assert stopped(crew)
    for outcome in stopped(crew).values():
        assert (outcome.verdict, list(outcome.replicates)) == ("healthy", [])
        assert "parked at step" in outcome.evidence


def test_a_process_that_ended_between_score_and_parking_leaves_the_piece_in_training(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(), cohorts=1)
    plan = desk.search.next_cohort()
    assert plan
    (trial,) = plan.trials
    events = piece_events(trial)
    assert [type(event) for event in events[-2:]] == [Scored, Parked]
    desk.search.take_events(events[:-1])
    again = desk.take_up()
    (left,) = again.waiting
    assert [t.piece for t in left.trials] == [trial.piece]
    again.next_cohort()
    again.take_events(events)
    assert again.parking
    assert again.parking.any
    assert not again.parking.pieces.training
