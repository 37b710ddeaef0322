"""A webhook that is slow, that redirects, or that repeats its address: a deadline for all of it, and no secret."""

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import pytest

from espalier.sweeps.running import webhook
from espalier.sweeps.running.webhook import post

SECRET = "/services/T0/B1/x9y8z7"
BODY = json.dumps({"text": "names-1: done"}).encode()
Answers = Callable[[str, bytes], Iterable[bytes]]


class Server:
    """A server that answers each request by the bytes that a function yields, until the other side goes away.

    requests: the first line and the body of each that arrived. gone: set once a client has left an answer unread.
    """

    def __init__(self, answers: Answers):
        self.answers = answers
        self.requests: list[tuple[str, bytes]] = []
        self.headers: list[bytes] = []
        self.gone = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            line = stream.readline().decode().strip()
            headers = b"".join(iter(stream.readline, b"\r\n"))
            length = next((int(h.split(b":")[1]) for h in headers.split(b"\r\n") if h.startswith(b"Content-Le")), 0)
            body = stream.read(length)
            self.requests.append((line, body))
            self.headers.append(headers)
            try:
                for piece in self.answers(line.split()[1], body):
                    connection.sendall(piece)
            except OSError:
                self.gone.set()


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], Server]]:
    servers: list[Server] = []

    def serving(answers: Answers) -> Server:
        servers.append(Server(answers))
        return servers[-1]

    yield serving
    for server in servers:
        server.listener.close()


def drip(begin: bytes) -> Answers:
    """Return an answer of some bytes, and then one byte again and again, which never ends."""
    pause = threading.Event()

    def answers(path: str, body: bytes) -> Iterator[bytes]:
        yield begin
        for _ in itertools.count():
            pause.wait(0.02)
            yield b"a"

    return answers


@pytest.mark.parametrize(
    "begin",
    [b"HTTP/1.1 200 OK\r\nX-a: ", b"HTTP/1.", b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n"],
    ids=["headers", "status", "body"],
)
def test_an_answer_of_one_byte_at_a_time_ends_at_the_deadline_and_nothing_of_it_goes_on(
    begin: bytes, serve: Callable[[Answers], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_S", 0.5)
    monkeypatch.setattr(webhook, "WORDS_MOST", 10_000)
    server = serve(drip(begin))
    trouble, again = post(f"http://{server.address}{SECRET}", BODY)
    assert (trouble, again) == ("has not answered in full within 0.5 s", True)
    assert server.gone.wait(10)
    for thread in threading.enumerate():
        if isinstance(thread, webhook._Request):
            thread.join(10)
            assert not thread.is_alive()


def test_a_tls_handshake_that_never_ends_is_left_at_the_deadline(
    serve: Callable[[Answers], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        trouble, again = post(f"https://127.0.0.1:{silent.getsockname()[1]}{SECRET}", BODY)
    assert "within 0.3 s" in trouble and again


def redirect(code: int, place: str | None) -> Answers:
    """Return answers that redirect once, to where all is taken."""
    location = f"Location: {place}\r\n" if place is not None else ""

    def answers(path: str, body: bytes) -> Iterator[bytes]:
        if path == "/new":
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        else:
            yield f"HTTP/1.1 {code} Moved\r\n{location}Content-Length: 0\r\n\r\n".encode()

    return answers


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_that_keeps_the_message_is_followed_on_the_same_server(
    code: int, serve: Callable[[Answers], Server]
) -> None:
    server = serve(redirect(code, "/new"))
    assert post(f"http://{server.address}/old", BODY) == ("", False)
    assert server.requests == [("POST /old HTTP/1.1", BODY), ("POST /new HTTP/1.1", BODY)]


@pytest.mark.parametrize("code", [301, 302, 303])
def test_a_redirect_that_loses_the_message_is_not_followed(code: int, serve: Callable[[Answers], Server]) -> None:
    server = serve(redirect(code, "/new?token=abcd1234"))
    trouble, again = post(f"http://{server.address}/old", BODY)
    assert trouble == (
        f"answered {code}, a redirect to http://127.0.0.1 that would lose the message; write the address it leads to"
    )
    assert not again and len(server.requests) == 1


@pytest.mark.parametrize("place", ["http://elsewhere.example/new", "http://me:pw@127.0.0.1/new", "file:///etc/passwd"])
def test_a_message_is_not_sent_on_to_another_server(place: str, serve: Callable[[Answers], Server]) -> None:
    server = serve(redirect(308, place))
    trouble, _ = post(f"http://{server.address}/old", BODY)
    assert trouble.startswith("answered 308, a redirect to ") and "pw" not in trouble and len(server.requests) == 1


def test_a_redirect_without_a_place_and_one_in_a_circle_are_reported(serve: Callable[[Answers], Server]) -> None:
    server = serve(redirect(307, None))
    assert post(f"http://{server.address}/old", BODY) == ("answered 307, a redirect without a place", False)
    server = serve(redirect(307, "/old"))
    assert post(f"http://{server.address}/old", BODY) == ("redirects more than 3 times", False)


def test_an_answer_that_repeats_the_address_is_shown_without_it(serve: Callable[[Answers], Server]) -> None:
    def answers(path: str, body: bytes) -> Iterator[bytes]:
        words = f"Cannot POST {path}: x9y8z7 is unknown".encode()
        yield b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%s" % (len(words), words)

    server = serve(answers)
    trouble, again = post(f"http://{server.address}{SECRET}?token=s3cr3t", BODY)
    assert (trouble, again) == ("answered 404 (Cannot POST ***: *** is unknown)", False)


def test_a_login_in_the_address_is_sent_as_one_and_shown_nowhere(serve: Callable[[Answers], Server]) -> None:
    server = serve(lambda path, body: [b"HTTP/1.1 200 OK\r\n\r\n"])
    assert post(f"http://ada:hunt%40r2@{server.address}/ok", BODY) == ("", False)
    assert server.requests == [("POST /ok HTTP/1.1", BODY)]
    assert b"Authorization: Basic YWRhOmh1bnRAcjI=" in server.headers[0]  # ada:hunt@r2
    refused, _ = post("http://ada:hunter2@127.0.0.1:1/ok", BODY)
    assert refused == "cannot be reached (Connection refused)"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/é-secret", "http://127.0.0.1:1/secret\x7f", "http://[::1]x:9/secret"]
)
def test_no_error_shows_a_part_of_the_address(address: str) -> None:
    trouble, _ = post(address, BODY)
    assert trouble.startswith("cannot be reached") and "secret" not in trouble
