"""What a report is made of: curves as block means, and what the records of a sweep have."""

import json
import math
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.result import Result
from espalier.sweeps.browse.home_sweep import read_sweep
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.origins.service_origin import ServiceSweep
from espalier.sweeps.recording.material import traces_of
from espalier.sweeps.recording.stories import spooled_story
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.material import block_means

CURVES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300).map(lambda losses: list(enumerate(losses, 1)))


@given(CURVES, st.integers(1, 50))
def test_block_means_keep_the_mean_and_the_last_step(curve: Sequence[tuple[int, float]], most: int) -> None:
    """Of blocks of equal length; the last one may be shorter."""
    means = block_means(curve, most)
    assert len(means) <= most and means[-1][0] == curve[-1][0]
    ends = [0, *(step for step, _ in means)]
    weights = [after - before for before, after in pairwise(ends)]
    whole = math.fsum(weight * mean for weight, (_, mean) in zip(weights, means, strict=True)) / len(curve)
    assert math.isclose(whole, math.fsum(loss for _, loss in curve) / len(curve), rel_tol=1e-9, abs_tol=1e-6)


@pytest.mark.parametrize("broken", [None, math.nan, math.inf])
def test_a_curve_ends_where_it_is_no_number(broken: float | None) -> None:
    assert block_means([(1, 2.0), (2, broken), (3, 1.0)]) == [(1, 2.0)]


def test_the_home_alone_has_curves_ratios_and_work(small_sweep: Any, tmp_path: Path) -> None:
    """Also where MLflow's store is gone."""
    home = tmp_path / "home"
    shutil.copytree(small_sweep.home, home)
    (home / "mlflow.db").unlink()
    shutil.rmtree(home / "mlartifacts")
    material = read_sweep(Home.at(home, reading=True), small_sweep.id).material()
    best = small_sweep.document["best"]["trial"]
    story = spooled_story(home / "sweeps" / small_sweep.id, best)
    assert story and material.work
    replicate = story["members"][0]
    assert material.traces[best].ratios.rows == replicate["ratios"] and replicate["ratios"]
    assert material.traces[best].curve == block_means(replicate["curve"])
    assert set(material.traces) == set(range(9))
    assert not any(trace.ratios.rows for trial, trace in material.traces.items() if trial != best)
    document = small_sweep.document
    assert (material.work.trained, material.work.shared) == (document["lane_steps"], document["steps_shared"])
    names = {figure.name for figure in Document.of(material).figures if hasattr(figure, "chart")}
    assert {"valley", "map", "curves", "ratios", "time", "progress"} <= names


def test_a_running_trial_has_its_curve_so_far(small_sweep: Any, tmp_path: Path) -> None:
    """The spool of a sweep that was cut off before its trials ended."""
    home = tmp_path / "home"
    shutil.copytree(small_sweep.home, home)
    spool = home / "sweeps" / small_sweep.id / "spool.jsonl"
    lines = spool.read_text().splitlines(keepends=True)
    spool.write_text("".join(line for line in lines if '"op": "end"' not in line))
    traces = read_sweep(Home.at(home, reading=True), small_sweep.id).material().traces
    whole = read_sweep(Home.at(small_sweep.home, reading=True), small_sweep.id).material().traces
    complete = [t.number for t in read_sweep(Home.at(home, True), small_sweep.id).trials if t.state == "complete"]
    assert len(complete) == 6
    assert {trial: traces[trial].curve for trial in complete} == {trial: whole[trial].curve for trial in complete}


def test_a_spool_that_is_being_written_is_read_and_left_as_it_is(small_sweep: Any, tmp_path: Path) -> None:
    whole = (small_sweep.folder / "spool.jsonl").read_bytes()
    cut = whole[: whole.index(b'"op": "close"') - 2]
    for torn in (b"", b'{"op": "end", "ti'):
        (tmp_path / "spool.jsonl").write_bytes(cut + torn)
        assert set(traces_of(tmp_path, [])) == set(range(9))
        assert (tmp_path / "spool.jsonl").read_bytes() == cut + torn
    assert [file.name for file in tmp_path.iterdir()] == ["spool.jsonl"]


def test_a_result_has_the_report_and_its_figures(small_sweep: Any, tmp_path: Path) -> None:
    result = Result.read(HomeOrigin(Home.at(small_sweep.home, reading=True)), small_sweep.id)
    file = result.report(tmp_path / "mine.html")
    assert file == tmp_path / "mine.html" and small_sweep.id in file.read_text()
    assert "datasets" in result.figure("valley").to_dict()
    with pytest.raises(BadInput, match=r"the figures are: valley, map, curves"):
        result.figure("exponent")


class Remote:
    """A service that has one sweep of a home. earlier: of a version that told no traces."""

    server = "http://127.0.0.1:1"

    def __init__(self, home: Path, sweep: str, earlier: bool = False):
        self.kept, self.earlier = read_sweep(Home.at(home, reading=True), sweep), earlier

    def traces(self, sweep: str) -> dict[str, Any] | None:
        from espalier.services.reading.drawing import traces_text

        return None if self.earlier else json.loads(traces_text(self.kept.material()))

    def spec(self, sweep: str) -> dict[str, Any]:
        return self.kept.spec.model_dump(mode="json")

    def trials(self, sweep: str) -> list[dict[str, Any]]:
        from espalier.services.reading.answers import trial_view

        return [trial_view(trial).model_dump(mode="json") for trial in self.kept.trials]

    def curves(self, sweep: str, metric: str) -> list[tuple[int, int, float]]:
        return self.kept.points(metric)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_service_tells_the_same(small_sweep: Any, earlier: bool) -> None:
    """One of an earlier version leaves out ratios and work."""
    remote: Any = Remote(small_sweep.home, small_sweep.id, earlier)
    answer: Any = {"id": small_sweep.id, "state": "finished", "created": "2026-11-30T04:00:00Z", "references": []}
    there, here = ServiceSweep(remote, answer).material(), remote.kept.material()
    assert [trial.value for trial in there.trials] == [trial.value for trial in here.trials]
    assert {t.number: t.reports for t in there.trials} == {t.number: t.reports for t in here.trials}
    assert [round(t.ended or 0) for t in there.trials] == [round(t.ended or 0) for t in here.trials]
    assert {t: trace.curve for t, trace in there.traces.items() if trace.curve} == {
        t: trace.curve for t, trace in here.traces.items() if trace.curve
    }
    left_out = {figure.name for figure in Document.of(there).figures if not hasattr(figure, "chart")}
    assert ("ratios" in left_out) == earlier and "curves" not in left_out
    if not earlier:
        assert (there.work, there.facts, there.begun) == (here.work, here.facts, here.begun)
        best = small_sweep.document["best"]["trial"]
        assert there.traces[best].ratios.rows == here.traces[best].ratios.rows and there.traces[best].ratios.known
