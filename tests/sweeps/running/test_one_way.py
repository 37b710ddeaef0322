"""The way of one trial, from the YAML of its sweep to MLflow, as a profiler sees it."""

import pytest

from tests.sweeps.running.walk import Walk, returns, walk_one_sweep

FILES_MOST = 59
CALLBACKS_MOST = 22
SPEC_RETURNS_MOST = 14


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The walk of a sweep of one trial."""
    with pytest.MonkeyPatch.context() as patch:
        walk, summary = walk_one_sweep(tmp_path_factory.mktemp("walk"), patch.setattr)
    assert summary.recorded and [t.state for t in summary.trials] == ["complete"]
    return walk


def test_few_files_run_code_between_yaml_and_mlflow(walk: Walk) -> None:
    assert len(walk.files()) <= FILES_MOST, walk.files()


def test_nobody_calls_back_into_the_loop(walk: Walk) -> None:
    assert len(walk.callbacks()) <= CALLBACKS_MOST, walk.callbacks()


def test_the_spec_is_handed_on_in_an_order_that_visits_each_file_about_once(walk: Walk) -> None:
    assert returns(walk.stays_of_spec()) <= SPEC_RETURNS_MOST, walk.stays_of_spec()
