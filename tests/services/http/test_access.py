"""Who comes in, how much they may bring, and how long anybody waits: every route, from the service's own schema."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import delete

from espalier.core.errors import BadInput
from espalier.services import tokens
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import Token
from espalier.services.http.app import build
from espalier.services.settings import Settings, read_settings
from tests.services.conftest import spec
from tests.services.http.asking import hand_in, reaches
from tests.services.serving import served

Header = dict[str, str]
Make = Callable[..., Header]
OPEN = {"/", "/healthz", "/readyz", "/metrics"}
LEAST = {("POST", "/v1/sweeps"), ("POST", "/v1/check"), ("POST", "/v1/sweeps/{sweep}/stop")}
SUBMITS = LEAST | {("POST", f"/v1/sweeps/{{sweep}}/{what}") for what in ("resume", "enqueue", "extend")}


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


@contextmanager
def hasty(settings: Settings, cluster: LocalCluster, **waits: float) -> Iterator[httpx.Client]:
    """Serve with other settings of how long a client is waited for."""
    app = build(settings.model_copy(update=waits), True, cluster)
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


# --- nobody is waited for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [b"", b"GET /heal", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
def test_half_of_a_request_is_hung_up_on(store: Store, cluster: LocalCluster, settings: Settings, begin: bytes) -> None:
    with hasty(settings, cluster, head_s=0.3) as client, connected(client) as line:
        line.sendall(begin)
        assert line.recv(100) == b""


def test_a_second_request_on_a_line_has_its_own_time(store: Store, cluster: LocalCluster, settings: Settings) -> None:
    with hasty(settings, cluster, head_s=0.5) as client, connected(client) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while b"}" not in answer:
            answer += line.recv(4096)
        line.sendall(b"GET /heal")
        assert line.recv(100) == b""


def test_half_of_a_body_is_answered_with_408(
    store: Store, cluster: LocalCluster, settings: Settings, token: Make
) -> None:
    head = f"POST /v1/check HTTP/1.1\nHost: x\nAuthorization: {token()['Authorization']}\n"
    form = f"{head.replace('check', 'sweeps')}Content-Type: multipart/form-data; boundary=x\nContent-Length: 99\n"
    with hasty(settings, cluster, piece_s=0.2) as client:
        answer = said(client, f"{head}Content-Type: application/json\nContent-Length: 9\n", b"{")
        assert b" 408" in answer.split(b"\r\n")[0]
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
