"""A stretch, S steps of all lanes: its losses, its sampled update ratios, and the count of work.

N = lanes in use, S = steps, B = examples in a batch, C = coefficients, T = parameter tensors of two or more axes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espalier.core.programs.program import Program
from espalier.core.rows import Row
from espalier.core.task import Batch
from espalier.core.tensors import as_rows
from espalier.core.training.averages import Averages, without_averages
from espalier.core.training.batches import Batches
from espalier.core.training.history import history
from espalier.core.training.lane import Lane
from espalier.core.training.pool import LanePool
from espalier.core.training.sampling import Sampling
from espalier.core.training.trial import Structure


@dataclass(frozen=True)
class Sample:
    """Ratios sampled at a step of a stretch: a row of `ratios` (lanes, 2 T) for each sampled lane."""

    at: int
    lanes: Sequence[int]
    ratios: Tensor


Losses = npt.NDArray[np.float64]
"""Of N lanes at S steps."""


@dataclass(frozen=True)
class Trained:
    """The results of a stretch. losses_NS: float64."""

    losses_NS: Losses
    samples: Sequence[Sample]


@dataclass
class Work:
    """Counts of steps. trial_steps: as if no trials shared a lane; probe_steps: of lanes that are probes."""

    lane_steps: int = 0
    trial_steps: int = 0
    probe_steps: int = 0

    def count(self, lane: Lane, steps: int) -> None:
        """Count steps of a lane."""
        self.lane_steps += steps
        if lane.is_probe:
            self.probe_steps += steps
        else:
            self.trial_steps += steps * len(lane.runs)

    def state(self) -> "WorkState":
        """Return the state for a checkpoint."""
        return {
            "lane_steps": self.lane_steps,
            "trial_steps": self.trial_steps,
            "probe_steps": self.probe_steps,
        }

    def load_state(self, state: "WorkState") -> None:
        """Continue from `state`."""
        self.lane_steps, self.trial_steps, self.probe_steps = (
            state["lane_steps"],
            state["trial_steps"],
            state["probe_steps"],
        )


class WorkState(TypedDict):
    """A Work in a checkpoint."""

    lane_steps: int
    trial_steps: int
    probe_steps: int


class Trainer:
    """Trains the active lanes of a pool."""

    def __init__(
        self,
        program: Program,
        structure: Structure,
        train: Batch,
        batches: Batches,
        sampling: Sampling,
        averages: Averages,
        pool: LanePool,
    ):
        self.program, self.structure, self.split, self.batches = program, structure, train, batches
        self.sampling, self.averages, self.pool = sampling, averages, pool
        self.device = train[0].device

    def train(self, steps: int) -> Trained:
        """Train every active lane by `steps` steps."""
        active, used = self.pool.active, self.pool.rows.used
        width = self.pool.rows.width if self.program.fixed_width else self.program.width(used)
        lanes = [*active, *[active[0]] * (width - used)]  # spare rows get the first lane's batches
        ages = [lane.step for lane in lanes]
        table_SCN = history(self.structure, [lane.leader for lane in lanes], ages, steps)
        table_SCN1 = table_SCN.to(self.device, self.program.dtype)[..., None]
        index_SNB = self.batches.indexes(lanes, steps).to(self.device, torch.int64)
        due = self.sampling.due(active, steps)
        rows = self.pool.rows.first(width)
        weights = without_averages(rows)
        losses: list[Tensor] = []
        samples: list[Sample] = []
        s = 0
        while s < steps:
            stream = lanes[0].seed, ages[0] + s  # a program of many lanes draws no random numbers
            if s in due:
                end = s + 1
                loss_N, ratios = self._sampled_step(weights, due[s], index_SNB[s], table_SCN1[s], stream)
                samples.append(Sample(s, due[s], ratios))
                losses.append(loss_N[:, None])
            else:
                end = min([steps, *(at for at in due if at > s), *self.averages.next_due(active, s)])
                losses.append(self.program.steps(weights, self.split, index_SNB[s:end], table_SCN1[s:end], stream))
            self.averages.update(rows, active, end)
            s = end
        return Trained(torch.cat(losses, 1)[:used].double().cpu().numpy(), samples)

    def _sampled_step(
        self, rows: Row, lanes: list[int], index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Take one step; return the losses (N,), and update and gradient ratios (lanes, 2 T) of sampled lanes."""
        before = self._matrices(rows, lanes)
        loss_N, grads = self.program.safe_step(rows, self.split, index_NB, c_CN1, stream, keep=True)
        after = self._matrices(rows, lanes)
        changes = self._matrices({f"theta.{name}": grad for name, grad in grads.items()}, lanes)
        return loss_N, self.program.ratios(before, after, changes)

    def _matrices(self, rows: Mapping[str, Tensor], lanes: list[int]) -> list[Tensor]:
        """Return a copy of every matrix of some lanes, each (lanes, P)."""
        which = torch.tensor(lanes, device=self.device)
        return [rows[f"theta.{name}"].index_select(0, which).flatten(1) for name in self.sampling.tensors]


def account(active: Sequence[Lane], trained: Trained, work: Work) -> None:
    """Add the results of a stretch to its lanes. Ratios after a non-finite loss are dropped."""
    losses_NS, steps = trained.losses_NS, trained.losses_NS.shape[1]
    for k, row in _samples_by_lane(trained, [lane.step for lane in active]):
        active[k].samples.append(row)
    for k, lane in enumerate(active):
        lane.step += steps
        lane.losses.extend(losses_NS[k].tolist())
        work.count(lane, steps)


def _samples_by_lane(trained: Trained, begins: Sequence[int]) -> Iterable[tuple[int, list[float]]]:
    for sample in trained.samples:
        for k, row in zip(sample.lanes, as_rows(sample.ratios), strict=True):
            if np.isfinite(trained.losses_NS[k, : sample.at + 1]).all():
                yield k, [begins[k] + sample.at, *row]
