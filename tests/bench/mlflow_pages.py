"""MLflow at the size of a sweep: its pages in a headless Chromium, its client, the store, and how long recording takes.

usage: python -m tests.bench.mlflow_pages  (prints one JSON document; needs Chromium and Debian's postgresql)
"""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from espalier.services.local_stack import down, up
from espalier.sweeps.recording.names import TRIAL_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.bench import command
from tests.ports import free_port
from tests.sweeps.recording.browsed import Page, mlflow_page
from tests.sweeps.recording.saying import mlflow_server

TRIALS, STEPS = 2000, 500
PATIENCE_S = 900.0
API = ("/ajax-api/", "/graphql")
SEARCHES = ("/runs/search", "/metrics/get-history")


def page_of(address: str, page: Page) -> dict[str, Any]:
    """Open a page of MLflow; return what it asked the server for, and when it had the last answer."""
    seconds = page.open(address)
    asked = [r for r in page.requests if any(part in r.url for part in API)]
    searches = [r for r in asked if any(part in r.url for part in SEARCHES)]
    return {
        "seconds": seconds,
        "requests": len(asked),
        "kilobytes": sum(r.bytes for r in asked) / 1000,
        "searches": len(searches),
        "searched_kilobytes": sum(r.bytes for r in searches) / 1000,
        "searched_s": sum(r.end_s - r.begin_s for r in searches if r.end_s is not None),
        "errors": page.tab.console[:3],
    }


def pages(server: str) -> dict[str, Any]:
    """Return what each page on a sweep takes. The browser has MLflow's own files when the first is measured."""
    client = MlflowClient(server)
    experiment = next(e for e in client.search_experiments() if e.name == "names-sgd").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`espalier.kind` = 'sweep'")
    best = parent.data.tags["espalier.best_trial"]
    (child,) = client.search_runs([experiment], f"tags.`{TRIAL_TAG}` = '{best}'")
    root, end = f"{server}/#/experiments/{experiment}", "workflowType=machine_learning"
    addresses = {
        "the experiment": f"{root}?{end}",
        "the experiment, as charts": f"{root}/runs?{end}&compareRunsMode=CHART",
        "the sweep's run": f"{root}/runs/{parent.info.run_id}?{end}",
        "the sweep's run, its metrics": f"{root}/runs/{parent.info.run_id}/model-metrics?{end}",
        "the best trial's run": f"{root}/runs/{child.info.run_id}?{end}",
        "the best trial's run, its metrics": f"{root}/runs/{child.info.run_id}/model-metrics?{end}",
        "the report among the artifacts": f"{root}/runs/{parent.info.run_id}/artifacts/report.html?{end}",
    }
    if key := next((tag for tag in client.get_experiment(experiment).tags if "ViewState" in tag), None):
        share = f"viewStateShareKey={key.rpartition('.')[2]}"
        addresses["the trials, best first"] = f"{root}/runs?{end}&{share}"
    with mlflow_page() as page:
        page_of(addresses["the experiment"], page)
        return {name: page_of(address, page) for name, address in addresses.items()}


def searched(uri: str) -> dict[str, Any]:
    """Return what `mlflow.search_runs` of all runs takes, and its table."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    experiment = next(e for e in MlflowClient(uri).search_experiments() if e.name == "names-sgd").experiment_id
    begin = time.monotonic()
    table = mlflow.search_runs([experiment], max_results=50_000)
    return {"seconds": time.monotonic() - begin, "rows": len(table), "columns": len(table.columns)}


def stored(file: Path) -> dict[str, Any]:
    """Return the size of a store and what is in it."""
    with closing(sqlite3.connect(file)) as store:
        points, last = (store.execute(f"select count(*) from {t}").fetchone()[0] for t in ("metrics", "latest_metrics"))
        trial = "select run_uuid from tags where key = 'mlflow.parentRunId'"
        keys = {
            who: sorted(key for (key,) in store.execute(f"select distinct key from latest_metrics where {which}"))
            for who, which in (("trial", f"run_uuid in ({trial})"), ("sweep", f"run_uuid not in ({trial})"))
        }
        counts = {
            table: store.execute(f"select count(*) from {table} where run_uuid in ({trial})").fetchone()[0]
            for table in ("latest_metrics", "params", "tags")
        }
    size = file.stat().st_size / 1e6
    return {"megabytes": size, "points": points, "last_values": last, "keys": keys, "of_trials": counts}


def replayed(spool: Path, uri: str, sweep: str) -> float:
    """Send all records of a sweep to another store; return the seconds, the audit included."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(spool, Path(folder) / "spool.jsonl")
        begin = time.monotonic()
        recorder = Recorder(uri, sweep, "names-sgd", Path(folder))
        assert recorder.close(patience_s=PATIENCE_S), recorder.notes
        return time.monotonic() - begin


