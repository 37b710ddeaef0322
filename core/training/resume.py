"""The lanes of a cohort in a checkpoint. The names there are those of the first version, whose checkpoints are read."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from espalier.core.training.lane import Lane, Rider
from espalier.core.training.lane_python import LanePython
from espalier.core.training.pool import LanePool
from espalier.core.training.trial import Trial


def pool_state(pool: LanePool, python: LanePython) -> dict[str, Any]:
    """Return what a checkpoint keeps of a pool. Raises core.python_state.encoding.Unwritable."""
    return {
        "riding": [{"lane": _lane_state(lane, python), "row": pool.rows.row(k)} for k, lane in enumerate(pool.active)],
        "parked": [{"lane": _lane_state(lane, python), "row": row} for lane, row in pool.parked],
    }


def load_pool_state(pool: LanePool, python: LanePython, trials: Mapping[str, Trial], state: Mapping[str, Any]) -> None:
    """Go on where `pool_state` was taken. trials: those of the cohort, by id."""
    pool.rows.used = 0
    pool.active = [_lane(saved["lane"], python, trials) for saved in state["riding"]]
    for saved in state["riding"]:
        pool.rows.fill(saved["row"])
    pool.parked = [(_lane(saved["lane"], python, trials), saved["row"]) for saved in state["parked"]]


def _lane_state(lane: Lane, python: LanePython) -> dict[str, Any]:
    riders = [asdict(rider) | _trial_state(rider.trial) for rider in lane.riders]
    return asdict(replace(lane, python=None)) | {"riders": riders, "python": python.encoded(lane)}


def _trial_state(trial: Trial) -> dict[str, Any]:
    probe = trial.probe
    ending = [probe.start, trial.steps - probe.start, probe.factor] if probe else []
    return {"trial": trial.id, "probe": ending}


def _lane(saved: Mapping[str, Any], python: LanePython, trials: Mapping[str, Trial]) -> Lane:
    riders = [_rider(rider, trials) for rider in saved["riders"]]
    return Lane(**dict(saved) | {"riders": riders, "python": python.decoded(saved["python"])})


def _rider(saved: Mapping[str, Any], trials: Mapping[str, Trial]) -> Rider:
    pairs = {name: [tuple(pair) for pair in saved[name]] for name in ("curve", "reports")}
    fields: dict[str, Any] = dict(saved) | pairs
    trial, ending = trials[fields["trial"]], fields.pop("probe")
    fields["trial"] = trial.probed(*ending) if ending else trial
    return Rider(**fields)
