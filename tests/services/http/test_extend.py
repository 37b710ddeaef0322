"""A sweep of the service that has ended is given more to train: within its owner's quota, once."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from espalier.services import quota
from espalier.services.clusters.cluster import Job
from espalier.services.clusters.job_folder import extended, write_job
from espalier.services.database.store import Store
from espalier.services.settings import Settings
from espalier.sweeps.cli.app import main
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import Home
from espalier.sweeps.origins.service_origin import ServiceOrigin
from espalier.sweeps.search.extending import extension_of, more_to
from espalier.sweeps.search.extension import More
from espalier.sweeps.search.study import SweepRecord
from tests.services.http.asking import Header, Token, hand_in, problem, reaches
from tests.services.http.test_enqueue import begun

__all__ = ["begun"]  # a fixture


@pytest.fixture
def ended(client: httpx.Client, begun: Callable[..., SweepRecord]) -> Callable[[Header], SweepRecord]:
    """Return a function that makes a sweep with four complete trials, which has been stopped."""

    def make(who: Header) -> SweepRecord:
        record = begun(who, complete=4)
        client.post(f"/v1/sweeps/{record.id}/stop", headers=who)
        reaches(client, who, record.id, "stopped")
        return record

    return make


def extend(client: httpx.Client, who: Header, sweep: str, body: Any) -> httpx.Response:
    return client.post(f"/v1/sweeps/{sweep}/extend", json=body, headers=who)


def enqueue(client: httpx.Client, who: Header, sweep: str, *exponents: float) -> httpx.Response:
    body = {"points": [{"lr_exponent": exponent} for exponent in exponents]}
    return client.post(f"/v1/sweeps/{sweep}/enqueue", json=body, headers=who)


def test_an_ended_sweep_waits_again_with_more_to_train(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord], settings: Settings
) -> None:
    record = ended(who := token())
    assert "all of its 4 exist" in problem(enqueue(client, who, record.id, -1.6), 422)["detail"]
    answer = extend(client, who, record.id, {"trials": 3})
    assert answer.status_code == 202, answer.text
    view = answer.json()
    assert (view["state"], view["attempt"], view["extended"]) == ("queued", 1, {"trials": 7})
    assert view["trials"]["wanted"] == 7
    reaches(client, who, record.id, "running")
    told = settings.home / "jobs" / f"{record.id}-1" / "extended.json"
    assert json.loads(told.read_text()) == {"budget": {"trials": 7}, "by": "ada"}
    assert "running" in problem(extend(client, who, record.id, {"trials": 1}), 409)["detail"]


def test_points_are_added_to_an_extended_sweep_before_its_job_has_stored_the_extension(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord]
) -> None:
    record = ended(who := token())
    extend(client, who, record.id, {"trials": 3})
    answer = enqueue(client, who, record.id, -1.6)
    assert answer.status_code == 202, answer.text
    assert answer.json()["added"] == 1
    assert "room for 2 further points" in problem(enqueue(client, who, record.id, *[-1.0] * 3), 422)["detail"]
    assert [entry["point"] for entry in record.enqueued().values()] == [{"lr_exponent": -1.6}]


def test_the_commands_only_ask_where_nobody_waits(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ended(who := token())
    monkeypatch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
    at = ["--no-wait", "--server", str(client.base_url)]
    done = CliRunner().invoke(main, ["extend", "long", "--trials", "3", *at])
    assert (done.exit_code, done.stdout) == (0, "") and done.stderr.startswith(f"{record.id}: "), done.output
    assert json.loads(CliRunner().invoke(main, ["show", "long", "--json", *at[1:]]).stdout)["spec"]["trials"] == 7
    client.post(f"/v1/sweeps/{record.id}/stop", headers=who)
    reaches(client, who, record.id, "stopped")
    done = CliRunner().invoke(main, ["resume", "long", "--json", *at])
    assert done.exit_code == 0 and json.loads(done.stdout)["attempt"] == 2
    refused = CliRunner().invoke(main, ["extend", "long", "--trials", "3", "--no-wait", "--home", "h"])
    assert refused.exit_code == 2 and "--no-wait: a sweep of a home trains in this process" in refused.stderr


def test_what_its_job_has_not_come_to_is_not_forgotten_by_another_extension(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord]
) -> None:
    record = ended(who := token())
    for wanted in (6, 8):
        assert extend(client, who, record.id, {"trials": 2}).json()["extended"] == {"trials": wanted}
        client.post(f"/v1/sweeps/{record.id}/stop", headers=who)
        reaches(client, who, record.id, "stopped")
    spec = ServiceOrigin(remote_of(client, who)).read(record.id).spec
    assert spec.trials == 8


def remote_of(client: httpx.Client, who: Header) -> Remote:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
        return Remote(str(client.base_url))


def test_an_extension_happens_once_however_often_its_job_is_tried(
    token: Token, ended: Callable[[Header], SweepRecord], settings: Settings
) -> None:
    record, storage = ended(token()), Home.at(str(settings.home)).storage
    assert more_to(storage, record.id, {"trials": 7}) == More(trials=3)
    record.extended(extension_of(record, More(trials=3), "ada")).store_extensions()
    assert more_to(storage, record.id, {"trials": 7}) is None


def test_what_is_added_counts_towards_the_quota(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord], store: Store
) -> None:
    record = ended(who := token())
    with store.session() as session:
        quota.set_quota(session, "ada", 6, None, False, 0.0)
    detail = problem(extend(client, who, record.id, {"trials": 3}), 403)["detail"]
    assert "trials: 7 asked for; 6 of 6 are left to ada" in detail
    view = client.get(f"/v1/sweeps/{record.id}", headers=who).json()
    assert (view["state"], view["extended"], view["trials"]["wanted"]) == ("stopped", None, 4)
    assert extend(client, who, record.id, {"trials": 2}).status_code == 202


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "extend: nothing arrived"),
        ({"trials": 1, "hours": 1.0}, "give one of"),
        ({"trials": 0}, "trials"),
        ({"trials": -3}, "trials"),
        ({"trials": 1.5}, "trials"),
        ({"trials": True}, "trials"),
        ({"trials": 2**40}, "trials"),
        ({"trainings": 2.0}, "the budget of long-"),
        ({"steps": 2}, "steps"),
        ([3], "extend"),
    ],
)
def test_what_cannot_be_added_is_named_and_nothing_changes(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord], body: Any, said: str
) -> None:
    record = ended(who := token())
    assert said in problem(extend(client, who, record.id, body), 422)["detail"]
    view = client.get(f"/v1/sweeps/{record.id}", headers=who).json()
    assert (view["state"], view["attempt"], view["extended"]) == ("stopped", 0, None)


def test_only_its_owner_extends_a_sweep_and_only_one_that_has_begun(
    client: httpx.Client, token: Token, ended: Callable[[Header], SweepRecord]
) -> None:
    record = ended(ada := token("ada"))
    problem(extend(client, token("bob"), record.id, {"trials": 1}), 404)
    problem(extend(client, token("ada", "read"), record.id, {"trials": 1}), 403)
    done = hand_in(client, ada, "quick")
    reaches(client, ada, done, "finished")  # without a study
    assert "no trials yet" in problem(extend(client, ada, done, {"trials": 1}), 409)["detail"]


def test_a_job_is_told_how_much_it_is_to_train(tmp_path: Any) -> None:
    write_job(Job("names-1-1", "names-1", {}, owner="ada", extended={"trainings": 2.5}), tmp_path)
    assert extended(tmp_path) == ({"trainings": 2.5}, "ada")
    (tmp_path / "first").mkdir()
    write_job(Job("names-1-0", "names-1", {}), tmp_path / "first")
    assert extended(tmp_path / "first") is None
