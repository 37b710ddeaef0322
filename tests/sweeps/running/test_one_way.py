"""The way of one trial, from the YAML of its sweep to MLflow, as a profiler sees it."""

import re
from pathlib import Path

import pytest

from tests.sweeps.running.walk import ROOT, VALIDATION, Walk, returns, walk_one_sweep

TURN_FILES_MOST = 25
SPEC_RETURNS_MOST = 8
PHASE_FILES_MOST = {
    "reading": 12,  # with spec/domains.py: what a hyperparameter may be stands apart from the space
    "checks": 14,  # with spec/domains.py
    "start": 48,  # with spec/domains.py; of the recorded code with running/own_code.py, code/environment.py,
    # code/sources.py and spec/references.py, by which the user's own files are known; with search/given.py; with
    # recording/shown.py and names.py: MLflow has the view of the trials and the data from the start
    "training": 39,  # with search/given.py: points may be added while a sweep runs
    "closing": 57,  # with spec/domains.py, and code/environment.py: a best file has its environment; the answer in
    # sentences is a room of its own, of which a sweep of one trial takes six files; the report is another, with a
    # file for each group of figures, for the page and for its pictures: eleven, and two in recording; with
    # recording/shown.py: what MLflow's pages show
    "records": 14,
}
"""Files of sweeps alone: core's run in the checks, which train a step. Reference rows and confirmations have some."""
KIND_OF_EVENT = re.compile(r"""event(\.kind\b|\["kind"\])|\bkind\b.*["'](report|score|finish|fork|start|stop)["']""")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The walk of a sweep of one trial."""
    with pytest.MonkeyPatch.context() as patch:
        walk, summary = walk_one_sweep(tmp_path_factory.mktemp("walk"), patch.setattr)
    assert summary.recorded and [t.state for t in summary.trials] == ["complete"]
    return walk


def test_few_files_run_code_from_what_a_worker_reports_to_what_is_written(walk: Walk) -> None:
    assert len(walk.turn_files()) <= TURN_FILES_MOST, walk.turn_files()


def test_no_phase_of_a_run_takes_more_files_than_it_did(walk: Walk) -> None:
    files = {phase: [f for f in files if not f.startswith("core/")] for phase, files in walk.phase_files().items()}
    assert {phase: of_phase for phase, of_phase in files.items() if len(of_phase) > PHASE_FILES_MOST[phase]} == {}


def test_a_spec_is_validated_where_it_is_read_and_where_it_comes_back_from_the_storage(walk: Walk) -> None:
    assert walk.count(VALIDATION) == 2


def test_nobody_calls_back_into_the_loop(walk: Walk) -> None:
    assert not walk.callbacks()


def test_a_report_goes_from_the_loop_to_the_search_the_progress_and_the_records(walk: Walk) -> None:
    """Four files in all, none of them twice."""
    assert walk.handed_on("Reported", "Report") == [
        "sweeps/search/search.py",
        "sweeps/running/progress.py",
        "sweeps/recording/tracking.py",
    ]


def test_the_spec_is_handed_on_in_an_order_that_visits_each_file_about_once(walk: Walk) -> None:
    assert returns(walk.stays_of_spec()) <= SPEC_RETURNS_MOST, walk.stays_of_spec()


def test_what_kind_an_event_is_nobody_asks_by_a_text() -> None:
    files = [f for folder in ("core", "sweeps") for f in (ROOT / folder).rglob("*.py")]
    asking = [file for file in files if KIND_OF_EVENT.search(file.read_text(encoding="utf-8"))]
    assert asking in ([], [Path(ROOT / "core/training/events.py")])
