"""Sweeps handed in over HTTP and waited for, and the answers that are problems."""

from collections.abc import Callable

import httpx

from tests.services.conftest import spec, until

Header = dict[str, str]
Token = Callable[..., Header]
PROBLEM = "application/problem+json"


def hand_in(client: httpx.Client, who: Header, name: str = "quick", **more) -> str:
    answer = client.post("/v1/sweeps", json=spec(name), headers=who | more)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def state(client: httpx.Client, who: Header, sweep: str) -> str:
    return client.get(f"/v1/sweeps/{sweep}", headers=who).json()["state"]


def reaches(client: httpx.Client, who: Header, sweep: str, wanted: str) -> None:
    until(lambda: state(client, who, sweep) == wanted, f"{sweep} {wanted}")


def problem(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document = answer.json()
    assert document["status"] == status and document["title"] and document["detail"]
    return document
