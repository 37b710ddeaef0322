"""The line to a service: what passes is asked again, what is final is said at once."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.client.service import RETRIES, Remote
from tests.sweeps.answering import Quiet, serving

Answer = tuple[int, dict[str, str], str]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., tuple[Remote, list[tuple[float, str | None]]]]]:
    """Return a function that serves answers in their order, the last one for ever, and notes when it was asked."""
    monkeypatch.delenv("SWEEP_TOKEN", raising=False)
    monkeypatch.setenv("SWEEP_CONFIG", str(tmp_path / "absent"))
    with ExitStack() as servers:

        def make(*answers: Answer) -> tuple[Remote, list[tuple[float, str | None]]]:
            asked: list[tuple[float, str | None]] = []

            class Handler(Quiet):
                def do_GET(self) -> None:
                    status, headers, text = answers[min(len(asked), len(answers) - 1)]
                    asked.append((time.monotonic(), self.headers.get("Last-Event-ID")))
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text.encode())

                do_POST = do_GET

            return Remote(servers.enter_context(serving(Handler))), asked

        yield make


VIEW: Answer = (200, JSON, json.dumps({"id": "names-1"}))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_asked_again(serve, status: int) -> None:
    remote, asked = serve((status, {}, "busy"), VIEW)
    assert remote.sweep("names-1") == {"id": "names-1"}
    assert len(asked) == 2


def test_who_is_asked_to_wait_waits(serve) -> None:
    remote, asked = serve((429, {"Retry-After": "1"}, ""), VIEW)
    remote.sweep("names-1")
    assert asked[1][0] - asked[0][0] >= 1


def test_an_id_wins_over_a_name(serve) -> None:
    remote, asked = serve(VIEW)
    assert remote.find("names-1") == "names-1" and len(asked) == 1


def test_a_name_is_the_newest_sweep_of_that_name(serve) -> None:
    unknown = (404, JSON, json.dumps({"detail": "there is no such sweep"}))
    remote, _ = serve(unknown, (200, JSON, json.dumps({"sweeps": [{"id": "exp-lr-high"}], "next": None})))
    assert remote.find("names") == "exp-lr-high"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_what_is_final_is_said_at_once(serve, status: int) -> None:
    problem = (status, {"Content-Type": "application/problem+json"}, json.dumps({"detail": "that is how it is"}))
    remote, asked = serve(problem)
    with pytest.raises(BadInput, match="that is how it is"):
        remote.sweep("names-1")
    assert len(asked) == 1


def test_what_may_not_be_repeated_is_asked_once(serve) -> None:
    remote, asked = serve((503, JSON, json.dumps({"detail": "not now"})))
    with pytest.raises(BadInput, match="not now"):
        remote.resume("names-1")
    assert len(asked) == 1


def test_a_stream_is_taken_up_where_it_broke_also_when_the_service_is_away_meanwhile(serve) -> None:
    def event(number: int, kind: str) -> str:
        return f"id: {number}\nevent: {kind}\ndata: {number}\n\n"

    events = {"Content-Type": "text/event-stream"}
    remote, asked = serve(
        (200, events, event(1, "trial") + event(2, "trial")), (503, {}, "away"), (200, events, event(3, "end"))
    )
    assert list(remote.follow("names-1", "events")) == [("trial", 1), ("trial", 2), ("end", 3)]
    assert [last for _, last in asked] == [None, "2", "2"]


@pytest.mark.parametrize("there", [True, False])
def test_who_follows_waits_long_for_a_service_that_was_there(serve, monkeypatch, there: bool) -> None:
    monkeypatch.setattr("espalier.sweeps.client.service._pause_s", lambda attempt, answer: 0.01)
    events = {"Content-Type": "text/event-stream"}
    begun: list[Answer] = [(200, events, "event: trial\ndata: 1\n\n")] if there else []
    away: list[Answer] = [(503, JSON, json.dumps({"detail": "away"}))] * (3 * RETRIES)
    remote, asked = serve(*begun, *away, (200, events, "event: end\ndata: 2\n\n"))
    if there:
        assert list(remote.follow("names-1", "events")) == [("trial", 1), ("end", 2)]
    else:
        with pytest.raises(BadInput, match="away"):
            list(remote.follow("names-1", "events"))
        assert len(asked) == RETRIES + 1


def test_another_kind_of_server_is_told_from_a_service(serve) -> None:
    remote, _ = serve((200, {"Content-Type": "text/html"}, "<h1>hello</h1>"))
    with pytest.raises(BadInput, match="is it a sweep service"):
        remote.sweep("names-1")
    remote, _ = serve((404, {}, "<h1>nothing</h1>"))
    with pytest.raises(BadInput, match="is it a sweep service"):
        remote.sweep("names-1")
