"""Reports of a training process: `report(step, valid_loss=...)`, in a function, or in a script by one import.

It imports no torch, so that a script's own start is not delayed.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from espalier.core.errors import shown
from espalier.core.foreign.config import Config
from espalier.core.foreign.folder import STEP_MOST, VARIABLE, Assignment, Line, TrialFolder

ALONE_EVERY = 100  # steps between reports of a script that runs without a sweep
ALONE = "checkpoints"  # its checkpoints, in the current folder
WAIT_S = 1800.0  # that a process waits for the report of rank 0, as collectives of torch do


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

    def __init__(self, folder: Path | None = None):
        """folder: of the trial, None outside a sweep. Of several processes of a trial only that of rank 0 reports."""
        self._folder = None if folder is None else TrialFolder(folder)
        self._rank, self._ranks = _number("RANK", 0), _number("WORLD_SIZE", 1)
        self._last, self._ratios = -1, 0
        self._leaves = ""

    @classmethod
    def of_this_process(cls) -> "Report":
        """Return the reports of the trial that this process trains, by its environment."""
        folder = os.environ.get(VARIABLE)
        return cls(Path(folder) if folder else None)

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
        What was written into `checkpoint` becomes the checkpoint of this step. Of several processes each calls it, once
        all have written: the others wait for what rank 0 is told.

        Raises StopTrial if the trial is to end, in all processes after the same step. Raises TypeError or ValueError
        for what is no report, and RuntimeError where rank 0 does not report this step.
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
            self._folder.append(line | gpu_memory())
            if line.get("checkpoint"):
                self._folder.drop_checkpoints((*self._assignment.kept, self._assignment.until or -1, step))
        self._last = step
        self._leaves = self._why_leave(self._folder, step, self._assignment.until)
        if self._leaves:
            raise StopTrial(self._leaves)

    def _why_leave(self, folder: TrialFolder, step: int, until: int | None) -> str:
        """Return why the trial is to end after this report, "" if it goes on: in all its processes the same."""
        if self._rank:
            return folder.decision(step, WAIT_S)
        reason = "parked" if until is not None and step >= until else folder.stop_reason()
        if self._ranks > 1:
            folder.decide(step, reason)
        return reason

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
        """Why the trial is to end, "" if it is not: for a loop that ends itself before `report` raises StopTrial.

        Of several processes of a trial none may end before the others: there it is what the last report decided.
        """
        if self._folder is None or self._ranks > 1:
            return self._leaves
        return self._folder.stop_reason()

    @property
    def alone(self) -> bool:
        """Whether no sweep has started this process."""
        return self._folder is None

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


def _number(variable: str, otherwise: int) -> int:
    """Return a number that torchrun or Ray Train has set in the environment."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise


def gpu_memory() -> Line:
    """Return the most memory that torch has taken of a GPU in this process, and that GPU's; empty where it uses none.

    torch is not imported for that. Of several GPUs it is the one of which most is taken.
    """
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return Line()
    with suppress(RuntimeError):  # of a GPU that has failed, which is for the code itself to find
        devices = range(cuda.device_count())
        known = ((cuda.max_memory_reserved(k), cuda.get_device_properties(k).total_memory) for k in devices)
        taken, total = max(known, default=(0, 0))
        return Line(gpu=[taken, total]) if taken else Line()
    return Line()


def number(name: str, value: Any) -> float:
    """Return a metric as a number. Raises TypeError, naming the metric, for what is none."""
    if isinstance(value, str | bytes | bool) or value is None:
        raise TypeError(f"report: {name} is {shown(value)}; give a number")
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # torch warns of a loss with a gradient
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(f"report: {name} is {shown(value)}; give a number") from error