@contextmanager
def deployed() -> Iterator[str]:
    """Start MLflow behind a login, on PostgreSQL and S3, as a deployment has it; yield its address."""
    folder = Path(tempfile.mkdtemp(prefix="espalier-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        servers = up(folder, workers=0)
        os.environ.update({name: value for name, value in servers.items() if name.startswith("MLFLOW")})
        yield servers["MLFLOW_TRACKING_URI"]
    finally:
        down(folder)
        shutil.rmtree(folder, ignore_errors=True)


def measure(trials: int = TRIALS, steps: int = STEPS) -> dict[str, Any]:
    """Run a sweep and return what its records take."""
    with tempfile.TemporaryDirectory() as folder:
        home, port = Path(folder) / "home", free_port()
        ran = command.run(home, command.drawn(trials, steps) | {"confirm": 3})
        found: dict[str, Any] = {"trials": trials, "steps": steps, "wall_s": ran["wall_s"]}
        found["store"] = stored(home / "mlflow.db")
        spool = home / "sweeps" / ran["sweep"] / "spool.jsonl"
        with mlflow_server(home, port):
            server = f"http://127.0.0.1:{port}"
            found["pages"] = pages(server)
            found["search"] = {"HTTP, on sqlite": searched(server), "sqlite": searched(default_uri(home))}
        found["replayed_s"] = {"sqlite": replayed(spool, default_uri(Path(folder)), ran["sweep"])}
        with deployed() as server:
            found["replayed_s"]["HTTP behind a login, on PostgreSQL and S3"] = replayed(spool, server, ran["sweep"])
            found["search"]["HTTP behind a login, on PostgreSQL"] = searched(server)
    return found


def report(found: Mapping[str, Any], head: str) -> str:
    """Return the report as Markdown."""
    store, trials = found["store"], found["trials"]
    pages = "\n".join(
        f"| {name} | {p['seconds']:.1f} | {p['requests']} | {p['kilobytes']:,.0f} | {p['searches']} "
        f"| {p['searched_kilobytes']:,.0f} | {p['searched_s']:.2f} | {p['errors']} |"
        for name, p in found["pages"].items()
    )
    searches = "\n".join(
        f"| {way} | {s['seconds']:.1f} | {s['rows']:,} | {s['columns']} |" for way, s in found["search"].items()
    )
    replays = "\n".join(f"| {way} | {s:.0f} | {s / trials * 1000:.0f} |" for way, s in found["replayed_s"].items())
    a_trial = ", ".join(f"{count / trials:.1f} {name}" for name, count in store["of_trials"].items())
    return f"""# {time.strftime("%Y-%m-%d")}: MLflow at the size of a sweep

{head}
Command: `python -m tests.bench --only mlflow`.

The names sweep, {trials:,} trials of {found["steps"]} steps, four decay points an exponent, three confirmations and
three references: {found["wall_s"]:.0f} s for the whole command.

## The store

{store["megabytes"]:.0f} MB of sqlite with {store["points"]:,} points. Of a trial: {a_trial.replace("_", " ")}.
Metrics of a trial: {", ".join(store["keys"]["trial"])}. Of the sweep: {", ".join(store["keys"]["sweep"])}.

## MLflow's pages, in a headless Chromium

Seconds from the click to the last answer, with MLflow's own files not in the browser's cache for the first page alone.
Requests are those to its API; searches are those for runs and for the histories of metrics, their seconds added up.

| page | s | requests | kB | searches | kB of these | s of these | errors |
|---|---|---|---|---|---|---|---|
{pages}

## `mlflow.search_runs` of all runs

| from | s | rows | columns |
|---|---|---|---|
{searches}

## Recording, without training: all records sent to an empty store, and its audit

| to | s | ms a trial |
|---|---|---|
{replays}

## Not reported

Servers on another machine; several people at once.
"""


if __name__ == "__main__":
    print(json.dumps(measure()))
