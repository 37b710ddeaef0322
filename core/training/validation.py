"""The metrics of a lane over the validation split."""

import math
from collections.abc import Callable, Mapping, Sequence

from espalier.core.errors import briefly
from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.programs.program import Program
from espalier.core.rows import part
from espalier.core.task import Batch
from espalier.core.training.lane import Lane
from espalier.core.training.lane_python import LanePython
from espalier.core.training.pool import LanePool


def is_diverged(metrics: Mapping[str, float]) -> bool:
    """Whether a validation shows that a trial diverged: its loss is not finite, or none of its other metrics is.

    A single other metric may be NaN without harm, such as a precision without positive predictions.
    """
    return not math.isfinite(metrics.get("loss", 0.0)) or not any(map(math.isfinite, metrics.values()))


def finite_values(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the finite metrics, by their names in reports.

    >>> finite_values({"loss": 2.0, "auc": math.nan})
    {'valid_loss': 2.0}
    """
    return {f"valid_{name}": value for name, value in metrics.items() if math.isfinite(value)}


class Validation:
    """Evaluates lanes. announce: called with the lane before each evaluation."""

    def __init__(
        self,
        program: Program,
        split: Batch,
        pool: LanePool,
        python: LanePython,
        announce: Callable[[Sequence[Lane]], None],
    ):
        self.program, self.split, self.pool, self.python, self.announce = program, split, pool, python, announce

    def averaged_metrics(self, k: int, prefix: str) -> dict[str, float]:
        """Return the metrics of lane k with the weights under a prefix. An error of the task fails no trial."""
        metrics = self.metrics(k, prefix)
        self.program.failed.pop(k, None)  # the validation of its own weights decides
        return metrics

    def metrics(self, k: int, prefix: str = "") -> dict[str, float]:
        """Return the metrics of lane k; with the prefix of averages, those of its averaged weights.

        An error of the task is recorded in program.raised or program.failed, and the loss is NaN.
        """
        rows = {name: rows[k] for name, rows in self.pool.rows.rows.items()}
        state, lane = rows | part(rows, prefix) if prefix else rows, self.pool.active[k]
        here = self.split, (lane.seed, lane.step), lane.step / lane.leader.budget
        self.announce([lane])
        with self.python.validating(lane):
            try:
                return self.program.evaluate(state, *here)
            except TRANSIENT_ERRORS:
                raise
            except (Exception, SystemExit) as error:
                if self.program.lane_caused_error(state, lambda row: self.program.evaluate(row, *here)):
                    self.program.raised[k] = briefly(error)
                else:
                    self.program.failed[k] = error
                return {"loss": math.nan}
