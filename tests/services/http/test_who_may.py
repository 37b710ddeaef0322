"""Who may: strangers see nothing, owners their own, an admin all."""

import httpx
import pytest

from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.settings import Settings
from tests.services.conftest import spec
from tests.services.http.asking import Header, Token, hand_in, problem, reaches

ROUTES = [
    ("POST", "/v1/sweeps"),
    ("POST", "/v1/check"),
    ("GET", "/v1/sweeps"),
    ("GET", "/v1/me"),
    *[("GET", f"/v1/sweeps/quick-1{part}") for part in ("", "/spec", "/trials", "/best", "/logs", "/events")],
    *[("GET", f"/v1/sweeps/quick-1{part}") for part in ("/report", "/traces", "/export")],
    ("GET", "/v1/sweeps/quick-1/curves?metric=valid_loss"),
    ("POST", "/v1/sweeps/quick-1/stop"),
    ("POST", "/v1/sweeps/quick-1/resume"),
    ("POST", "/v1/sweeps/quick-1/enqueue"),
    ("POST", "/v1/sweeps/quick-1/extend"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer sweep_0123456789ab_" + "A" * 43},
        {"Authorization": "Basic YTpi"},
    ],
)
def test_strangers_see_nothing(client: httpx.Client, method: str, path: str, header: Header) -> None:
    answer = client.request(method, path, headers=header)
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_every_route_is_in_that_list_or_open_on_purpose(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]
    known = {path.replace("quick-1", "{sweep}").partition("?")[0] for _, path in ROUTES}
    assert set(described) == known | {"/", "/healthz", "/readyz", "/metrics"}


def test_a_token_that_reads_changes_nothing(client: httpx.Client, token: Token) -> None:
    sweep = hand_in(client, token(), "long")
    reader = token(role="read")
    assert client.get(f"/v1/sweeps/{sweep}", headers=reader).status_code == 200
    for path in ("/v1/sweeps", *(f"/v1/sweeps/{sweep}/{what}" for what in ("stop", "resume", "enqueue", "extend"))):
        assert "submit" in problem(client.post(path, json=spec(), headers=reader), 403)["detail"]


def test_owners_see_and_stop_their_own_and_an_admin_all(client: httpx.Client, token: Token) -> None:
    ada, bob, root = token("ada"), token("bob"), token("root", "admin")
    sweep = hand_in(client, ada, "long")
    for method, path in ROUTES[4:]:
        problem(client.request(method, path.replace("quick-1", sweep), headers=bob), 404)
    assert client.get("/v1/sweeps", headers=bob).json()["sweeps"] == []
    assert client.get("/v1/sweeps?owner=ada", headers=bob).json()["sweeps"] == []
    assert [s["id"] for s in client.get("/v1/sweeps?owner=ada", headers=root).json()["sweeps"]] == [sweep]
    assert client.post(f"/v1/sweeps/{sweep}/stop", headers=root).status_code == 202
    reaches(client, ada, sweep, "stopped")
    assert client.get(f"/v1/sweeps/{sweep}", headers=ada).json()["reason"] == "stopped by root"


def test_too_many_requests_are_told_to_wait(
    store: Store, cluster: LocalCluster, settings: Settings, token: Token
) -> None:
    from espalier.services.http.app import build
    from tests.services.serving import served

    slow = settings.model_copy(update={"requests_per_minute": 8})
    with served(build(slow, False, cluster)) as address, httpx.Client(base_url=address) as client:
        who, other = token(), token("bob")
        answers = [client.get("/v1/sweeps", headers=who) for _ in range(4)]
        assert [a.status_code for a in answers[:2]] == [200, 200]
        problem(answers[-1], 429)
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert client.get("/v1/sweeps", headers=other).status_code == 200
        assert [client.get("/v1/sweeps").status_code for _ in range(4)][-1] == 429
        assert client.get("/healthz").status_code == 200


def test_without_tokens_this_machine_alone_comes_in(
    store: Store, cluster: LocalCluster, settings: Settings, token: Token
) -> None:
    from espalier.services.http.app import build
    from tests.services.serving import served

    with served(build(settings, True, cluster)) as address, httpx.Client(base_url=address) as client:
        assert client.get("/v1/sweeps").status_code == 200
        problem(client.get("/v1/sweeps", headers={"Host": "evil.example"}), 401)  # a name that was pointed here
        problem(client.get("/v1/sweeps", headers={"Origin": "http://evil.example"}), 401)  # a page in a browser
        token()
        problem(client.get("/v1/sweeps"), 401)
    with served(build(settings, False, cluster)) as address:
        problem(httpx.get(f"{address}/v1/sweeps"), 401)
