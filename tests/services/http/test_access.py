"""Who comes in, how much they may bring, and how long anybody waits: every route, from the service's own schema."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update

from espalier.core.errors import BadInput
from espalier.services import tokens
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import Token
from espalier.services.http import streams, timeouts
from espalier.services.http.app import build
from espalier.services.http.streams import LogEvents, Slots
from espalier.services.settings import Settings, read_settings
from tests.services.conftest import spec, until
from tests.services.http.test_routes import hand_in, problem, reaches
from tests.services.serving import served

Header = dict[str, str]
Make = Callable[..., Header]
OPEN = {"/", "/healthz", "/readyz", "/metrics"}
LEAST = {("POST", "/v1/sweeps"), ("POST", "/v1/check"), ("POST", "/v1/sweeps/{sweep}/stop")}
SUBMITS = LEAST | {("POST", "/v1/sweeps/{sweep}/resume")}


def routes(client: httpx.Client) -> list[tuple[str, str]]:
    """Every route that the service's own description has."""
    paths = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


def test_every_route_asks_every_caller_as_it_should(client: httpx.Client, token: Make, store: Store) -> None:
    owner, other, admin = token("ada"), token("bob"), token("root", "admin")
    reader, expired, revoked = token("ada", "read"), token("ada", days=1e-9), token("ada")
    with store.session() as session:
        tokens.revoke(session, revoked["Authorization"].split("_")[1], time.time())
    sweep = hand_in(client, owner, "quick")
    reaches(client, owner, sweep, "finished")
    strangers = [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}, expired, revoked]
    strangers.append({"Authorization": owner["Authorization"][:-1] + "!"})
    for method, path in routes(client):
        place = path.format(sweep=sweep)

        def ask(who: Header, method: str = method, place: str = place) -> int:
            more = {"json": spec()} if method == "POST" else {}
            return client.request(method, place, headers=who | {"X-Forwarded-For": "192.0.2.1"}, **more).status_code

        asked = {who: ask(header) for who, header in
                 {"owner": owner, "other": other, "admin": admin, "reader": reader}.items()}  # fmt: skip
        if path in OPEN:
            assert set(asked.values()) == {200} == {ask(who) for who in strangers}, path
            continue
        assert {ask(who) for who in strangers} == {401}, path
        assert asked["reader"] == 403 if (method, path) in SUBMITS else asked["reader"] in (200, 409), path
        assert asked["owner"] == asked["admin"] in (200, 202, 409), path
        assert asked["other"] == (404 if "{sweep}" in path else asked["owner"]), path


@pytest.mark.parametrize("loopback", [True, False])
def test_once_a_token_was_made_none_opens_for_ever(
    store: Store, cluster: LocalCluster, settings: Settings, token: Make, loopback: bool
) -> None:
    def status(**headers: str) -> int:
        with served(build(settings, loopback, cluster)) as address:
            return httpx.get(f"{address}/v1/sweeps", headers=headers).status_code

    assert status() == (200 if loopback else 401)
    forwarded = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via", "X-Forwarded-Host")
    assert {status(**{name: "127.0.0.1"}) for name in forwarded} == {401}  # through a proxy on this machine
    valid = token("ada", "read", 1)
    assert status() == 401
    with store.session() as session:
        tokens.revoke(session, valid["Authorization"].split("_")[1], time.time())
    assert status() == 401
    token("ada", days=1e-9)
    assert status() == 401
    with store.session() as session:
        session.execute(delete(Token))
    assert status() == 401


# --- who you are, then how large, then what --------------------------------------------------------------------------


