"""What MLflow shows of a sweep beside its numbers: a table of its trials, links, the data with their digests."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.data
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.browse.ui import latest_page
from espalier.sweeps.home import Home
from espalier.sweeps.recording import retry
from espalier.sweeps.recording.experiments import save_view
from espalier.sweeps.recording.names import DESCRIPTION_TAG, STATUS_TAG, VERDICT_TAG, VIEW_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import (
    SweepClosed,
    SweepOpened,
    TrialEnded,
    TrialReported,
    TrialStarted,
    from_json,
    to_json,
)
from espalier.sweeps.recording.removal import delete_runs
from espalier.sweeps.recording.shown import best_so_far, datasets_of, description, noise_text, trials_view
from espalier.sweeps.recording.tracking import run_name, shown_params
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.report.material import Material
from espalier.sweeps.results.trial_result import ranked
from tests.sweeps.cli.stored import runs_of
from tests.sweeps.made import row, spec_with
from tests.sweeps.recording.saying import SOON, SWEEP
from tests.sweeps.report.made import FUNCTION, KINDS, material_of


def recorded(home: Path, material: Material, name: str = "made") -> MlflowClient:
    """Record a sweep made by hand, as a driver would; return a client of its store."""
    spec, trials = material.spec, material.trials
    metric, in_rates = spec.objective.metric, spec.space.lr is not None
    answer = answer_of(spec, trials, material.references)
    recorder = Recorder(default_uri(home), SWEEP, name, home / "sweeps" / SWEEP, SOON)
    data = [vars(each) for each in datasets_of(spec, {"data": "0123456789abcdef", "git_commit": "c0ffee"})]
    recorder.record(SweepOpened(SWEEP, {}, {"task": spec.trained}, {}, trials_view(SWEEP, "", spec), data))
    for t in trials:
        called = run_name(t.number, t.params, spec)
        recorder.record(TrialStarted(t.number, called, shown_params(t.params, in_rates), {STATUS_TAG: "running"}))
        if t.value is not None:
            recorder.record(TrialReported(t.number, 10, [(metric, 10, t.value)]))
        tags = {STATUS_TAG: t.state, VERDICT_TAG: t.verdict or "healthy"}
        recorder.record(TrialEnded(t.number, called, 10, tags, {}, "FINISHED"))
    progress = [(f"best_{metric}", *point) for point in best_so_far(trials, spec.objective.mode)]
    (recorder.spool.path.parent / "report.html").write_text("the report")
    tags = {DESCRIPTION_TAG: description(answer, SWEEP)}
    recorder.record(SweepClosed({"trials": float(len(trials))}, tags, {}, ["report.html"], "FINISHED", progress))
    assert recorder.close(), recorder.notes
    return MlflowClient(default_uri(home))


def own_run(client: MlflowClient) -> Run:
    (run,) = client.search_runs(["1"], f"attributes.run_name = '{SWEEP}'")
    return run


def view_of(client: MlflowClient) -> dict[str, Any]:
    return json.loads(client.get_experiment("1").tags[f"{VIEW_TAG}{SWEEP}"])


def key_of(column: str) -> tuple[str, str]:
    group, _, key = column.partition(".")
    return group, key.strip("`")


# --- the table of trials ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_view_is_of_all_trials_the_best_first_with_columns_that_they_have(kind: str, home: Path) -> None:
    material = material_of(6, KINDS[kind])
    client = recorded(home, material)
    view = view_of(client)
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = client.search_runs(["1"], view["searchFilter"], order_by=[order])
    valued = [t for t in ranked(material.trials, material.spec.objective.mode) if t.value is not None]
    sign = 1 if material.spec.objective.mode == "min" else -1
    wanted = [t.number for t in sorted(valued, key=lambda t: sign * (t.value or 0.0))]
    assert [int(run.data.tags["espalier.trial"]) for run in runs][: len(wanted)] == wanted
    assert len(runs) == len(material.trials), "and not the sweep's own"
    groups = {"metrics": runs[0].data.metrics, "params": {}, "tags": runs[0].data.tags}
    for run in runs:
        groups["params"] |= run.data.params
    for column in view["selectedColumns"]:
        group, key = key_of(column)
        assert key in groups[group], column
    assert key_of(view["selectedColumns"][0])[0] == "metrics" and f"tags.`{VERDICT_TAG}`" in view["selectedColumns"]


def test_who_wrote_rates_sees_rates_and_who_wrote_exponents_both() -> None:
    rates = spec_with(space={"lr": {"low": 0.001, "high": 1, "log": True}})
    exponents = spec_with(space={"lr_exponent": {"low": -3, "high": 0}})
    assert "params.`lr`" in str(trials_view(SWEEP, "", rates))
    assert "params.`peak_lr`" in str(trials_view(SWEEP, "", exponents))
    assert shown_params({"lr_exponent": -1.0}, in_rates=True) == {"lr": 0.1}
    assert shown_params({"lr_exponent": -1.0}) == {"lr_exponent": -1.0, "peak_lr": 0.1}


def test_where_trials_may_be_stopped_the_table_says_which_were() -> None:
    column = f"tags.`{STATUS_TAG}`"
    assert column in str(trials_view(SWEEP, "", spec_with(stopping={})))
    assert column not in str(trials_view(SWEEP, "", spec_with()))


def test_a_view_that_is_refused_is_noted_and_an_error_of_the_network_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSES_S", (None,))

    class Refusing:
        def __init__(self, error: Exception):
            self.error = error

        def set_experiment_tag(self, *arguments: str) -> None:
            raise self.error

    denied: Any = Refusing(MlflowException("no permission", error_code=PERMISSION_DENIED))
    note = save_view(denied, "1", SWEEP, {"orderByAsc": True})
    assert note and "no permission" in note
    assert save_view(denied, "1", SWEEP, {}) is None, "nothing is asked where there is no view"
    away: Any = Refusing(ConnectionError("away"))
    with pytest.raises(ConnectionError):
        save_view(away, "1", SWEEP, {"orderByAsc": True})


def test_the_view_goes_with_the_records(home: Path) -> None:
    client = recorded(home, material_of(2))
    assert delete_runs(default_uri(home), SWEEP) == 3
    assert f"{VIEW_TAG}{SWEEP}" not in client.get_experiment("1").tags


# --- the description, charts -----------------------------------------------------------------------------------------


def test_the_description_begins_with_the_answer_and_links_to_the_table_and_the_report(home: Path) -> None:
    material = material_of(6)
    client = recorded(home, material)
    run = own_run(client)
    first, second, *_ = run.data.tags[DESCRIPTION_TAG].split("\n\n")
    assert first == f"**Best: {answer_of(material.spec, material.trials, material.references).sentence}**"
    assert f"(#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey={SWEEP})" in second
    assert f"(#/experiments/1/runs/{run.info.run_id}/artifacts/report.html?" in second


@pytest.mark.parametrize(
    ("space", "word"),
    [({"lr": {"low": 0.001, "high": 1, "log": True}}, "lr"), ({"lr_exponent": {"low": -3, "high": 0}}, "lr_exponent")],
)
def test_ties_are_told_in_the_words_of_the_spec(space: dict[str, Any], word: str) -> None:
    points = [{"lr_exponent": exponent, "seed": seed} for exponent, seed in ((-2.0, 0), (-2.0, 1), (-1.9, 0))]
    trials = [row(n, 1.0 + n / 10, params=point) for n, point in enumerate(points)]
    trials[1] = replace(trials[1], confirms=0)
    text = noise_text(answer_of(spec_with(space=space), trials))
    assert re.search(r": (\w+) \S+ to \S+$", text)[1] == word, text


def test_the_best_so_far_is_a_curve_that_ends_at_the_best(home: Path) -> None:
    material = material_of(12)
    client = recorded(home, material)
    run, name = own_run(client), f"best_{material.spec.objective.metric}"
    values = [point.value for point in client.get_metric_history(run.info.run_id, name)]
    best = answer_of(material.spec, material.trials).best
    assert best and values == sorted(values, reverse=True) and values[-1] == best.value == run.data.metrics[name]


def test_charts_are_those_that_matter_and_the_story_has_everything(small_sweep: Any) -> None:
    client = MlflowClient(default_uri(small_sweep.home))
    _, children = runs_of(small_sweep)
    run = children[small_sweep.document["best"]["trial"]]
    assert set(run.data.metrics) == {"lr", "train_loss", "update_ratio", "valid_loss"}
    story = json.loads(Path(client.download_artifacts(run.info.run_id, "trial.json")).read_text())
    assert {*run.data.metrics, "update_ratio_trend", "update_ratio_spread"} <= set(story["members"][0]["reports"][0][1])


def test_what_earlier_versions_have_recorded_is_read(home: Path) -> None:
    opened = SweepOpened(SWEEP, {"a": "b"}, {"task": "names"}, {})
    closed = SweepClosed({"trials": 1.0}, {DESCRIPTION_TAG: "**Best**"}, {}, [], "FINISHED")
    for record, later in ((opened, ("view", "datasets")), (closed, ("points",))):
        fields = {name: value for name, value in json.loads(to_json(record, 1)).items() if name not in later}
        line = from_json(json.dumps(fields).encode())
        assert line and line.record == record
        recorder = Recorder(default_uri(home), SWEEP, "made", home / "sweeps" / SWEEP, SOON)
        recorder.record(line.record)
        assert recorder.close() and not recorder.notes
    client = MlflowClient(default_uri(home))
    assert own_run(client).data.tags[DESCRIPTION_TAG] == "**Best**"
    assert not [tag for tag in client.get_experiment("1").tags if tag.startswith(VIEW_TAG)]


# --- the data ---------------------------------------------------------------------------------------------------------


def test_the_data_of_a_task_are_a_dataset_of_the_sweep_with_its_digest(small_sweep: Any) -> None:
    parent, _ = runs_of(small_sweep)
    (used,) = parent.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("Names", parent.data.tags["espalier.data"])
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    source = mlflow.data.get_source(used.dataset).to_dict()["tags"]
    assert source["mlflow.source.name"] == "espalier.core.tasks.names:Names"


def test_data_that_have_changed_are_two_datasets_and_no_folder_is_told() -> None:
    spec = spec_with(task="/home/me/secret/digits.py:Digits")
    facts = {"data": "a", "changes": [{"data": "a"}, {"data": "b", "git_commit": "c0ffee"}], "data.others": "c"}
    found = datasets_of(spec, facts)
    assert [(each.name, each.digest) for each in found] == [
        ("Digits", "a"),
        ("Digits (other choices)", "c"),
        ("Digits", "b"),
    ]
    assert {each.source for each in found} == {"digits.py:Digits"}


def test_of_a_function_nothing_is_invented(home: Path) -> None:
    client = recorded(home, material_of(2, FUNCTION))
    assert not own_run(client).inputs.dataset_inputs


def test_equal_data_that_are_recorded_again_are_one_dataset(home: Path) -> None:
    for _ in range(2):
        client = recorded(home, material_of(2))
    (used,) = own_run(client).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("names", "0123456789abcdef")


def test_the_best_so_far_counts_what_has_ended_in_the_order_of_time() -> None:
    trials = [row(0, 2.0, ended=30.0), row(1, 1.0, ended=10.0), row(2, None, "diverged", ended=20.0), row(3, 0.5)]
    assert list(best_so_far(trials, "min")) == [(1, 1.0), (4, 0.5)]
    assert list(best_so_far([], "min")) == [] == list(best_so_far(trials[2:3], "min"))


# --- where MLflow opens -----------------------------------------------------------------------------------------------


def test_the_page_of_a_home_is_the_run_of_its_latest_sweep(small_sweep: Any) -> None:
    parent, _ = runs_of(small_sweep)
    page = latest_page(Home.at(str(small_sweep.home), reading=True), "http://127.0.0.1:5000")
    assert f"/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}?" in page
