"""The service over HTTP: what comes back of sweeps that are handed in, looked at, stopped and resumed."""

import concurrent.futures
import json
import socket
from contextlib import ExitStack

import httpx
import pytest
import yaml
from sqlalchemy import update

import espalier as es
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import Lease, Submission
from espalier.services.settings import Settings
from tests.services.conftest import spec, until
from tests.services.http.asking import Header, Token, hand_in, problem, reaches, state
from tests.sweeps.code.test_archive import zipped

# --- handing in ------------------------------------------------------------------------------------------------------


def test_a_sweep_is_taken_run_and_found_again(client: httpx.Client, token: Token) -> None:
    who = token()
    answer = client.post("/v1/sweeps", json=spec(), headers=who)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/sweeps/{answer.json()['id']}" == answer.json()["links"]["self"]
    reaches(client, who, answer.json()["id"], "finished")
    view = client.get(answer.headers["location"], headers=who).json()
    assert (view["owner"], view["name"], view["trials"]["wanted"], view["attempt"]) == ("ada", "quick", 4, 0)
    assert "this is quick" in client.get(view["links"]["logs"], headers=who).text


def test_of_a_webhook_the_service_shows_the_host_and_its_job_gets_the_address(
    client: httpx.Client, token: Token, store: Store
) -> None:
    who, address = token(), "https://hooks.example/T0SECRET/x9y8z7"
    fields = spec() | {"notify": {"webhook": address, "on": ["failure"]}}
    checked = client.post("/v1/check", json=fields, headers=who)
    sweep = client.post("/v1/sweeps", json=fields, headers=who).json()["id"]
    texts = [checked.text, *(client.get(f"/v1/sweeps/{sweep}{part}", headers=who).text for part in ("", "/spec"))]
    assert "https://hooks.example/***" in texts[0] and "https://hooks.example/***" in texts[-1]
    assert not any("T0SECRET" in text for text in texts)
    with store.session() as session:
        submission = session.query(Submission).filter_by(sweep=sweep).one()
        assert submission.spec["notify"]["webhook"] == address


def test_json_yaml_and_a_form_hand_in_the_same(client: httpx.Client, token: Token, store: Store) -> None:
    who, text = token(), yaml.safe_dump(spec())
    answers = [
        client.post("/v1/sweeps", json=spec(), headers=who),
        client.post("/v1/sweeps", content=text, headers=who | {"Content-Type": "application/yaml"}),
        client.post("/v1/sweeps", files={"spec": ("spec.yaml", text)}, headers=who),
        client.post("/v1/sweeps", files={"spec": ("s.json", json.dumps(spec()), "application/json")}, headers=who),
    ]
    assert [answer.status_code for answer in answers] == [202] * 4
    kept = {json.dumps(client.get(a.headers["location"], headers=who).json()["trials"]["wanted"]) for a in answers}
    assert kept == {"4"}


def test_code_arrives_where_the_job_runs(client: httpx.Client, token: Token, settings: Settings) -> None:
    who, code = token(), zipped({"mine.py": b"class Mine: pass\n"})
    files = {"spec": ("s.yaml", yaml.safe_dump(spec(task="mine.py:Mine"))), "archive": ("c.zip", code)}
    sweep = client.post("/v1/sweeps", files=files, data={"hours": "2"}, headers=who).json()["id"]
    reaches(client, who, sweep, "finished")
    assert (settings.home / "jobs" / f"{sweep}-0" / "code.zip").read_bytes() == code
    assert client.get(f"/v1/sweeps/{sweep}", headers=who).json()["hours"] == 2


MERGE_BOMB = "m0: &m0 {k: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{f'*m{n - 1}, ' * 10}]}}\n" for n in range(1, 40))
YAML = {"Content-Type": "application/yaml"}
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
BAD = {
    "nothing": ("", YAML, 422, "a spec is a mapping"),
    "no yaml": ("a: [1", YAML, 422, "not valid YAML"),
    "no json": ("{", {"Content-Type": "application/json"}, 422, "not valid JSON"),
    "no text": (b"\xff\xfe", YAML, 422, "not valid YAML"),
    "a list": ("[1, 2]", YAML, 422, "a spec is a mapping"),
    "python": ("!!python/object/apply:os.system ['true']", YAML, 422, "not valid YAML"),
    "a bomb": (BOMB, YAML, 422, "more than"),
    "a deep one": ("[" * 500 + "]" * 500, {"Content-Type": "application/json"}, 422, "levels"),
    "a field that stands twice": (
        '{"name": "a", "trials": 8, "trials": 9}',
        {"Content-Type": "application/json"},
        422,
        "'trials' stands twice",
    ),
    "a metric without its mode": (yaml.safe_dump(spec(objective={"metric": "valid_f1"})), YAML, 422, "mode: max"),
    "a merge bomb": (MERGE_BOMB, YAML, 422, "stand for more than 20,000 values"),
    "a misspelt field": (yaml.safe_dump(spec(trails=3)), YAML, 422, "trials"),
    "no trials": (yaml.safe_dump(spec(trials=0)), YAML, 422, "trials"),
    "a place to record of its own": (yaml.safe_dump(spec(tracking_uri="http://evil")), YAML, 422, "tracking_uri"),
    "another kind": ("name: x", {"Content-Type": "text/plain"}, 415, "application/yaml"),
    "too long": ("#" * 300_000, YAML, 422, "256 KiB"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_taken_is_a_problem_that_names_it(client: httpx.Client, token: Token, case: str) -> None:
    text, headers, status, said = BAD[case]
    answer = client.post("/v1/sweeps", content=text, headers=token() | headers)
    document = problem(answer, 413 if case == "too long" else status)
    assert said in document["detail"]
    assert client.get("/v1/sweeps", headers=token()).json()["sweeps"] == []


def test_a_problem_names_each_wrong_field(client: httpx.Client, token: Token) -> None:
    document = problem(client.post("/v1/sweeps", json=spec(trials=0, trails=3), headers=token()), 422)
    fields = {wrong["field"]: wrong["detail"] for wrong in document["errors"]}
    assert "greater than or equal to 1" in fields["trials"]
    assert "trails" in fields


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "many", "1e9"])
def test_wrong_hours_are_named(client: httpx.Client, token: Token, hours: str) -> None:
    document = problem(client.post(f"/v1/sweeps?hours={hours}", json=spec(), headers=token()), 422)
    assert "hours" in document["detail"]


