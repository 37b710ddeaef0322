"""The arguments of a cohort: the task, its trials, how they train, and what is measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from espalier.core.measures.ratios import Spacing
from espalier.core.programs import PROGRAMS
from espalier.core.programs.program import Program
from espalier.core.task import Data, Task
from espalier.core.training.scores import Scoring
from espalier.core.training.trial import Structure, Trial
from espalier.core.training.watch import Health, Ratios, Watcher

BLOCKS_PER_REPORT = 10  # points of the training curve between two reports


@dataclass(frozen=True)
class CohortSetup:
    """Trials of one structure, and how they train together.

    lanes: how many may train at once; the plain program takes one.
    program: a name, or a program that was made for the same task, optimizer and dtype.
    ratio_samples: how often a trial's ratios are sampled, 0 for never; ratio_spacing: as in
    measures.ratios.sample_steps.
    scoring: how trials with rungs are scored. watchers: see core.training.watch.
    curve_points: blocks of the training curve between two reports.
    """

    task: Task
    data: Data
    structure: Structure
    trials: Sequence[Trial]
    lanes: int = 64
    program: str | Program = "vmap"
    device: str = "cpu"
    ratio_samples: int = 50
    scoring: Scoring = field(default_factory=Scoring)
    ratio_spacing: Spacing = "linear"
    watchers: Sequence[Watcher] = (Ratios(), Health())
    curve_points: int = BLOCKS_PER_REPORT

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the state."""
        return getattr(torch, self.structure.dtype)

    @property
    def wants_averages(self) -> bool:
        """Whether some trial is scored by averaged weights."""
        return self.scoring.averaged and (not self.trials or any(trial.rungs for trial in self.trials))

    def make_program(self) -> Program:
        """Return the program for these trials."""
        if isinstance(self.program, str):
            return PROGRAMS[self.program](self.task, self.structure.optimizer, self.dtype)
        return self.program
