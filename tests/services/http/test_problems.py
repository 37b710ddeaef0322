"""No input is a fault of the service: whatever arrives, the answer is a problem that names it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from espalier.core.errors import BadInput
from espalier.services import tokens
from espalier.sweeps.client.service import Remote
from tests.services.conftest import spec
from tests.services.http.asking import problem

Header = dict[str, str]
Make = Callable[..., Header]


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


def test_a_refusal_has_patterns_and_limits_as_they_are(client: httpx.Client, token: Make) -> None:
    who = token()
    assert "pattern '^[A-Za-z]" in problem(client.get("/v1/sweeps/1x", headers=who), 422)["detail"]
    for hours, words in (("1e9", "may run for 24 hours here"), ("25", "may run for 24 hours here"), ("-1", "above 0")):
        form = {"spec": ("spec.json", json.dumps(spec()), "application/json")}
        answer = client.post("/v1/sweeps", files=form, data={"hours": hours}, headers=who)
        assert words in problem(answer, 422)["detail"], hours


@pytest.mark.parametrize("place", ["SWEEP_TOKEN", "config.yaml", ""])
def test_a_refused_token_is_not_asked_for_as_if_there_were_none(
    client: httpx.Client, token: Make, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token()
    wrong = f"sweep_0123456789ab_{'A' * 43}"
    monkeypatch.setenv("SWEEP_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.delenv("SWEEP_TOKEN", raising=False)
    if place == "SWEEP_TOKEN":
        monkeypatch.setenv("SWEEP_TOKEN", wrong)
    elif place:
        (tmp_path / "config.yaml").write_text(f"token: {wrong}")
    with pytest.raises(BadInput) as refused:
        list(Remote(str(client.base_url)).sweeps())
    words = str(refused.value)
    assert ("the token that was sent is not valid" in words) == bool(place) and wrong not in words
    assert words.endswith(f"{place} has it" if place else "; set SWEEP_TOKEN"), words


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
