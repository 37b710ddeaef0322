"""Points added to a sweep of the service: by its owner alone, to a search that asks for more trials."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from optuna.distributions import FloatDistribution

from espalier.core.errors import BadInput
from espalier.services.settings import Settings
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import Home
from espalier.sweeps.origins.service_origin import ServiceOrigin
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import make_spec
from tests.services.conftest import spec
from tests.services.http.asking import Header, Token, hand_in, problem, reaches

Begun = Callable[..., SweepRecord]


@pytest.fixture
def begun(client: httpx.Client, settings: Settings) -> Begun:
    """Return a function that hands a sweep in, and makes the study that its driver would; complete: its trials."""

    def begin(who: Header, name: str = "long", complete: int = 0) -> SweepRecord:
        sweep = hand_in(client, who, name)
        reaches(client, who, sweep, "running")
        record = SweepStore.open(Home.at(str(settings.home)).storage).create(sweep, make_spec(spec(name)), {})
        for _ in range(complete):
            record.study.tell(record.study.ask({"lr_exponent": FloatDistribution(-2.0, 0.0)}), 1.0)
        return record

    return begin


def points_of(record: SweepRecord) -> list[Any]:
    return [entry["point"] for entry in record.enqueued().values()]


def test_points_wait_for_a_sweep_that_runs(client: httpx.Client, token: Token, begun: Begun) -> None:
    record = begun(who := token())
    body = {"points": [{"lr_exponent": -1.5}, {"lr_exponent": -0.5}]}
    answer = client.post(f"/v1/sweeps/{record.id}/enqueue", json=body, headers=who)
    assert answer.status_code == 202
    assert answer.json() == {"id": record.id, "added": 2, "state": "running"}
    assert points_of(record) == body["points"]


def test_the_best_points_of_another_sweep_of_the_owner_are_added(
    client: httpx.Client, token: Token, begun: Begun
) -> None:
    ada, bob = token("ada"), token("bob")
    other, record = begun(ada, "long-other", complete=3), begun(ada)
    answer = client.post(f"/v1/sweeps/{record.id}/enqueue", json={"from": other.id, "top": 2}, headers=ada)
    assert answer.json()["added"] == 2 and len(points_of(record)) == 2
    foreign = begun(bob, "long-bob", complete=1)
    body = {"from": foreign.id}
    problem(client.post(f"/v1/sweeps/{record.id}/enqueue", json=body, headers=ada), 404)
    problem(client.post(f"/v1/sweeps/{record.id}/enqueue", json=body, headers=token("root", "admin")), 409)
    assert len(points_of(record)) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "no points"),
        ({"points": [{"lr_exponent": 7}]}, "point 1.lr_exponent: 7 lies outside"),
        ({"points": [{"rate": 7}]}, "rate"),
        ({"points": [{"lr_exponent": -1.0}] * 5}, "room for 4 further points"),
        ({"points": {}}, "points"),
        ({"point": []}, "point"),
        ({"from": "../x"}, "from: string should match pattern '^[A-Za-z]"),
        ({"points": [], "top": 0}, "top"),
        ({"points": [{"lr_exponent": 2**70}]}, "bits"),
    ],
)
def test_points_that_cannot_be_taken_are_named_and_none_is_added(
    client: httpx.Client, token: Token, begun: Begun, body: Any, said: str
) -> None:
    record = begun(who := token())
    answer = client.post(f"/v1/sweeps/{record.id}/enqueue", json=body, headers=who)
    assert said in problem(answer, 422)["detail"]
    assert not points_of(record)


def test_a_sweep_that_has_not_begun_or_is_finished_takes_none(client: httpx.Client, token: Token) -> None:
    who, body = token(), {"points": [{"lr_exponent": -1.0}]}
    waits, done = hand_in(client, who, "long"), hand_in(client, who, "quick")
    reaches(client, who, done, "finished")
    assert "has not begun" in problem(client.post(f"/v1/sweeps/{waits}/enqueue", json=body, headers=who), 409)["detail"]
    assert "is finished" in problem(client.post(f"/v1/sweeps/{done}/enqueue", json=body, headers=who), 409)["detail"]


def test_the_command_adds_points_by_the_name_of_a_sweep(
    client: httpx.Client, token: Token, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun(who := token())
    monkeypatch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
    origin = ServiceOrigin(Remote(str(client.base_url)))
    (line,) = origin.enqueue("long", [{"lr_exponent": -1.0}], "", 1)
    assert line == f"added 1 point to {record.id}, which is running: it takes each when it next asks for a trial"
    with pytest.raises(BadInput, match="lies outside"):
        origin.enqueue("long", [{"lr_exponent": -9.0}], "", 1)
    assert points_of(record) == [{"lr_exponent": -1.0}]
