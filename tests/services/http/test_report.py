"""The report of a sweep, as a service shows it: the home's own, drawn once, and by few processes."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from espalier.core.errors import BadInput
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import State, Submission
from espalier.services.http.app import build
from espalier.services.http.problems import Problem
from espalier.services.http.streams import Slots
from espalier.services.reading.reports import Busy, Drawn, Reports
from espalier.services.settings import Settings
from espalier.sweeps.browse.home_sweep import read_sweep
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import Home
from espalier.sweeps.origins.service_origin import ServiceOrigin
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.page import page_of
from tests.services.conftest import spec, until
from tests.services.holding import hold, put, submission
from tests.services.http.asking import Header, Token, problem
from tests.services.serving import served


@pytest.fixture
def held(store: Store, settings: Settings, small_sweep: Any) -> str:
    """A real sweep in the service's home."""
    return hold(store, settings.home, small_sweep)


def of_home(settings: Settings, sweep: str, state: str, option: str) -> str:
    material = read_sweep(Home.at(settings.home, reading=True), sweep).material()
    return page_of(Document.of(replace(material, state=state, option=option)))


def test_the_report_is_that_of_the_home_and_is_sent_once(
    client: httpx.Client, token: Token, settings: Settings, held: str
) -> None:
    who, place = token(), f"/v1/sweeps/{held}/report"
    answer = client.get(place, headers=who)
    assert answer.status_code == 200, answer.text
    server = str(client.base_url).rstrip("/")
    assert answer.text == of_home(settings, held, "finished", f" --server {server}")
    assert f"sweep best {held} --server {server}" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert "allow-same-origin" not in policy and "connect-src" not in policy
    for known in (answer.headers["etag"], f"W/{answer.headers['etag']}"):
        again = client.get(place, headers=who | {"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    plain = client.get(place, headers=who | {"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert plain.text == answer.text


def test_sweep_report_of_a_service_is_that_of_the_home(
    client: httpx.Client, token: Token, settings: Settings, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_TOKEN", token()["Authorization"].removeprefix("Bearer "))
    server = str(client.base_url).rstrip("/")
    there = ServiceOrigin(Remote(server)).read(held).material()
    here = read_sweep(Home.at(settings.home, reading=True), held).material()
    ratios = [{t: list(trace.ratios.rows) for t, trace in each.traces.items()} for each in (there, here)]
    assert ratios[0] == ratios[1] and any(ratios[0].values())
    assert (there.work, dict(there.facts)) == (here.work, dict(here.facts)) and there.work
    names = [figure.name for figure in Document.of(there).figures if hasattr(figure, "chart")]
    assert names == [figure.name for figure in Document.of(here).figures if hasattr(figure, "chart")]


def test_a_sweep_that_has_not_begun_has_no_report(client: httpx.Client, token: Token, store: Store) -> None:
    who = token()
    put(store, submission("waits-20260101-abcd", spec("waits"), state=str(State.STOPPED)))
    for what in ("report", "traces"):
        answer = client.get(f"/v1/sweeps/waits-20260101-abcd/{what}", headers=who)
        assert problem(answer, 409)["detail"] == "waits-20260101-abcd has not begun; it is stopped"


# --- how often it is drawn -------------------------------------------------------------------------------------------


@pytest.fixture
def reports(client: httpx.Client, store: Store, settings: Settings, cluster: LocalCluster) -> Reports:
    """Reports of the service's home, without a service."""
    return build(settings, False, cluster).state.backend.reports


def counting(reports: Reports, monkeypatch: pytest.MonkeyPatch, draw: Callable[[], str] = lambda: "page") -> list[str]:
    """Have reports drawn by a function; return the list of those that were."""
    drawn: list[str] = []

    def count(kind: str, submission: Submission, option: str) -> str:
        drawn.append(f"{kind} {submission.state}")
        return draw()

    monkeypatch.setattr(reports, "_drawn", count)
    return drawn


def kept(store: Store, sweep: str, **changed: Any) -> Submission:
    with store.session() as session:
        if changed:
            session.execute(update(Submission).where(Submission.sweep == sweep).values(**changed))
    with store.reading() as session:
        found = session.query(Submission).filter_by(sweep=sweep).one()
        session.expunge(found)
        return found


def test_a_report_is_drawn_once_for_all_and_again_when_the_sweep_has_changed(
    reports: Reports, store: Store, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    drawn = counting(reports, monkeypatch, lambda: (may_end.wait(30), "page")[-1])
    finished = kept(store, held)
    with ThreadPoolExecutor(8) as readers:
        asked = [readers.submit(reports.page, finished, "http://x") for _ in range(8)]
        may_end.set()
        tags = {each.result().tag for each in asked}
    assert drawn == ["page finished"] and len(tags) == 1
    assert reports.page(finished, "http://x").text == b"page"
    reports.page(kept(store, held, state=str(State.QUEUED), attempt=1), "http://x")
    assert drawn == ["page finished", "page queued"]


@pytest.mark.parametrize(("took_s", "rest_s"), [(0.1, 5), (1, 10), (2, 20), (60, 30)])
def test_a_sweep_that_goes_on_is_drawn_anew_after_a_rest_and_one_that_ends_at_once(
    took_s: float, rest_s: float
) -> None:
    drawn = Drawn("a", "running", b"", 100.0, took_s)
    assert drawn.serves("b", "running", 99.9 + rest_s) and not drawn.serves("b", "running", 100.1 + rest_s)
    assert drawn.serves("a", "running", 1e9) and not drawn.serves("b", "finished", 100.0)


def test_what_is_made_takes_a_slot_of_the_reader_and_what_is_kept_does_not(
    reports: Reports, store: Store, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, slots = counting(reports, monkeypatch), Slots(1)
    with slots.taken("ada"):
        with pytest.raises(Problem, match="ada reads 1 streams"):
            reports.page(kept(store, held), "http://x", partial(slots.taken, "ada"))
        made = reports.page(kept(store, held), "http://x", partial(slots.taken, "bob"))
        assert reports.page(kept(store, held), "http://x", partial(slots.taken, "ada")) is made
    assert drawn == ["page finished"]


def test_too_many_who_wait_are_asked_to_come_again(
    reports: Reports, store: Store, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, may_end, begun = Reports(reports.sweeps, at_once=1, waiting=1), threading.Event(), threading.Event()
    counting(few, monkeypatch, lambda: (begun.set(), may_end.wait(30), "page")[-1])
    finished = kept(store, held)
    with ThreadPoolExecutor(2) as readers:
        first = readers.submit(few.page, finished, "http://x")
        begun.wait(30)
        second = readers.submit(few.page, finished, "http://y")
        until(lambda: few._inside == 2, "the second waits")  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(Busy):
            few.page(finished, "http://z")
        may_end.set()
        assert first.result().text == second.result().text == b"page"


def test_a_report_that_cannot_be_drawn_is_asked_for_again(
    reports: Reports, store: Store, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> str:
        raise BadInput("figures need 128 GiB of addresses")

    drawn = counting(reports, monkeypatch, fails)
    for _ in range(2):
        with pytest.raises(BadInput, match="addresses"):
            reports.page(kept(store, held), "http://x")
    assert len(drawn) == 2 and reports._inside == 0  # pyright: ignore[reportPrivateUsage]


def test_little_is_kept_of_what_was_drawn_long_ago(
    reports: Reports, store: Store, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.services.reading.reports.KEPT_MOST", 200)
    drawn = counting(reports, monkeypatch)
    for server in ("http://a", "http://b", "http://c", "http://d", "http://e", "http://f", "http://g", "http://h"):
        reports.page(kept(store, held), server)
    sizes = [len(each.packed) for each in reports._kept.values()]  # pyright: ignore[reportPrivateUsage]
    assert len(drawn) == 8 and sum(sizes) <= 200 and "http://h" in str(list(reports._kept))


# --- whose process ---------------------------------------------------------------------------------------------------


def test_the_traces_of_a_liar_are_refused(
    client: httpx.Client, token: Token, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where jobs run as users of their own, an owner's process makes them."""
    monkeypatch.setattr(Reports, "_drawn", lambda *_: '{"traces": [{"trial": "<script>"}]}')
    answer = client.get(f"/v1/sweeps/{held}/traces", headers=token())
    assert "cannot be read" in problem(answer, 503)["detail"] and answer.headers["retry-after"] == "5"


@pytest.fixture
def local_service(store: Store, settings: Settings, cluster: LocalCluster) -> Iterator[str]:
    with served(build(settings, True, cluster)) as address:
        yield address


def test_the_page_of_this_machine_changes_things_and_no_other_page_does(local_service: str, held: str) -> None:
    """Without tokens: a browser names the page that asks in Origin; a report has none, `null`."""

    def stop(**headers: str) -> int:
        return httpx.post(f"{local_service}/v1/sweeps/{held}/stop", headers=headers).status_code

    own: Header = {"Origin": local_service}
    assert stop(**own) == 202
    for foreign in ("null", "http://evil.example", local_service + "1", local_service.replace("http", "https")):
        assert stop(Origin=foreign) == 401
    assert stop(**own, **{"Sec-Fetch-Site": "cross-site"}) == 401
