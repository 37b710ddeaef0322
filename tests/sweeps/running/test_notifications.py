"""Who is told how a sweep goes: a webhook on this machine, and commands; what goes wrong with them is a note."""

import json
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.running.notifications import Teller, notified
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.spec.notify import Notify
from tests.sweeps.made import spec_with


@dataclass
class Hook:
    """A webhook. answers: the codes with which it answers, the last one from then on."""

    answers: list[int] = field(default_factory=lambda: [200])
    got: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    address: str = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
            if code == 200:
                assert self.headers["Content-Type"] == "application/json"
                hook.got.append(json.loads(body))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b"ok" if code == 200 else b"no_service")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook.address = f"http://127.0.0.1:{server.server_port}/services/T0/secret"
    yield hook
    server.shutdown()
    server.server_close()


def progress(**fields: Any) -> Progress:
    """Return the progress of a sweep that has not begun."""
    made = Progress.of("warm-1", spec_with(), 0.0)
    made.notify = Notify(**fields)
    return made


def trains(made: Progress) -> None:
    """Have two trials end, and one fail."""
    made.latest = (0, 100, 2.5)
    made.states |= {0: "complete", 1: "complete", 2: "failed"}
    made.best = (1, 2.25, dict.fromkeys(made.searched, -1.0))


def test_a_webhook_hears_of_the_first_result_of_a_failure_and_of_the_end_once_each(hook: Hook) -> None:
    made = progress(webhook=hook.address)
    with notified(made):
        trains(made)
    texts = [message["text"] for message in hook.got]
    assert texts[:2] == [
        "warm-1: first results: valid_loss 2.50000 at step 100 of trial 0",
        "warm-1: trial 2 has failed: sweep show warm-1",
    ]
    assert texts[2].startswith("warm-1: done with 2 complete, 1 failed; best valid_loss 2.25000: ")
    assert texts[2].endswith("(trial 1)") and len(texts) == 3
    for message in hook.got:
        (attachment,) = message["attachments"]
        assert attachment["fallback"] == message["text"]
        assert all(set(each) == {"title", "value", "short"} for each in attachment["fields"])
    assert not made.notes


def test_only_what_is_wanted_is_told(hook: Hook) -> None:
    made = progress(webhook=hook.address, on=["end"])
    with notified(made):
        trains(made)
    assert len(hook.got) == 1 and "done with" in hook.got[0]["text"]


def test_a_resumed_sweep_tells_nothing_of_what_was_before(hook: Hook) -> None:
    made = progress(webhook=hook.address)
    trains(made)
    with notified(made):
        made.states[3] = "complete"
    assert [message["text"].partition(";")[0] for message in hook.got] == ["warm-1: done with 3 complete, 1 failed"]


def test_an_error_and_a_halt_are_failures_and_a_stop_is_an_end(hook: Hook) -> None:
    made = progress(webhook=hook.address)
    with pytest.raises(BadInput), notified(made):
        raise BadInput("the disk is full")
    made.halted = lambda: "Ray has lost its node"
    with notified(made):
        pass
    made.halted, made.stopping = lambda: None, lambda: True
    with notified(made):
        trains(made)
    said = [message["text"] for message in hook.got]
    assert said[0] == "warm-1: it has stopped: BadInput: the disk is full; continue: sweep resume warm-1"
    assert said[1] == "warm-1: it has stopped: Ray has lost its node; continue: sweep resume warm-1"
    assert said[-1].startswith("warm-1: stopped with 2 complete, 1 failed; best")


def test_a_webhook_that_does_not_answer_is_tried_again_and_then_noted_without_its_secret(hook: Hook) -> None:
    hook.answers = [503, 429, 200]
    made = progress(webhook=hook.address, on=["end"])
    teller = Teller(made.notify or Notify(), made, sleep=lambda _: None)
    teller.close("")
    assert len(hook.got) == 1 and not made.notes
    hook.answers = [404]
    teller.told.clear()
    teller.close("")
    (note,) = made.notes
    assert note == (
        "notify: the webhook at 127.0.0.1 answered 404 (no_service), so it was not told: "
        "warm-1: done with no trial; none is complete"
    )


