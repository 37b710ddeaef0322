"""What Optuna and MLflow have of a sweep."""

from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.names import SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.search.store import SweepStore


def runs_of(small_sweep: Any) -> tuple[Run, dict[int, Run]]:
    """Return the parent run and the child of each trial."""
    client = MlflowClient(tracking_uri=default_uri(small_sweep.home))
    experiment = client.get_experiment_by_name(small_sweep.id.rsplit("-", 2)[0])
    assert experiment
    runs = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{small_sweep.id}'")
    parents = [run for run in runs if TRIAL_TAG not in run.data.tags]
    assert len(parents) == 1
    children = {int(run.data.tags[TRIAL_TAG]): run for run in runs if TRIAL_TAG in run.data.tags}
    assert len(children) == len(runs) - 1
    return parents[0], children


def trials_of(small_sweep: Any) -> list[Any]:
    return SweepStore.open(str(small_sweep.home / "optuna.journal")).find(small_sweep.id).study.get_trials()
