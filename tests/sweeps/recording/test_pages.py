"""MLflow's own pages in a browser: what a person sees who opens the links that a sweep prints and writes."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from espalier.sweeps.address import trials_page
from espalier.sweeps.recording.names import STATUS_TAG, TRIAL_TAG, VERDICT_TAG
from espalier.sweeps.recording.records import SweepOpened, TrialEnded, TrialReported, TrialStarted
from espalier.sweeps.recording.shown import trials_view
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.ports import free_port
from tests.sweeps.cli.stored import runs_of
from tests.sweeps.made import spec_with
from tests.sweeps.recording.browsed import Page, mlflow_browser
from tests.sweeps.recording.saying import SWEEP, mlflow_server, recorder_at

pytestmark = pytest.mark.slow
MANY = 300  # MLflow asks for a hundred runs at a time


def searches(page: Page) -> list[str]:
    return [request.body for request in page.requests if request.url.endswith("/runs/search")]


def test_the_printed_table_is_of_all_trials_the_best_first_with_the_verdict(small_sweep: Any) -> None:
    (path,) = set(re.findall(r"table +http://[^/]+(/#/\S+)", small_sweep.said.stderr))
    port = free_port()
    with mlflow_server(small_sweep.home, port), mlflow_browser() as page:
        page.open(f"http://127.0.0.1:{port}{path}")
        page.close_assistant()
        page.tab.until("document.body.innerText.includes('espalier.verdict')", "the table")
        text = page.tab.text()
    for column in ("valid_loss", "peak_lr", "decay_point", VERDICT_TAG):
        assert column in text
    assert "9 matching runs" in text and "diverged" in text
    _, children = runs_of(small_sweep)
    complete = [run for run in children.values() if run.data.tags[STATUS_TAG] == "complete"]
    names = [run.info.run_name for run in sorted(complete, key=lambda run: run.data.metrics["valid_loss"])]
    assert sorted(names, key=text.index) == names


def test_the_page_of_a_sweep_begins_with_the_answer_and_its_links_lead_somewhere(small_sweep: Any) -> None:
    parent, _ = runs_of(small_sweep)
    port = free_port()
    with mlflow_server(small_sweep.home, port), mlflow_browser() as page:
        page.open(f"http://127.0.0.1:{port}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}")
        page.close_assistant()
        page.tab.until("document.body.innerText.includes('All trials, the best first')", "the description")
        text = page.tab.text()
        assert text.index("Best: ") < text.index("Metrics (")
        assert "Names" in text and parent.data.tags["espalier.data"] in text, "the data, with their digest"
        links: Any = page.tab.run("return [...document.querySelectorAll('a')].map(a => [a.innerText, a.href]);")
        page.open(dict(links)["Report"])
        page.tab.until("document.querySelector('iframe')", "the report, in a frame")
        assert any("report.html" in request.url and request.bytes > 100_000 for request in page.requests)
        page.open(dict(links)["All trials, the best first"])
        assert searches(page) and all('"max_results":100' in body for body in searches(page))


def test_the_table_of_many_trials_begins_with_the_best_of_all_and_asks_for_a_hundred(home: Path) -> None:
    spec, recorder = spec_with(trials=MANY), recorder_at(home)
    recorder.record(SweepOpened(SWEEP, {}, {"task": "warm"}, {}, trials_view(SWEEP, "", spec)))
    for trial in range(MANY):
        name, value = f"the trial {trial}", float((trial * 7919) % MANY)  # a permutation
        recorder.record(TrialStarted(trial, name, {"peak_lr": value}, {STATUS_TAG: "running"}))
        recorder.record(TrialReported(trial, 40, [("valid_loss", 40, value)]))
        recorder.record(TrialEnded(trial, name, 40, {VERDICT_TAG: "healthy"}, {}, "FINISHED"))
    assert recorder.close(range(MANY))
    (best,) = MlflowClient(default_uri(home)).search_runs(["1"], "metrics.valid_loss = 0")
    port = free_port()
    with mlflow_server(home, port), mlflow_browser() as page:
        page.open(trials_page(f"http://127.0.0.1:{port}", "1", SWEEP))
        page.tab.until(
            "document.body.innerText.includes('Load more') || /matching runs/.test(document.body.innerText)", ""
        )
        text = page.tab.text()
        (body,) = searches(page)
    assert f"the trial {best.data.tags[TRIAL_TAG]}\n" in text and '"max_results":100' in body
    first = re.search(r"the trial (\d+)", text)
    assert first and first[1] == best.data.tags[TRIAL_TAG]
