"""Reports of a training process: `report(step, valid_loss=...)`, in a function, or in a script by one import.

It imports no torch, so that a script's own start is not delayed.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from espalier.core.errors import shown
from espalier.core.foreign.config import Config
from espalier.core.foreign.folder import STEP_MOST, VARIABLE, Assignment, Line, TrialFolder

ALONE_EVERY = 100  # steps between reports of a script that runs without a sweep
ALONE = "checkpoints"  # its checkpoints, in the current folder


class StopTrial(SystemExit):
    """Raised by `report` in a trial that is to end: stopped early, or to be continued later from its checkpoint.

    Nothing need catch it: as SystemExit(0) it passes `except Exception`, runs every `finally`, and ends the process.
    """

    def __init__(self, reason: str):
        super().__init__(0)
        self.reason = reason


class Ratios(Protocol):
    """What a RatioMeter has measured: see core.measures.ratios."""

    names: list[str]
    steps: list[int]

    @property
    def update_ratios(self) -> list[list[float]]: ...

    @property
    def gradient_ratios(self) -> list[list[float]]: ...


class Report:
    """Reports of one trial. Outside a sweep, a report is printed."""

    def __init__(self, folder: Path | None = None, rank: int = 0):
        """folder: of the trial, None outside a sweep. rank: of this process; only 0 reports."""
        self._folder, self._rank = (None if folder is None else TrialFolder(folder)), rank
        self._last, self._ratios = -1, 0

    @classmethod
    def of_this_process(cls) -> "Report":
        """Return the reports of the trial that this process trains, by its environment."""
        folder = os.environ.get(VARIABLE)
        rank = os.environ.get("RANK", "0")
        return cls(Path(folder) if folder else None, int(rank) if rank.isdigit() else 0)

    @cached_property
    def _assignment(self) -> Assignment | None:
        return self._folder.assignment() if self._folder else None

    @property
    def config(self) -> Config:
        """The trial's configuration, for a script that takes it in place of arguments. Raises RuntimeError outside."""
        if self._assignment is None:
            raise RuntimeError("report.config: no sweep has started this process")
        return Config.of(self._assignment, {})

    def __call__(
        self, step: int, /, *, score: float | None = None, ratios: Ratios | None = None, **metrics: float
    ) -> None:
        """Report after a number of steps, counted from the beginning of the trial.

        metrics: numbers by name; the objective is one of them. score: what the objective would be if training ended
        now, where the code knows better than its present value, as by averaged weights. ratios: a RatioMeter.
        What was written into `checkpoint` becomes the checkpoint of this step.

        Raises StopTrial if the trial is to end. Raises TypeError or ValueError for what is no report.
        """
        line = self._line(step, score, metrics)
        if self._folder is None or self._assignment is None:
            values = line.get("values", {})
            print(f"step {step:,}: {', '.join(f'{name} {value:.6g}' for name, value in values.items())}")
            return
        if self._rank == 0:
            if self._folder.commit_checkpoint(step):
                line["checkpoint"] = True
            if ratios is not None:
                line |= self._new_ratios(ratios)
            self._folder.append(line)
            if line.get("checkpoint"):
                self._folder.drop_checkpoints((*self._assignment.kept, self._assignment.until or -1, step))
        self._last = step
        until = self._assignment.until
        if until is not None and step >= until:
            raise StopTrial("parked")
        if reason := self.stop:
            raise StopTrial(reason)

    def _line(self, step: object, score: object, metrics: dict[str, float]) -> Line:
        if isinstance(step, bool) or not isinstance(step, int):
            raise TypeError(f"report: the step is {shown(step)}; give the number of steps taken so far")
        if step > STEP_MOST:
            raise ValueError(f"report: step {shown(step)}; the most that is taken is {STEP_MOST:,}")
        if step <= self._last or step < 0:
            raise ValueError(f"report: step {step} after step {self._last}; steps rise from report to report")
        if not metrics:
            raise ValueError(f"report of step {step}: no metric; write for example report({step}, valid_loss=loss)")
        line = Line(step=step, values={name: number(name, value) for name, value in metrics.items()})
        if score is not None:
            line["score"] = number("score", score)
        return line

    def _new_ratios(self, meter: Ratios) -> Line:
        rows = zip(meter.steps, meter.update_ratios, meter.gradient_ratios, strict=True)
        new = [[step, *update, *gradient] for step, update, gradient in list(rows)[self._ratios :]]
        self._ratios += len(new)
        return Line(tensors=list(meter.names), ratios=new)

    @property
    def stop(self) -> str:
        """Why the trial is to end, "" if it is not: for a loop that ends itself before `report` raises StopTrial."""
        return self._folder.stop_reason() if self._folder else ""

    def due(self, step: int) -> bool:
        """Whether a report after so many steps is wanted, with a validation and a checkpoint.

        The search needs some at exact steps: where it decides, and where branches leave a trunk.
        """
        return step % ALONE_EVERY == 0 if self._assignment is None else step in self._due

    @cached_property
    def _due(self) -> frozenset[int]:
        assert self._assignment
        until = self._assignment.until
        wanted: Sequence[int | None] = (*self._assignment.due, *self._assignment.kept, until, self._assignment.steps)
        return frozenset(step for step in wanted if step is not None)

    @property
    def checkpoint(self) -> Path:
        """The folder to save into. With the next report it becomes the checkpoint of that step."""
        if self._folder is None:
            Path(ALONE).mkdir(exist_ok=True)
            return Path(ALONE)
        return self._folder.next_checkpoint()

    @property
    def resume(self) -> Path | None:
        """The checkpoint from which the trial goes on, saved after `start` steps; None for a beginning."""
        return Path(self._assignment.resume[1]) if self._assignment and self._assignment.resume else None

    @property
    def start(self) -> int:
        """The steps that `resume` has behind it, 0 for a beginning."""
        return self._assignment.begin if self._assignment else 0


def number(name: str, value: Any) -> float:
    """Return a metric as a number. Raises TypeError, naming the metric, for what is none."""
    if isinstance(value, str | bytes | bool) or value is None:
        raise TypeError(f"report: {name} is {shown(value)}; give a number")
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # torch warns of a loss with a gradient
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(f"report: {name} is {shown(value)}; give a number") from error
