"""Events and their JSON form, which checkpoints, workers and records of earlier versions have too."""

import json
from typing import Any

import pytest

from espalier.core.training.events import Ended, Event, Forked, Reported, Scored, Started, TrialId

EVENTS: dict[str, Event] = {
    "start": Started("7/1", 0),
    "fork": Forked("7/1", 3, "2/1"),
    "report": Reported("7/1", 9, {"valid_loss": 2.0}, [(5, 2.5)], [(0, 0.1, 0.2)], "hot", "it is", {"valid_auc": [9]}),
    "score": Scored("7/1", 9, {"valid_loss": 2.0}, "probe", "2/1"),
    "finish": Ended("7/1", 9, "complete", {"valid_loss": 2.0}, reports=[(9, {"valid_loss": 2.0})], leader="2/1"),
    "stop": Ended("7/1", 9, "stopped", evidence="ranked 4 of 4"),
}
KEYS = (
    *("kind", "trial", "step", "values", "curve", "ratios", "tensors", "reports", "trunk", "score", "status"),
    *("verdict", "evidence", "baselines", "missing", "trace"),
)


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_is_what_it_was_after_a_way_through_json(kind: str) -> None:
    event = EVENTS[kind]
    written = json.loads(json.dumps(event.to_json()))
    read = Event.from_json(written)
    assert type(read) is type(event)
    assert read.to_json() == written and json.dumps(written) == json.dumps(event.to_json())


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_is_written_with_the_keys_of_all_kinds_in_one_order(kind: str) -> None:
    written = EVENTS[kind].to_json()
    assert tuple(written) == (*KEYS, *(["leader"] if kind == "finish" else []))
    assert written["kind"] == kind == EVENTS[kind].kind


def former(**fields: Any) -> dict[str, Any]:
    """Return an event as checkpoints have it that were written before events were types."""
    empty = {"values": {}, "curve": (), "ratios": (), "tensors": (), "reports": (), "trunk": "", "score": ""}
    empty |= {"status": "", "verdict": "", "evidence": "", "baselines": {}, "missing": {}, "trace": ""}
    return empty | fields


@pytest.mark.parametrize(
    ("written", "event"),
    [
        (former(kind="start", trial="0/0", step=0), Started("0/0", 0)),
        (former(kind="fork", trial="1/0", step=4, trunk="0/0"), Forked("1/0", 4, "0/0")),
        (
            former(kind="score", trial="1/0", step=4, values={"valid_loss": 1.0}, score="average", trunk="0/0"),
            Scored("1/0", 4, {"valid_loss": 1.0}, "average", "0/0"),
        ),
        (former(kind="stop", trial="t", step=2, status="stopped"), Ended("t", 2, "stopped", {})),
        ({"kind": "finish", "trial": "t", "step": 2, "status": "diverged"}, Ended("t", 2, "diverged")),
    ],
    ids=["start", "fork", "score", "stop", "of a version without later keys"],
)
def test_events_of_earlier_versions_are_read(written: dict[str, Any], event: Event) -> None:
    read = Event.from_json(written)
    assert type(read) is type(event) and (read.trial, read.step, read.kind) == (event.trial, event.step, event.kind)
    assert json.loads(json.dumps(read.to_json())) == json.loads(json.dumps(event.to_json()))


def test_ids_order_by_their_numbers_and_stand_for_themselves_as_text() -> None:
    ids = [TrialId(10, 0), TrialId(2, 11), TrialId(2, 2)]
    assert [str(trial) for trial in sorted(ids)] == ["2/2", "2/11", "10/0"]
    assert {TrialId.parse(str(trial)) for trial in ids} == set(ids)
    assert Forked("7/1", 3, "2/1").trunk_id == TrialId(2, 1)


@pytest.mark.parametrize("text", ["t", "7", "7/1/2", "a/0", ""])
def test_a_key_that_no_sweep_gives_is_no_id(text: str) -> None:
    with pytest.raises(ValueError):
        TrialId.parse(text)
