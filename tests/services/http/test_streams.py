"""Streams and logs: how many an owner reads at once, when they break off, and that no letter is torn."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

import httpx
import pytest
from sqlalchemy import delete, update

from espalier.services import tokens
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import Token
from espalier.services.http.app import build
from espalier.services.http.streams import LogEvents, Slots
from espalier.services.settings import Settings
from tests.services.conftest import until
from tests.services.http.asking import hand_in, problem, reaches
from tests.services.serving import served

Header = dict[str, str]
Make = Callable[..., Header]


@pytest.fixture
def two_slots(store: Store, cluster: LocalCluster, settings: Settings) -> Iterator[httpx.Client]:
    app = build(settings.model_copy(update={"streams_per_owner": 2}), False, cluster)
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as made:
        yield made


def test_an_owner_reads_so_many_streams_at_once_and_one_that_ends_makes_room(
    two_slots: httpx.Client, token: Make
) -> None:
    client, who, other = two_slots, token("ada"), token("bob")
    sweep, theirs = hand_in(client, who, "long"), hand_in(client, other, "long")
    reaches(client, who, sweep, "running")

    def stream(stack: ExitStack, sweep: str, what: str, who: Header) -> httpx.Response:
        headers = who | {"Accept": "text/event-stream"}
        return stack.enter_context(client.stream("GET", f"/v1/sweeps/{sweep}/{what}", headers=headers))

    with ExitStack() as stack:
        for what in ("events", "logs"):
            assert stream(stack, sweep, what, who).status_code == 200
        for what in ("events", "logs"):
            refused = stream(stack, sweep, what, who)
            refused.read()
            assert problem(refused, 429)["detail"].startswith("ada reads 2 streams")
        problem(client.get(f"/v1/sweeps/{sweep}/logs", headers=who), 429)
        assert stream(stack, theirs, "events", other).status_code == 200
    until(lambda: client.get(f"/v1/sweeps/{sweep}/logs", headers=who).status_code == 200, "room again")


def _revoke(store: Store, token_id: str) -> None:
    with store.session() as session:
        tokens.revoke(session, token_id, time.time())


def _expire(store: Store, token_id: str) -> None:
    with store.session() as session:
        session.execute(update(Token).where(Token.id == token_id).values(expires=time.time() - 1e-3))


def _delete(store: Store, token_id: str) -> None:
    with store.session() as session:
        session.execute(delete(Token).where(Token.id == token_id))


def breaks_off(stream: httpx.Response) -> None:
    """Hold that a stream of a sweep that goes on ends, and without the event of the sweep's end."""
    pieces = list(islice(stream.iter_text(), 100))  # one that goes on has a comment at each look
    assert len(pieces) < 100
    assert "event: end" not in "".join(pieces)


@pytest.mark.each_value
@pytest.mark.parametrize("end", [_revoke, _expire, _delete])
@pytest.mark.parametrize("what", ["events", "logs"])
def test_a_stream_breaks_off_when_the_token_ends(
    cluster: LocalCluster,
    settings: Settings,
    token: Make,
    store: Store,
    what: str,
    end: Callable[[Store, str], None],
) -> None:
    with talkative(settings, cluster) as client:
        _breaks_off_when_the_token_ends(client, token, store, what, end)


@contextmanager
def talkative(settings: Settings, cluster: LocalCluster) -> Iterator[httpx.Client]:
    """Serve with a comment at each look of a stream."""
    app = build(settings.model_copy(update={"quiet_s": 0.0}), True, cluster)
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


def _breaks_off_when_the_token_ends(
    client: httpx.Client, token: Make, store: Store, what: str, end: Callable[[Store, str], None]
) -> None:
    who, other = token("ada"), token("ada")
    sweep = hand_in(client, who, "long")
    headers = {"Accept": "text/event-stream"}
    with (
        client.stream("GET", f"/v1/sweeps/{sweep}/{what}", headers=headers | other) as stays,
        client.stream("GET", f"/v1/sweeps/{sweep}/{what}", headers=headers | who) as stream,
    ):
        assert stream.status_code == stays.status_code == 200
        end(store, who["Authorization"].split("_")[1])
        breaks_off(stream)
        reaches(client, other, sweep, "running")
        begun = next(text for text in stays.iter_text() if text)
    assert begun
    problem(client.get(f"/v1/sweeps/{sweep}/{what}", headers=headers | who), 401)


def test_a_stream_without_a_token_breaks_off_when_the_first_is_made(
    store: Store, cluster: LocalCluster, settings: Settings, token: Make
) -> None:
    with talkative(settings, cluster) as client:
        sweep = hand_in(client, {}, "long")
        with client.stream("GET", f"/v1/sweeps/{sweep}/events") as stream:
            assert stream.status_code == 200
            token("ada", "admin")
            breaks_off(stream)
        problem(client.get(f"/v1/sweeps/{sweep}/events"), 401)


def test_slots_are_given_back_whatever_happens() -> None:
    slots = Slots(1)
    with pytest.raises(ZeroDivisionError), slots.taken("ada"):
        raise ZeroDivisionError
    with slots.taken("ada"):
        pass
    assert not slots._taken


def test_a_log_is_read_in_pieces_whatever_its_letters(settings: Settings) -> None:
    member = LocalCluster(settings.home / "jobs", log_most=40)
    place = settings.home / "jobs" / "x-0"
    place.mkdir(parents=True)
    text = "größer ∑ 🐜 " * 9
    (place / "log").write_bytes(text.encode() + b"\xff")
    events = LogEvents(lambda start, most: member.log_from("x-0", start, most), lambda: True, 0, piece=7)
    seen, last = "", False
    while not last:
        looked, last = events.look()
        seen += "".join(json.loads(e.split("data: ")[1]) for e in looked if "event: log" in e)
    assert seen == text + "\ufffd"
    assert member.logs("x-0").startswith("[")
    assert "bytes before this are left out" in member.logs("x-0")