def test_a_bad_archive_is_refused_before_it_is_queued(client: httpx.Client, token: Token) -> None:
    files = {"spec": ("s", yaml.safe_dump(spec())), "archive": ("c.zip", zipped({"../x.py": b""}))}
    assert "leads out" in problem(client.post("/v1/sweeps", files=files, headers=token()), 422)["detail"]


def test_a_body_above_the_limit_is_refused_unread(client: httpx.Client, token: Token, settings: Settings) -> None:
    length = str(int((settings.archive_mib + 1) * 2**20))
    headers = token() | YAML | {"Content-Length": length}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=20) as line:
        line.sendall(f"POST /v1/sweeps HTTP/1.1\r\nHost: {address[0]}\r\n{head}\r\nx".encode())
        assert b"413" in line.recv(4096).splitlines()[0]


@pytest.mark.parametrize("count", [40, pytest.param(100, marks=pytest.mark.slow)])
def test_many_submissions_at_once_are_all_there_once_and_in_order(
    client: httpx.Client, token: Token, count: int
) -> None:
    who = token()
    sent = [(n, again) for n in range(count) for again in range(2)]

    def send(item: tuple[int, int]) -> tuple[int, str]:
        answer = client.post("/v1/sweeps", json=spec(), headers=who | {"Idempotency-Key": f"key-{item[0]}"})
        assert answer.status_code == 202, answer.text
        return item[0], answer.json()["id"]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, sent))
    by_key: dict[int, set[str]] = {}
    for key, sweep in answers:
        by_key.setdefault(key, set()).add(sweep)
    assert all(len(found) == 1 for found in by_key.values())
    assert len({next(iter(found)) for found in by_key.values()}) == count
    listed = []
    page: dict = {"next": 2**31 - 1}
    while page["next"]:
        page = client.get("/v1/sweeps", params={"limit": 30, "before": page["next"]}, headers=who).json()
        listed += [view["created"] for view in page["sweeps"]]
    assert len(listed) == count


# --- looking and wishing ---------------------------------------------------------------------------------------------


def test_stop_and_resume_go_round(client: httpx.Client, token: Token) -> None:
    who = token()
    sweep = hand_in(client, who, "long")
    reaches(client, who, sweep, "running")
    assert client.post(f"/v1/sweeps/{sweep}/stop", headers=who).json()["state"] == "stopping"
    reaches(client, who, sweep, "stopped")
    again = client.post(f"/v1/sweeps/{sweep}/resume?changed=true", headers=who)
    assert again.status_code == 202
    reaches(client, who, sweep, "running")
    assert client.get(f"/v1/sweeps/{sweep}", headers=who).json()["attempt"] == 1


def test_a_finished_sweep_is_not_resumed(client: httpx.Client, token: Token) -> None:
    who = token()
    sweep = hand_in(client, who)
    reaches(client, who, sweep, "finished")
    assert "finished" in problem(client.post(f"/v1/sweeps/{sweep}/resume", headers=who), 409)["detail"]
    assert client.post(f"/v1/sweeps/{sweep}/stop", headers=who).json()["state"] == "finished"


def test_a_sweep_without_results_has_no_best(client: httpx.Client, token: Token) -> None:
    who = token()
    assert (
        "no complete trial"
        in problem(client.get(f"/v1/sweeps/{hand_in(client, who)}/best", headers=who), 409)["detail"]
    )


