"""Comparisons of compiled and traced steps with PyTorch's own, at intervals while trials train."""

import torch

from espalier.core.errors import Differs
from espalier.core.programs.program import Program
from espalier.core.programs.task_functions import is_finite
from espalier.core.task import Batch
from espalier.core.training.averages import without_averages
from espalier.core.training.batches import Batches
from espalier.core.training.history import history
from espalier.core.training.pool import LanePool
from espalier.core.training.trial import Structure

COMPARE_AT, COMPARE_EVERY = (0, 500), 20_000  # lane-steps at which one lane is compared: less than 0.5 % of the time


class Comparison:
    """Compares the next step of one lane, a different lane each time. due: the lane-steps of the next comparisons.

    every: how many lie between two, after those `at` which the first are.
    """

    def __init__(self, program: Program, structure: Structure, train: Batch, batches: Batches, pool: LanePool):
        self.program, self.structure, self.train, self.batches, self.pool = program, structure, train, batches, pool
        self.at, self.every = COMPARE_AT, COMPARE_EVERY
        self.due, self.count = list(self.at), 0

    def restart(self, lane_steps: int) -> None:
        """Start over, possibly in another process, which has its own compiled step."""
        self.due = [lane_steps + steps for steps in self.at]

    def check(self, lane_steps: int) -> None:
        """Compare if it is due. Raises Differs where the step does not agree with PyTorch's."""
        if self.program.min_width == 1 or lane_steps < self.due[0]:
            return
        self.due = self.due[1:] or [lane_steps + self.every]
        k = self.count % len(self.pool.active)
        self.count += 1
        lane = self.pool.active[k]
        row = without_averages(self.pool.rows.row(k))
        if lane.step >= lane.leader.steps or not is_finite(row):
            return
        device = self.train[0].device
        table_C1 = history(self.structure, [lane.leader], [lane.step], 1)[0].to(self.program.dtype)
        index_B = self.batches.indexes_of(lane.seed, lane.step, 1)[0].to(device, torch.int64)
        here = self.train, index_B, table_C1.to(device), (lane.seed, lane.step)
        if difference := self.program.differs(row, *here):
            raise Differs(f"at step {lane.step} of trial {lane.leader.id} {difference}")
