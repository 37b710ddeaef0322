"""What a person waits for at a service: the first report of a sweep handed in, and an answer while many ask."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from espalier.services import local
from espalier.services.database import schema
from espalier.services.database.store import Store
from espalier.services.database.tables import State, Submission
from espalier.services.tokens import create
from espalier.sweeps.home import Home
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec

ROOT = Path(__file__).resolve().parents[2]
STORED, CLIENTS, SECONDS = 1_000, 50, 20.0
SPEC = {
    "name": "names",
    "task": "espalier.core.tasks.names:Names",
    "trials": 16,
    "budget": {"steps": 10_000},
    "space": {"lr_exponent": {"low": -2.0, "high": 0.0}, "decay_points": {"count": 1, "low": 0.4, "high": 0.9}},
}


def first_report_s(client: httpx.Client, header: dict[str, str]) -> float:
    """Return the seconds from handing a sweep in to the first validation that the service shows of it."""
    begin = time.monotonic()
    sweep = client.post("/v1/sweeps", json=SPEC, headers=header).json()["id"]
    while True:
        trials = client.get(f"/v1/sweeps/{sweep}/trials", headers=header).json()["trials"]
        if any(trial["step"] is not None for trial in trials):
            break
        if time.monotonic() - begin > 180:
            raise RuntimeError(client.get(f"/v1/sweeps/{sweep}/logs", headers=header).text[-2000:])
        time.sleep(0.1)
    waited = time.monotonic() - begin
    client.post(f"/v1/sweeps/{sweep}/stop", headers=header)
    while client.get(f"/v1/sweeps/{sweep}", headers=header).json()["state"] != "stopped":
        time.sleep(0.2)
    return waited


def on_a_ray_cluster(runs: int = 3) -> list[float]:
    """Return first reports on a cluster that is up: PostgreSQL, S3, MLflow, a Ray head and two workers."""
    with tempfile.TemporaryDirectory(prefix="espalier-", dir="/tmp") as folder:
        os.chmod(folder, 0o711)
        try:
            found = local.up(Path(folder))
            header = {"Authorization": f"Bearer {found['token']}"}
            with httpx.Client(base_url=found["server"], timeout=60) as client:
                first_report_s(client, header)  # warm
                return [first_report_s(client, header) for _ in range(runs)]
        finally:
            local.down(Path(folder))


@contextmanager
def served(home: Path, port: int) -> Iterator[str]:
    """Serve a home while the block runs."""
    env = os.environ | {"SWEEP_HOME": str(home), "SWEEP_REQUESTS_PER_MINUTE": "1000000"}
    command = [sys.executable, "-m", "espalier.services.cli", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as service:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(200):
                try:
                    httpx.get(f"{address}/healthz")
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield address
        finally:
            service.terminate()


def store_sweeps(home: Home, count: int) -> tuple[str, list[str]]:
    """Store that many sweeps that are over, one with 96 trials; return a token and their ids."""
    spec = SweepSpec.model_validate(SPEC)
    store = SweepStore.open(home.storage)
    store = Store(f"sqlite:///{home.path / 'service.db'}")
    schema.upgrade(store)
    now = time.time()
    ids = [f"names-20261121-{number:08x}" for number in range(count)]
    with store.session() as session:
        token = create(session, "ada", "admin", now, None)
        session.add_all(
            Submission(
                sweep=sweep,
                owner="ada",
                name="names",
                spec=SPEC,
                fingerprint="",
                state=str(State.FINISHED),
                reason="",
                trials=16,
                gpus=0.0,
                hours=1.0,
                attempt=0,
                created=now,
                changed=now,
                ran_s=60.0,
            )
            for sweep in ids
        )
    for sweep in ids:
        store.create(sweep, spec, {"created": "2026-11-21T00:00:00Z"})
    study = store.load(ids[0]).study
    space = {"lr_exponent": FloatDistribution(-2.0, 0.0), "decay_points": FloatDistribution(0.4, 0.9)}
    study.add_trials(
        create_trial(
            params={"lr_exponent": -1.0, "decay_points": 0.5},
            distributions=space,
            value=2.5,
            intermediate_values={1000 * (step + 1): 2.5 for step in range(10)},
        )
        for _ in range(96)
    )
    return token, ids


def report(found: dict[str, Any], machine: str) -> str:
    """Return the report as Markdown."""
    first = found["first_report_s"]
    rows = "\n".join(
        f"| {name} | {a['requests']:,.0f} | {a['median_ms']:.1f} | {a['p99_ms']:.1f} |"
        for name, a in found["answers"].items()
    )
    return f"""# {date.today()}: what a person waits for at the service

{machine}
Command: `python -m tests.bench --only service`.

## From handing a sweep in to its first validation

The names network, 16 trials of 10,000 steps, on a cluster that is up: PostgreSQL, S3, MLflow behind a login, a Ray head
and two workers with one core each, the API, all on this machine. {len(first)} runs after one that warms: median
{statistics.median(first):.1f} s, least {min(first):.1f}, most {max(first):.1f}.

## {CLIENTS} clients that poll `GET /v1/sweeps/{{id}}`

{STORED:,} sweeps stored, in sqlite and a journal; one client in ten asks for a sweep of 96 trials, each of the others
for one of its own. One process of the service; the clients share its two cores. {SECONDS:.0f} seconds each.

| each client asks | answers | median, ms | p99, ms |
|---|---|---|---|
{rows}

## Not reported

A network between them; TLS; more than one process of the service; PostgreSQL under the polling clients.
"""


async def polled(address: str, token: str, ids: list[str], every_s: float) -> list[float]:
    """Return how long each answer took while many clients ask: each for a sweep of its own, a tenth for a large one."""
    header, times = {"Authorization": f"Bearer {token}"}, []

    async def poll(number: int, client: httpx.AsyncClient) -> None:
        sweep = ids[0] if number % 10 == 0 else ids[number]
        end = time.monotonic() + SECONDS
        await asyncio.sleep(every_s * number / CLIENTS)
        while time.monotonic() < end:
            begin = time.monotonic()
            answer = await client.get(f"{address}/v1/sweeps/{sweep}", headers=header)
            assert answer.status_code == 200, answer.text
            times.append(time.monotonic() - begin)
            await asyncio.sleep(max(0.0, every_s - times[-1]))

    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        await asyncio.gather(*(poll(number, client) for number in range(CLIENTS)))
    return times


def answers(port: int = 8097) -> dict[str, dict[str, float]]:
    """Return the times of answers, in milliseconds: one question a second from each client, or as many as they can."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(folder)
        token, ids = store_sweeps(home, STORED)
        found: dict[str, dict[str, float]] = {}
        with served(home.path, port) as address:
            asyncio.run(polled(address, token, ids, 1.0))
            for name, every_s in (("one a second", 1.0), ("as fast as they can", 0.0)):
                times = sorted(asyncio.run(polled(address, token, ids, every_s)))
                found[name] = {
                    "requests": len(times),
                    "median_ms": statistics.median(times) * 1e3,
                    "p99_ms": times[int(len(times) * 0.99)] * 1e3,
                }
        return found


def measure() -> dict[str, Any]:
    """Return both."""
    return {"answers": answers(), "first_report_s": on_a_ray_cluster()}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
