"""The service's page beside real sweeps: one that trains, stops and goes on; one of 2,000 trials; below a path."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.http.app import build
from espalier.services.settings import Settings
from espalier.sweeps.home import Home
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec
from tests.chromium import Browser
from tests.services.conftest import spec
from tests.services.holding import hold, put, submission
from tests.services.http.asking import Token as Make
from tests.services.http.asking import hand_in, state
from tests.services.http.browsing import COLOURS, DRAWN, come_in, opened
from tests.services.serving import served

pytestmark = pytest.mark.slow
COMPLETE = "Number(/(\\d+) complete/.exec(document.querySelector('.status').textContent)?.[1] ?? 0)"
ROWS = "Number(document.getElementById('count').textContent.split(' ').at(-1))"


def test_a_real_sweep_is_watched_stopped_and_resumed(
    browser: Browser, store: Store, settings: Settings, token: Make, words_file: Path
) -> None:
    who, real = token("ada"), LocalCluster(settings.home / "jobs")
    long = {
        "task": "names", "task_options": {"path": str(words_file), "hidden": 11, "embedding": 5, "validation": 37},
        "trials": 600, "budget": {"steps": 60_000, "batch_size": 8, "reports": 20},
        "search": {"sampler": "random"}, "resources": {"lanes": 2, "cohorts": 1}, "schedule": "step",
    }  # fmt: skip
    with served(build(settings, False, real)) as address, httpx.Client(base_url=address, timeout=30) as client:
        sweep = client.post("/v1/sweeps", json=spec("real", **long), headers=who).json()["id"]
        with opened(browser, address) as tab:
            come_in(tab, address, who, f"#/sweeps/{sweep}")
            tab.press("#log summary")
            tab.until("document.querySelector('#report')?.dataset.drawn", "its report", seconds=120)
            tab.until(DRAWN, "its figures", in_frame=True)
            tab.until(f"{COMPLETE} > 0", "a first result", in_frame=True, seconds=120)
            before = tab.run(f"return {COMPLETE};", in_frame=True)
            tab.until(f"{COMPLETE} > {before}", "that it has grown", in_frame=True, seconds=60)
            assert state(client, who, sweep) == "running", client.get(f"/v1/sweeps/{sweep}/logs", headers=who).text
            tab.press("#stop")
            tab.press("#confirm button")
            tab.until("document.documentElement.dataset.state === 'stopped'", "that it has stopped", seconds=120)
            stopped = "document.querySelector('.status').textContent.startsWith('stopped')"
            tab.until(stopped, "that the report says so", in_frame=True)
            assert "stopped by ada" in tab.text() and state(client, who, sweep) == "stopped"
            assert len(tab.run("return document.querySelector('.log').textContent;")) > 10
            tab.press("#resume")
            tab.until("document.documentElement.dataset.state === 'running'", "that it goes on", seconds=120)
            running = "document.querySelector('.status').textContent.startsWith('running')"
            tab.until(running, "that the report says so", in_frame=True, seconds=120)
            assert min(tab.run(COLOURS, in_frame=True)) > 2
        client.post(f"/v1/sweeps/{sweep}/stop", headers=who)


def test_two_thousand_trials(
    browser: Browser, client: httpx.Client, token: Make, store: Store, settings: Settings
) -> None:
    """As Optuna keeps them, with their reports."""
    sweep, size = "big-20260101-abcd", 2000
    kept = SweepStore.open(Home.at(settings.home).storage)
    wanted = spec("big", trials=size)
    record = kept.create(sweep, SweepSpec.model_validate(wanted), {"created": "2026-01-01T00:00:00Z"})
    for number in range(size):
        record.study.add_trial(
            create_trial(
                value=2.0 + (number * 37 % size) / size,
                params={"lr_exponent": -2.0 * number / size},
                distributions={"lr_exponent": FloatDistribution(-2.0, 0.0)},
                intermediate_values={100: 2.5 + number / size},
            )
        )
    put(store, submission(sweep, wanted))
    address, who = str(client.base_url).rstrip("/"), token("ada")
    with opened(browser, address) as tab:
        come_in(tab, address, who)
        tab.until("document.documentElement.dataset.listed === '1'", "the list")
        assert "2000 of 2000" in tab.text()
        tab.press(f"a[href='#/sweeps/{sweep}']")
        tab.until("document.querySelector('#report')?.dataset.drawn", "its report")
        tab.until(DRAWN, "its figures", in_frame=True)
        assert tab.run(f"return {ROWS};", in_frame=True) == size
        assert min(tab.run(COLOURS, in_frame=True)) > 5


@contextmanager
def proxied(address: str, prefix: str) -> Iterator[str]:
    """Serve a service below a path, as a proxy that shows several of them does; give the address of that path."""

    class Passing(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(prefix + "/"):
                self.send_error(404)
                return
            named = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            with httpx.stream(self.command, address + self.path.removeprefix(prefix), headers=named) as answer:
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name not in ("transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                for piece in answer.iter_raw():
                    self.wfile.write(piece)

        do_GET = do_POST = pass_on

        def log_message(self, format: str, *args: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}{prefix}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def test_it_works_below_a_path_of_a_proxy(
    browser: Browser, client: httpx.Client, token: Make, store: Store, settings: Settings, small_sweep: Any
) -> None:
    who = token("ada")
    sweep = hold(store, settings.home, small_sweep)
    running = hand_in(client, who, "long")
    with proxied(str(client.base_url).rstrip("/"), "/team/sweeps") as address, opened(browser, address) as tab:
        come_in(tab, address, who)
        tab.until("document.documentElement.dataset.listed === '2'", "the list")
        tab.press(f"a[href='#/sweeps/{sweep}']")
        tab.until("document.querySelector('#report')?.dataset.drawn", "its report")
        tab.until(DRAWN, "its figures", in_frame=True)
        commands = tab.run("return document.querySelector('[aria-labelledby=again-title]').textContent;", in_frame=True)
        assert f"sweep best {sweep} --server {address}" in commands and f"SWEEP_SERVER={address} " in tab.text()
        tab.run(f"location.hash = '#/sweeps/{running}';")
        tab.until("document.querySelector('#stop')?.checkVisibility()", "the button")
        tab.press("#log summary")
        tab.until("document.querySelector('.log').textContent.includes('begun')", "the log")
        tab.press("#stop")
        tab.press("#confirm button")
        tab.until("document.documentElement.dataset.state === 'stopped'", "that it has stopped")
