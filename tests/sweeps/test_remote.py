"""The line to a service: what passes is asked again, what is final is said at once."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.errors import BadInput
from sweeps.remote import Remote

Answer = tuple[int, dict[str, str], str]
JSON = {"Content-Type": "application/json"}


class Server(ThreadingHTTPServer):
    """Gives its answers in their order, the last one for ever, and notes what was asked and when."""

    def __init__(self, answers: list[Answer]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = answers, list[tuple[float, str, str | None]]()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        status, headers, text = server.answers[min(len(server.asked), len(server.answers) - 1)]
        server.asked.append((time.monotonic(), self.path, self.headers.get("Last-Event-ID")))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Remote, Server]]]:
    monkeypatch.delenv("SWEEP_TOKEN", raising=False)
    monkeypatch.setenv("SWEEP_CONFIG", "/nonexistent")
    servers: list[Server] = []

    def make(*answers: Answer) -> tuple[Remote, Server]:
        servers.append(Server(list(answers)))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        return Remote(f"http://127.0.0.1:{servers[-1].server_port}"), servers[-1]

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


VIEW: Answer = (200, JSON, json.dumps({"id": "names-1"}))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_asked_again(serve, status: int) -> None:
    remote, server = serve((status, {}, "busy"), VIEW)
    assert remote.sweep("names-1") == {"id": "names-1"}
    assert len(server.asked) == 2


def test_who_is_asked_to_wait_waits(serve) -> None:
    remote, server = serve((429, {"Retry-After": "1"}, ""), VIEW)
    remote.sweep("names-1")
    assert server.asked[1][0] - server.asked[0][0] >= 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_what_is_final_is_said_at_once(serve, status: int) -> None:
    problem = (status, {"Content-Type": "application/problem+json"}, json.dumps({"detail": "that is how it is"}))
    remote, server = serve(problem)
    with pytest.raises(BadInput, match="that is how it is"):
        remote.sweep("names-1")
    assert len(server.asked) == 1


def test_what_may_not_be_repeated_is_asked_once(serve) -> None:
    remote, server = serve((503, JSON, json.dumps({"detail": "not now"})))
    with pytest.raises(BadInput, match="not now"):
        remote.resume("names-1")
    assert len(server.asked) == 1


def test_a_stream_is_taken_up_where_it_broke_also_when_the_service_is_away_meanwhile(serve) -> None:
    def event(number: int, kind: str) -> str:
        return f"id: {number}\nevent: {kind}\ndata: {number}\n\n"

    events = {"Content-Type": "text/event-stream"}
    remote, server = serve(
        (200, events, event(1, "trial") + event(2, "trial")), (503, {}, "away"), (200, events, event(3, "end"))
    )
    assert list(remote.follow("names-1", "events")) == [("trial", 1), ("trial", 2), ("end", 3)]
    assert [last for _, _, last in server.asked] == [None, "2", "2"]


def test_another_kind_of_server_is_told_from_a_service(serve) -> None:
    remote, _ = serve((200, {"Content-Type": "text/html"}, "<h1>hello</h1>"))
    with pytest.raises(BadInput, match="is it a sweep service"):
        remote.sweep("names-1")
    remote, _ = serve((404, {}, "<h1>nothing</h1>"))
    with pytest.raises(BadInput, match="is it a sweep service"):
        remote.sweep("names-1")
