"""An address that cannot be recorded at is refused with what would work."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.answering import Quiet, serving


def test_the_store_of_a_home_is_reachable(tmp_path: Path) -> None:
    check_reachable(default_uri(tmp_path))


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """A server that gives every request one answer; None: one that is no HTTP."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            if status is None:
                self.wfile.write(b"hello, this is not HTTP\r\n\r\n")
            else:
                self.send_response(status)
                self.end_headers()

    with serving(Handler) as uri:
        yield uri


def test_a_server_that_answers_is_reachable() -> None:
    with answering(200) as uri:
        check_reachable(uri)
        check_reachable(uri + "/")


@pytest.mark.parametrize("status", [404, 500, None])
def test_a_server_that_is_no_mlflow_is_refused(status: int | None) -> None:
    with answering(status) as uri, pytest.raises(BadInput, match=f"tracking_uri: {uri} does not answer"):
        check_reachable(uri, tries=2)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1",
        "http://nowhere.invalid:5000",
        "http://",
        "http://[",
        "http://127.0.0.1:port",
        "https://127.0.0.1:99999",
        "htp://127.0.0.1:5000",
        "127.0.0.1:5000",
        "localhost",
        "",
        "sqlite:////nowhere/at/all/mlflow.db",
        "postgresql://nobody@127.0.0.1:1/nothing",
    ],
)
def test_an_unreachable_address_is_refused_with_what_would_work(uri: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_reachable(uri, tries=2)
    said = str(refused.value)
    assert said.startswith("tracking_uri:")
    assert uri in said
    assert "\n" not in said


@contextmanager
def asking_for_a_login(password: str) -> Iterator[str]:
    """A server whose health everybody may ask for, and all else who logs in as joe with this password."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            known = "Basic " + base64.b64encode(f"joe:{password}".encode()).decode()
            self.send_response(200 if self.path == "/health" or self.headers["Authorization"] == known else 401)
            self.end_headers()

    with serving(Handler) as uri:
        yield uri


def test_a_server_that_asks_for_a_login_lets_in_who_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with asking_for_a_login("s%e:cret") as uri:
        check_reachable(uri.replace("://", "://joe:s%25e%3Acret@"))
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "joe")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s%e:cret")
        check_reachable(uri)
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        (tmp_path / ".mlflow").mkdir()
        (tmp_path / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_password = s%e:cret\n")
        check_reachable(uri)


@pytest.mark.parametrize("user", ["joe", None])
def test_a_refused_login_says_which_variables_to_set(
    user: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if user:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-one")
    with asking_for_a_login("secret") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(BadInput) as refused:
            check_reachable(uri)
    who = "the login" if user else "a visitor without a login"
    ask = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    assert str(refused.value) == f"MLFLOW_TRACKING_URI: {uri} refuses {who} (401); {ask}"
