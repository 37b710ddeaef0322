"""The lanes of a cohort in a checkpoint. Its keys are those of the first version, whose checkpoints still load."""

import copy
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from espalier.core.rows import Row
from espalier.core.training.lane import Lane, Memory, PythonValues, TrialRun
from espalier.core.training.lane_python import LanePython
from espalier.core.training.pool import LanePool
from espalier.core.training.trial import Trial


class RunState(TypedDict):
    """A TrialRun. probe: the arguments of `Trial.probed`, or empty."""

    trial: str
    probe: Sequence[int | float | None]
    score: str
    reported: int
    curve: Sequence[tuple[int, float]]
    reports: Sequence[tuple[int, dict[str, float]]]
    values: dict[str, float]
    memory: Memory
    missing: NotRequired[dict[str, list[int]]]


class LaneState(TypedDict):
    """A lane. parting: `Lane.fork_at`."""

    riders: Sequence[RunState]
    step: int
    parting: int | None
    losses: list[float]
    samples: list[list[float]]
    awaited: list[str]
    python: PythonValues | None


class LaneWithRow(TypedDict):
    """A lane and its row of the stacked state."""

    lane: LaneState
    row: Row


class PoolState(TypedDict):
    """A pool: the lanes that train, in the order of their rows, and those that are parked."""

    riding: Sequence[LaneWithRow]
    parked: Sequence[LaneWithRow]


def pool_state(pool: LanePool, python: LanePython) -> PoolState:
    """Return a pool's state for a checkpoint. Raises core.python_state.encoding.Unwritable."""
    return {
        "riding": [{"lane": lane_state(lane, python), "row": pool.rows.row(k)} for k, lane in enumerate(pool.active)],
        "parked": [{"lane": lane_state(lane, python), "row": row} for lane, row in pool.parked],
    }


def load_pool_state(pool: LanePool, python: LanePython, trials: Mapping[str, Trial], state: PoolState) -> None:
    """Continue from the result of `pool_state`. trials: those of the cohort, by id."""
    pool.rows.used = 0
    pool.active = [lane_from_state(saved["lane"], python, trials) for saved in state["riding"]]
    for saved in state["riding"]:
        pool.rows.fill(saved["row"])
    pool.parked = [(lane_from_state(saved["lane"], python, trials), saved["row"]) for saved in state["parked"]]


def lane_state(lane: Lane, python: LanePython) -> LaneState:
    """Return a lane for a checkpoint. Raises core.python_state.encoding.Unwritable."""
    return {
        "riders": [_run_state(run) for run in lane.runs],
        "step": lane.step,
        "parting": lane.fork_at,
        "losses": list(lane.losses),
        "samples": [list(sample) for sample in lane.samples],
        "awaited": list(lane.awaited),
        "python": python.encoded(lane),
    }


def _run_state(run: TrialRun) -> RunState:
    probe = run.trial.probe
    return {
        "trial": run.trial.id,
        "score": run.score,
        "reported": run.reported,
        "curve": list(run.curve),
        "reports": [(step, dict(values)) for step, values in run.reports],
        "values": dict(run.values),
        "memory": copy.deepcopy(run.memory),
        "missing": {name: list(steps) for name, steps in run.missing.items()},
        "probe": [probe.start, run.trial.steps - probe.start, probe.factor] if probe else [],
    }


def lane_from_state(saved: LaneState, python: LanePython, trials: Mapping[str, Trial]) -> Lane:
    """Invert `lane_state`. trials: by the ids that its runs had."""
    return Lane(
        [_run(run, trials) for run in saved["riders"]],
        saved["step"],
        saved["parting"],
        saved["losses"],
        saved["samples"],
        saved["awaited"],
        python.decoded(saved["python"]),
    )


def _run(saved: RunState, trials: Mapping[str, Trial]) -> TrialRun:
    trial = trials[saved["trial"]]
    if saved["probe"]:
        start, steps, factor = saved["probe"]
        trial = trial.probed(int(start or 0), int(steps or 0), factor)
    return TrialRun(
        trial,
        saved["score"],
        saved["reported"],
        [(step, loss) for step, loss in saved["curve"]],
        [(step, values) for step, values in saved["reports"]],
        saved["values"],
        saved["memory"],
        saved.get("missing", {}),
    )