def said(client: httpx.Client, head: str, body: bytes = b"", wait: float = 20) -> bytes:
    """Send the head of a request and some of a body; return what comes until the service hangs up or is silent."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=wait) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        text = b""
        try:
            while piece := line.recv(65536):
                text += piece
                if b"\r\n\r\n" in text and b"}" in text:
                    break
        except TimeoutError:
            pass
        return text


BIG = 400 * 2**20
HEADS = {
    "a length": f"Content-Length: {BIG}\n",
    "pieces": "Transfer-Encoding: chunked\n",
    "both": f"Content-Length: {BIG}\nTransfer-Encoding: chunked\n",
}


@pytest.mark.parametrize("how", HEADS)
def test_no_body_is_read_before_the_token(client: httpx.Client, token: Make, how: str) -> None:
    who = token(role="read")["Authorization"]
    for method, path in routes(client):
        start = f"{method} {path.format(sweep='quick-1')} HTTP/1.1\nHost: x\nContent-Type: application/json\n"
        status = said(client, start + HEADS[how]).split(b"\r\n")[0]
        assert (b" 200" if path in OPEN else b" 401") in status or (how == "both" and b" 400" in status), path
        if (method, path) in SUBMITS:
            status = said(client, f"{start}Authorization: {who}\n{HEADS[how]}").split(b"\r\n")[0]
            assert b" 403" in status or (how == "both" and b" 400" in status), path


@pytest.mark.parametrize("path", ["/v1/check", "/v1/sweeps"])
def test_then_how_large_it_is_and_then_what(client: httpx.Client, token: Make, path: str) -> None:
    start = f"POST {path} HTTP/1.1\nHost: x\nAuthorization: {token()['Authorization']}\n"
    kind = "Content-Type: application/json\n"
    for head, status in (
        (f"{kind}Content-Length: {BIG}\n", b" 413"),
        (f"{kind}Content-Length: {10**15}\n", b" 413"),
        (f"{kind}Transfer-Encoding: chunked\n", b" 411"),
        (kind, b" 411"),
        (f"{kind}Content-Encoding: gzip\nContent-Length: 20\n", b" 415"),
        ("Content-Type: text/plain\nContent-Length: 3\n", b" 415"),
        ("Content-Length: 3\n", b" 415"),
    ):
        assert status in said(client, start + head).split(b"\r\n")[0], head
    assert b" 400" in said(client, f"{start}{kind}Content-Length: -3\n").split(b"\r\n")[0]


# --- nobody is waited for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [b"", b"GET /heal", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
def test_half_of_a_request_is_hung_up_on(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(timeouts, "REQUEST_S", 0.3)
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as line:
        line.sendall(begin)
        assert line.recv(100) == b""


def test_a_second_request_on_a_line_has_its_own_time(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "REQUEST_S", 0.5)
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while b"}" not in answer:
            answer += line.recv(4096)
        line.sendall(b"GET /heal")
        assert line.recv(100) == b""


def test_half_of_a_body_is_answered_with_408(
    client: httpx.Client, token: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.services.http import request_body

    monkeypatch.setattr(request_body, "PIECE_S", 0.2)
    head = f"POST /v1/check HTTP/1.1\nHost: x\nAuthorization: {token()['Authorization']}\n"
    assert b" 408" in said(client, f"{head}Content-Type: application/json\nContent-Length: 9\n", b"{").split(b"\r\n")[0]
    form = f"{head.replace('check', 'sweeps')}Content-Type: multipart/form-data; boundary=x\nContent-Length: 99\n"
    assert b" 408" in said(client, form, b"--x\r\n").split(b"\r\n")[0]


def test_a_stranger_cannot_choose_by_which_address_wrong_tokens_are_counted(
    store: Store, cluster: LocalCluster, settings: Settings, token: Make
) -> None:
    token()
    slow = settings.model_copy(update={"requests_per_minute": 8})
    for trusted, wanted in (("", 429), ("192.0.2.0/24", 429), ("127.0.0.1", 401)):
        with served(build(slow.model_copy(update={"trusted_proxies": trusted}), True, cluster)) as address:
            statuses = [
                httpx.get(f"{address}/v1/sweeps", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
                for n in range(6)
            ]
        assert statuses[0] == 401 and statuses[-1] == wanted, trusted


@pytest.mark.parametrize("wrong", ["*", "proxy.example.org", "10.0.0.1,", "10.0.0.0/99"])
def test_trusted_proxies_are_addresses(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_TRUSTED_PROXIES", wrong)
    if wrong.endswith(","):
        assert read_settings().trusted_proxies == wrong
    else:
        with pytest.raises(BadInput, match="SWEEP_TRUSTED_PROXIES"):
            read_settings()


# --- streams and logs ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("end", [_revoke, _expire, _delete])
@pytest.mark.parametrize("what", ["events", "logs"])
def test_a_stream_breaks_off_when_the_token_ends(
    client: httpx.Client,
    token: Make,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    end: Callable[[Store, str], None],
) -> None:
    monkeypatch.setattr(streams, "QUIET_S", 0.0)
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
    store: Store, cluster: LocalCluster, settings: Settings, token: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "QUIET_S", 0.0)
    with served(build(settings, True, cluster)) as address, httpx.Client(base_url=address, timeout=30) as client:
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


def test_a_log_is_read_in_pieces_whatever_its_letters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from espalier.services.clusters import local

    monkeypatch.setattr(streams, "LOG_PIECE", 7)
    monkeypatch.setattr(local, "LOG_MOST", 40)
    member = LocalCluster(settings.home / "jobs")
    place = settings.home / "jobs" / "x-0"
    place.mkdir(parents=True)
    text = "größer ∑ 🐜 " * 9
    (place / "log").write_bytes(text.encode() + b"\xff")
    events = LogEvents(lambda start, most: member.log_from("x-0", start, most), lambda: True, 0)
    seen, last = "", False
    while not last:
        looked, last = events.look()
        seen += "".join(json.loads(e.split("data: ")[1]) for e in looked if "event: log" in e)
    assert seen == text + "\ufffd"
    assert member.logs("x-0").startswith("[")
    assert "bytes before this are left out" in member.logs("x-0")


# --- no 500 ----------------------------------------------------------------------------------------------------------

DEEP = "[" * 900 + "]" * 900
NASTY: dict[str, Any] = {
    "2**63 trials": json.dumps(spec(trials=2**63)),
    "10**4000 trials": json.dumps(spec()).replace('"trials": 4', '"trials": 1' + "0" * 4000),
    "10**5000 trials": json.dumps(spec()).replace('"trials": 4', '"trials": 1' + "0" * 5000),
    "2**31 trials": json.dumps(spec(trials=2**31)),
    "trials and replicates": json.dumps(spec(trials=2**30, replicates=2**30)),
    "huge cohorts": json.dumps(spec(resources={"cohorts": 2**62, "gpus": 1})),
    "1e308 gpus": json.dumps(spec(resources={"gpus": 1e308})),
    "1e308 gpus, twice": json.dumps(spec(resources={"gpus": 1e308, "cohorts": 2})),
    "infinite gpus": json.dumps(spec()).replace('"trials": 4', '"trials": 4, "resources": {"gpus": 1e999}'),
    "NaN": json.dumps(spec(task_options={"x": float("nan")})),
    "Infinity": json.dumps(spec(task_options={"x": float("-inf")})),
    "half a character": '{"name": "\\ud800"}',
    "half a character in an option": json.dumps(spec(task_options={"x": "\ud800"})),
    "half a character as a name": json.dumps(spec(task_options={"\udfff": 1})),
    "a NUL": json.dumps(spec(task_options={"x": "a\0b"})),
    "a NUL in the name": json.dumps(spec(name="a\0b")),
    "a deep list": DEEP,
    "a deep option": json.dumps(spec(task_options={"x": 1})).replace('{"x": 1}', f'{{"x": {DEEP}}}'),
    "a very deep list": "[" * 100_000,
    "deep mappings": '{"a":' * 50_000,
    "nothing": "",
    "null": "null",
    "a number": "17",
    "a text": '"x"',
    "a list": "[1]",
    "numbers as names": '{"1": 2}',
    "no UTF-8": b"\xff\xfe\x00",
    "a task of numbers": json.dumps(spec(task=17)),
    "a NUL in the task": json.dumps(spec(task="a\0.py:X")),
    "a long name": json.dumps(spec(name="x" * 100_000)),
    "space as a list": json.dumps(spec(space=[1, 2])),
    "a range of texts": json.dumps(spec(space={"lr_exponent": {"low": "a", "high": None}})),
}


@pytest.mark.parametrize("path", ["/v1/check", "/v1/sweeps"])
@pytest.mark.parametrize("kind", ["application/json", "application/yaml"])
def test_no_nasty_value_is_a_fault_of_the_service(client: httpx.Client, token: Make, path: str, kind: str) -> None:
    who = token() | {"Content-Type": kind}
    texts = {"NaN", "Infinity"} if kind.endswith("yaml") else set()  # YAML writes .nan and .inf
    for name, content in NASTY.items():
        if name in texts:
            continue
        answer = client.post(path, content=content, headers=who)
        assert answer.status_code in (400, 413, 422), (name, answer.status_code, answer.text[:200])
        assert len(problem(answer, answer.status_code)["detail"]) < 2000, name
        assert "\n" not in answer.json()["detail"], name
    assert client.get("/v1/sweeps", headers=token()).json()["sweeps"] == []


SPEC_PART = b'--x\r\nContent-Disposition: form-data; name="spec"\r\n\r\n'
BOUNDARY = "multipart/form-data; boundary=x"
FORMS = {
    "no boundary": ("multipart/form-data", b"x"),
    "an unknown charset": (f"{BOUNDARY}; charset=nosuch", SPEC_PART + b"a: 1\r\n--x--\r\n"),
    "a part without a name": (BOUNDARY, b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"),
    "a part without a head": (BOUNDARY, b"--x\r\n\r\na\r\n--x--\r\n"),
    "no end": (BOUNDARY, SPEC_PART + b"a"),
    "nothing": (BOUNDARY, b""),
    "bytes": (BOUNDARY, bytes(range(256))),
    "no text": (BOUNDARY, SPEC_PART + b"\xff\xfe\r\n--x--\r\n"),
    "a strange field": (BOUNDARY, SPEC_PART.replace(b"spec", b"\xff\x00") + b"a\r\n--x--\r\n"),
    "nine fields": (BOUNDARY, (SPEC_PART + b"a\r\n") * 9 + b"--x--\r\n"),
}


def test_no_broken_form_is_a_fault_of_the_service(client: httpx.Client, token: Make) -> None:
    for name, (kind, content) in FORMS.items():
        answer = client.post("/v1/sweeps", content=content, headers=token() | {"Content-Type": kind})
        assert answer.status_code in (400, 422), (name, answer.status_code, answer.text)


def test_no_path_query_or_header_is_a_fault_of_the_service(client: httpx.Client, token: Make) -> None:
    who = token(role="admin")
    words = ["%00", "%ed%a0%80", "%ff", "9" * 5000, "-1", "1e999", "nan", "a" * 5000, "%F0%9F%90%9C", "..%2f..", "%0a"]
    names = ("state", "name", "owner", "limit", "before", "offset", "trial", "hours")
    for word in words:
        for path in ("", "/trials", "/best", "/logs", "/events"):
            assert client.get(f"/v1/sweeps/{word}{path}", headers=who).status_code in (404, 422), word
        for name in names:
            for path in ("/v1/sweeps", "/v1/sweeps/quick-1/trials", "/v1/sweeps/quick-1/best"):
                assert client.get(f"{path}?{name}={word}", headers=who).status_code in (200, 404, 422), (word, name)
    for value in (b"\xff", b"9" * 5000, b"-1", b"1e9", "²".encode("latin-1")):
        for header in (b"Last-Event-ID", b"Idempotency-Key", b"Accept", b"Authorization", b"X-Forwarded-For"):
            headers = [*((k.encode(), v.encode()) for k, v in who.items()), (header, value)]
            for path in ("/v1/sweeps/quick-1/events", "/v1/sweeps"):
                assert client.get(path, headers=headers).status_code < 500, (header, value)
    answer = client.post("/v1/sweeps", json=spec(), headers=[*who.items(), ("Idempotency-Key", "ä".encode() * 9)])  # pyright: ignore
    assert answer.status_code in (202, 422)


def test_a_database_that_is_away_is_no_fault_either(
    client: httpx.Client, token: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("it is away"))

    who = token()
    monkeypatch.setattr(tokens, "find", away)
    assert "database" in problem(client.get("/v1/sweeps", headers=who), 503)["detail"]


# --- the first page --------------------------------------------------------------------------------------------------


def test_the_first_page_says_where_to_go(client: httpx.Client) -> None:
    links = client.get("/").json()["links"]
    assert {client.get(place).status_code for place in links.values()} == {200, 401}
    page = client.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "sweep submit" in page.text and 'href="docs"' in page.text


def test_the_pages_of_the_description_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "http://" not in page.replace(str(client.base_url), "") and "https://" not in page
    for place in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/static-offline-docs/{place}" in page
        assert len(client.get(f"/static-offline-docs/{place}").content) > 100_000
