"""MLflow at the size of a sweep: its pages in a headless Chromium, its client, the store, and how long recording takes.

usage: python -m tests.bench.mlflow_pages [EARLIER [NOW]]  (prints one JSON document; needs Chromium and PostgreSQL)

EARLIER: a home with a sweep of the same size that an earlier version has recorded, to be measured beside.
NOW: a home with one that this version has recorded, which is run if it is not given.
"""

import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from espalier.services.local_stack import down, up
from espalier.sweeps.address import trials_page
from espalier.sweeps.recording.names import SWEEP_TAG, TRIAL_TAG, VIEW_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.bench import command
from tests.ports import free_port
from tests.sweeps.recording.browsed import Page, mlflow_browser
from tests.sweeps.recording.saying import mlflow_server

TRIALS, STEPS = 2000, 500
REPLAYED = 300  # trials whose records are sent once more, to be timed
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
    sweep = parent.data.tags[SWEEP_TAG]
    if f"{VIEW_TAG}{sweep}" in client.get_experiment(experiment).tags:
        addresses["the table of its trials"] = trials_page(server, experiment, sweep)
    with mlflow_browser() as page:
        page_of(addresses["the experiment"], page)
        return {name: page_of(address, page) for name, address in addresses.items()}


def searched(uri: str, sweep: str) -> dict[str, Any]:
    """Return what `mlflow.search_runs` of all runs of a sweep takes, and its table."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    experiment = next(e for e in MlflowClient(uri).search_experiments() if e.name == "names-sgd").experiment_id
    begin = time.monotonic()
    table = mlflow.search_runs([experiment], f"tags.`{SWEEP_TAG}` = '{sweep}'", max_results=50_000)
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


def replayed(spool: Path, uri: str, sweep: str) -> dict[str, float]:
    """Send the records of a sweep's first trials to another store; return the seconds a trial, the audit included.

    cpu_s: of this process; a server has its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = [line for line in spool.read_bytes().splitlines(keepends=True) if _is_early(json.loads(line))]
        (Path(folder) / "spool.jsonl").write_bytes(b"".join(lines))
        begin, worked = time.monotonic(), time.process_time()
        recorder = Recorder(uri, sweep, "names-sgd", Path(folder))
        assert recorder.close(patience_s=PATIENCE_S), recorder.notes
        whole = {"wall_s": time.monotonic() - begin, "cpu_s": time.process_time() - worked}
        return {name: seconds / REPLAYED for name, seconds in whole.items()}


def _is_early(record: Mapping[str, Any]) -> bool:
    """Whether a record is of the sweep itself, or of one of its first trials; its files are not sent."""
    return record["op"] == "open" or 0 <= record.get("trial", -1) < REPLAYED


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


def measure(earlier: Path | None = None, now: Path | None = None) -> dict[str, Any]:
    """Run a sweep and return what its records take, beside those of an earlier version.

    now: the home of such a sweep, if it has run already.
    """
    with tempfile.TemporaryDirectory() as folder:
        homes = ({"before": earlier} if earlier else {}) | {"now": now or Path(folder) / "home"}
        found: dict[str, Any] = {"trials": TRIALS, "steps": STEPS, "sides": {}}
        if now is None:
            found["wall_s"] = command.run(homes["now"], command.drawn(TRIALS, STEPS) | {"confirm": 3})["wall_s"]
        spools = {side: next(home.glob("sweeps/*/spool.jsonl")) for side, home in homes.items()}
        for side, home in homes.items():
            sweep, port = spools[side].parent.name, free_port()
            its: dict[str, Any] = {"store": stored(home / "mlflow.db"), "search": {}, "replayed_s": {}}
            with mlflow_server(home, port):
                its["pages"] = pages(f"http://127.0.0.1:{port}")
                its["search"]["HTTP, on sqlite"] = searched(f"http://127.0.0.1:{port}", sweep)
            its["search"]["sqlite"] = searched(default_uri(home), sweep)
            place = Path(folder) / side
            place.mkdir()
            its["replayed_s"]["sqlite"] = replayed(spools[side], default_uri(place), sweep)
            found["sides"][side] = its
        with deployed() as server:
            for side, spool in spools.items():
                way, sweep = "HTTP behind a login, on PostgreSQL and S3", spool.parent.name
                found["sides"][side]["replayed_s"][way] = replayed(spool, server, sweep)
    return found


def _rows(sides: Mapping[str, Any], part: str, row: Callable[[Any], str]) -> str:
    """Return a row for each name in a part of the sides, each with its side."""
    names = dict.fromkeys(name for side in sides.values() for name in side[part])
    each = ((name, which, side[part][name]) for name in names for which, side in sides.items() if name in side[part])
    return "\n".join(f"| {name} | {which} | {row(found)} |" for name, which, found in each)


def _page(p: Mapping[str, Any]) -> str:
    its = f"{p['searches']} | {p['searched_kilobytes']:,.0f} | {p['searched_s']:.2f}"
    return f"{p['seconds']:.1f} | {p['requests']} | {p['kilobytes']:,.0f} | {its}"


def _store(side: Mapping[str, Any], trials: int) -> str:
    store = side["store"]
    metrics, params, tags = (store["of_trials"][name] / trials for name in ("latest_metrics", "params", "tags"))
    return (
        f"{store['megabytes']:.0f} MB of sqlite with {store['points']:,} points. Of a trial {metrics:.1f} metrics "
        f"({', '.join(store['keys']['trial'])}), {params:.1f} params and {tags:.1f} tags. "
        f"Metrics of the sweep: {', '.join(store['keys']['sweep'])}."
    )


def report(found: Mapping[str, Any], head: str) -> str:
    """Return the report as Markdown."""
    sides, trials = found["sides"], found["trials"]
    stores = "\n".join(f"- {which}: {_store(side, trials)}" for which, side in sides.items())
    pages = _rows(sides, "pages", _page)
    searches = _rows(sides, "search", lambda s: f"{s['seconds']:.1f} | {s['rows']:,} | {s['columns']}")
    replays = _rows(sides, "replayed_s", lambda s: f"{s['wall_s'] * 1000:.0f} | {s['cpu_s'] * 1000:.0f}")
    return f"""# {time.strftime("%Y-%m-%d")}: MLflow at the size of a sweep

{head}
Command: `python -m tests.bench --only mlflow`.

The names sweep, {trials:,} trials of {found["steps"]} steps, four decay points an exponent, three confirmations and
three references{f": {found['wall_s']:.0f} s for the whole command" if "wall_s" in found else ""}.

## The store

{stores}

## MLflow's pages, in a headless Chromium

Seconds from the click to the last answer, with MLflow's own files in the browser's cache. Requests are those to its
API; searches are those for runs and for the histories of metrics, their seconds added up.

| page | records | s | requests | kB | searches | kB of these | s of these |
|---|---|---|---|---|---|---|---|
{pages}

## `mlflow.search_runs` of all runs

| from | records | s | rows | columns |
|---|---|---|---|---|
{searches}

## Recording, without training: {REPLAYED} trials sent to an empty store, and its audit

Milliseconds a trial, and those of them that the recording process computed.

| to | records | ms a trial | ms of CPU |
|---|---|---|---|
{replays}

## Not reported

Servers on another machine; several people at once.
"""


if __name__ == "__main__":
    print(json.dumps(measure(*map(Path, sys.argv[1:]))))