def test_a_webhook_that_is_not_there_is_one_note() -> None:
    made = progress(webhook="http://127.0.0.1:1/secret", on=["end"])
    Teller(made.notify or Notify(), made, sleep=lambda _: None).close("")
    (note,) = made.notes
    assert "127.0.0.1 cannot be reached" in note and "secret" not in note and "\n" not in note


def test_the_address_may_stand_in_a_variable(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    made = progress(webhook="${TEAM_HOOK}", on=["end"])
    Teller(made.notify or Notify(), made).close("")
    monkeypatch.setenv("TEAM_HOOK", "file:///etc/passwd")
    Teller(made.notify or Notify(), made).close("")
    monkeypatch.setenv("TEAM_HOOK", hook.address)
    Teller(made.notify or Notify(), made).close("")
    assert len(hook.got) == 1
    assert made.notes == [
        "notify: TEAM_HOOK, the variable of the webhook, is not set",
        "notify: the webhook's address, in ${TEAM_HOOK}, is none of HTTP",
    ]


def test_a_command_gets_the_words_and_all_facts(tmp_path: Path) -> None:
    code = "import os, sys; open(sys.argv[1], 'w').write(sys.argv[2] + chr(10) + os.environ['ESPALIER_NOTIFICATION'])"
    made = progress(
        command=[sys.executable, "-c", code, str(tmp_path / "said"), "${sweep}, ${event}: ${text}"], on=["end"]
    )
    trains(made)
    Teller(made.notify or Notify(), made).close("")
    said, facts = (tmp_path / "said").read_text().splitlines()
    assert said.startswith("warm-1, end: warm-1: done with 2 complete, 1 failed; best valid_loss 2.25")
    assert {"event": "end", "sweep": "warm-1", "complete": 2, "failed": 1, "valid_loss": 2.25}.items() <= json.loads(
        facts
    ).items()
    assert not made.notes


@pytest.mark.parametrize(
    ("command", "note"),
    [
        (["no-such-program"], "notify: no-such-program: FileNotFoundError: "),
        (["sh", "-c", "echo one; echo two; exit 3"], "notify: sh ended with 3: two"),
        (["sh", "-c", "sleep 100 & sleep 100"], "notify: sh took longer than 0.3 s, and was ended"),
        (["echo", "\0"], "notify: echo: ValueError: "),
    ],
)
def test_a_command_that_fails_is_one_note(command: list[str], note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.sweeps.running.notifications.COMMAND_S", 0.3)
    made = progress(command=command, on=["end"])
    Teller(made.notify or Notify(), made).close("")
    assert len(made.notes) == 1 and made.notes[0].startswith(note)


def test_of_what_a_command_prints_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = progress(command=["sh", "-c", "head -c 300000000 /dev/zero; echo; echo last; exit 3"], on=["end"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Teller(flood.notify or Notify(), flood).close("")
    assert flood.notes == ["notify: sh ended with 3: last"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    monkeypatch.setattr("espalier.sweeps.running.notifications.COMMAND_S", 0.3)
    endless = progress(command=["sh", "-c", "yes & exec >&-; sleep 100"], on=["end"])
    Teller(endless.notify or Notify(), endless).close("")
    assert endless.notes == ["notify: sh took longer than 0.3 s, and was ended"]


def test_a_stop_shortens_the_patience_with_a_command_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.sweeps.running.notifications.COMMAND_STOPPED_S", 0.0)
    stopped = progress(command=["sleep", "100"], on=["end"])
    answers = iter([False, False])
    stopped.stopping = lambda: next(answers, True)
    Teller(stopped.notify or Notify(), stopped).close("")
    assert stopped.notes == ["notify: sleep took longer than 0 s, and was ended"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nobody is told; write webhook or command"),
        ({"webhook": "hooks.slack.com/x"}, "is no address; write https://HOST"),
        ({"webhook": "file:///etc/passwd"}, "is no address"),
        ({"webhook": "https://a b/c"}, "is no address"),
        ({"webhook": "http://[::1"}, "is no address"),
        ({"command": "say '${text}"}, "No closing quotation"),
        ({"command": ["say", "${txt}"]}, "did you mean 'text'"),
        ({"command": "say", "on": ["ends"]}, "first_result"),
        ({"command": "say", "on": []}, "on"),
    ],
)
def test_what_tells_nobody_is_refused_by_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match="notify") as error:
        spec_with(notify=fields)
    assert words in str(error.value)