def test_a_sweep_of_a_service_is_a_result_in_python(
    client: httpx.Client, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = token()
    sweep = hand_in(client, who)
    monkeypatch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
    server = str(client.base_url)
    result = es.open("quick", server=server)
    assert (result.id, result.spec.name, result.spec.trials, result.best) == (sweep, "quick", 4, None)
    assert list(result.curves().columns) == ["trial", "step", "value"]
    assert [one.id for one in es.sweeps(server=server)] == [sweep]
    with pytest.raises(es.BadInput):  # its job is a script that trains nothing
        result.curves("valid_accuracy")


def test_filters_choose(client: httpx.Client, token: Token) -> None:
    who = token()
    quick, long = hand_in(client, who), hand_in(client, who, "long")
    reaches(client, who, quick, "finished")
    reaches(client, who, long, "running")

    def ids(query: str) -> list[str]:
        return [view["id"] for view in client.get(f"/v1/sweeps?{query}", headers=who).json()["sweeps"]]

    assert ids("state=finished") == [quick]
    assert ids("state=running") == [long]
    assert ids("name=long") == [long]
    assert ids("") == [long, quick]
    assert ids("limit=1") == [long]
    for wrong in ("state=gone", "limit=0", "limit=1000", "before=x"):
        problem(client.get(f"/v1/sweeps?{wrong}", headers=who), 422)


def stream(client: httpx.Client, path: str, who: Header, after: str | None = None) -> list[dict[str, str]]:
    """Read a stream to its end."""
    headers = who | {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = "".join(answer.iter_text())
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_logs_go_on_where_a_client_left_off(client: httpx.Client, token: Token) -> None:
    who = token()
    sweep = hand_in(client, who)
    whole = stream(client, f"/v1/sweeps/{sweep}/logs", who)
    text = "".join(json.loads(e["data"]) for e in whole if e["event"] == "log")
    assert text == client.get(f"/v1/sweeps/{sweep}/logs", headers=who).text
    assert whole[-1]["event"] == "end"
    for after in (1, 5, len(text)):
        rest = stream(client, f"/v1/sweeps/{sweep}/logs", who, str(after))
        assert "".join(json.loads(e["data"]) for e in rest if e["event"] == "log") == text[after:]


def test_events_end_with_the_sweep(client: httpx.Client, token: Token) -> None:
    who = token()
    sweep = hand_in(client, who)
    found = stream(client, f"/v1/sweeps/{sweep}/events", who)
    assert found[-1]["event"] == "end"
    assert json.loads(found[-1]["data"])["state"] == "finished"
    problem(client.get(f"/v1/sweeps/{sweep}/events", headers=who | {"Last-Event-ID": "-3"}), 422)


def test_the_service_says_how_it_is(client: httpx.Client, token: Token) -> None:
    who = token()
    sweep = hand_in(client, who)
    reaches(client, who, sweep, "finished")
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").status_code == 200
    text = client.get("/metrics").text
    assert 'espalier_sweeps{state="finished"} 1.0' in text
    assert 'route="/v1/sweeps/{sweep}"' in text
    assert sweep not in text and "ada" not in text


def test_a_cluster_that_is_away_makes_it_unready_and_nothing_is_lost(
    client: httpx.Client, token: Token, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.services.clusters.cluster import Unreachable

    def away(*_: object) -> None:
        raise Unreachable("it is away")

    who = token()
    with monkeypatch.context() as broken:
        for call in ("check", "submit", "status"):
            broken.setattr(cluster, call, away)
        assert "cluster: it is away" in problem(client.get("/readyz"), 503)["detail"]
        sweep = hand_in(client, who)
        until(lambda: state(client, who, sweep) == "starting", "its turn")
    reaches(client, who, sweep, "finished")


def test_a_service_that_is_killed_and_started_again_goes_on(
    store: Store, cluster: LocalCluster, settings: Settings, token: Token
) -> None:
    from espalier.services.http.app import build
    from tests.services.serving import served

    who = token()
    with served(build(settings, False, cluster)) as address, httpx.Client(base_url=address) as client:
        first = hand_in(client, who, "long")
        reaches(client, who, first, "running")
        waiting = [hand_in(client, who, "long") for _ in range(2)]
    with store.session() as session:
        session.execute(update(Lease).values(until=0.0))  # it was killed longer ago than others wait for it
    with served(build(settings, False, cluster)) as address, httpx.Client(base_url=address) as client:
        assert state(client, who, first) == "running"
        client.post(f"/v1/sweeps/{first}/stop", headers=who)
        reaches(client, who, first, "stopped")
        reaches(client, who, waiting[-1], "running")


def test_two_services_over_one_database_are_one(
    store: Store, cluster: LocalCluster, settings: Settings, token: Token
) -> None:
    from espalier.services.http.app import build
    from tests.services.serving import served

    who = token()
    with ExitStack() as stack:
        one, other = (stack.enter_context(served(build(settings, False, cluster))) for _ in range(2))
        here, there = (stack.enter_context(httpx.Client(base_url=address)) for address in (one, other))
        sweeps = [hand_in(c, who) for c in (here, there, here, there)]
        for sweep in sweeps:
            reaches(there, who, sweep, "finished")
        assert [v["id"] for v in here.get("/v1/sweeps", headers=who).json()["sweeps"]] == sweeps[::-1]
