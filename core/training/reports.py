"""Reports and ends of trials: validations, the training curve, ratios, and values that watchers add."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import nn

from espalier.core.task import Data, Task
from espalier.core.training.baselines import Baselines
from espalier.core.training.events import Ended, Reported, Status
from espalier.core.training.history import rates
from espalier.core.training.lane import Lane, TrialRun
from espalier.core.training.sampling import Sampling
from espalier.core.training.trial import Structure, Trial
from espalier.core.training.validation import finite_values
from espalier.core.training.watch import Look, Watcher
from espalier.core.training.watching import judged, measured


class Views:
    """Shows trials to watchers."""

    def __init__(
        self,
        task: Task,
        data: Data,
        baselines: Baselines,
        sampling: Sampling,
        model_of: Callable[[Lane], nn.Module],
    ):
        """model_of: returns the model of a lane with its present weights."""
        self.task, self.baselines, self.sampling, self.model_of = task, baselines, sampling, model_of
        self.examples = tuple(tensor[: task.evaluation_batch_size] for tensor in data.valid)

    def look(
        self,
        lane: Lane,
        run: TrialRun,
        curve: Sequence[tuple[int, float]],
        over: bool = False,
        diverged_at: int | None = None,
    ) -> Look:
        """Return a trial's Look, the argument of watchers."""
        samples = self.sampling.of_trial(lane, run.trial)
        tensors = len(self.sampling.tensors)
        return Look(
            trial=run.trial,
            step=lane.step,
            curve=curve,
            tensors=self.sampling.tensors,
            ratio_steps=[int(sample[0]) for sample in samples],
            update_ratios=[sample[1 : 1 + tensors] for sample in samples],
            diverged_at=diverged_at,
            over=over,
            values=run.values,
            baselines=self.baselines,
            memory=run.memory,
            task=self.task,
            examples=self.examples,
            make_model=lambda: self.model_of(lane),
        )


class Reports:
    """Makes the events Reported and Ended."""

    def __init__(self, views: Views, watchers: Sequence[Watcher], structure: Structure, curve_points: int):
        """curve_points: blocks of the training curve between two reports."""
        self.views, self.watchers, self.structure, self.curve_points = views, watchers, structure, curve_points

    def report(self, lane: Lane, run: TrialRun, metrics: Mapping[str, float]) -> Reported:
        """Return a run's report of a validation and of its training since the last report.

        Raises whatever a watcher raises.
        """
        trial, losses = run.trial, lane.losses_since(run.reported)
        run.values = finite_values(metrics)
        missing = {f"valid_{name}": [lane.step] for name, value in metrics.items() if not math.isfinite(value)}
        for name in missing:
            run.missing.setdefault(name, []).append(lane.step)
        run.values |= {"train_loss": float(np.mean(losses)), "lr": self._rate(trial, lane.step - 1)}
        curve = blocks(losses, lane.step, self.curve_points)
        run.curve += curve
        ratios = [row for row in self.views.sampling.of_trial(lane, trial) if row[0] >= run.reported]
        run.reported = lane.step
        look = self.views.look(lane, run, run.curve)
        for watcher in self.watchers:
            run.values |= measured(watcher, look)
        run.reports.append((lane.step, dict(run.values)))
        verdict, evidence = self._judge(look)
        return Reported(trial.id, lane.step, dict(run.values), curve, ratios, verdict, evidence, missing)

    def end(self, lane: Lane, run: TrialRun, status: Status, reason: str, trace: str, leader: str) -> Ended:
        """Return a run's end. reason: replaces the evidence of a verdict."""
        trial = run.trial
        curve = run.curve + blocks(lane.losses_since(run.reported), lane.step, self.curve_points)
        look = self.views.look(lane, run, curve, over=True, diverged_at=lane.step if status == "diverged" else None)
        verdict, evidence = self._judge(look) if status != "failed" else ("", "")
        return Ended(
            trial.id,
            lane.step,
            status,
            dict(run.values),
            verdict,
            reason or evidence,
            curve=curve,
            ratios=self.views.sampling.of_trial(lane, trial),
            tensors=list(self.views.sampling.tensors),
            reports=copy.deepcopy(run.reports),
            baselines=self._baselines_of(trial) if status == "complete" and self.watchers else {},
            missing=copy.deepcopy(run.missing),
            trace=trace,
            leader=leader,
        )

    def so_far(self, lane: Lane, run: TrialRun) -> Ended:
        """Return the end of a run that stops here, though it may be continued later."""
        return self.end(lane, run, "stopped", "", "", "")

    def _judge(self, look: Look) -> tuple[str, str]:
        """Return verdict and evidence of the first watcher that gives a verdict."""
        verdicts = (verdict for watcher in self.watchers if (verdict := judged(watcher, look)))
        first = next(verdicts, None)
        return (first.name, first.evidence) if first else ("", "")

    def _baselines_of(self, trial: Trial) -> dict[str, dict[str, float]]:
        baselines = self.views.baselines
        return {"guess": dict(baselines.guess), "before": dict(baselines.before(trial.seed))}

    def _rate(self, trial: Trial, step: int) -> float:
        schedule, _ = rates(self.structure, [trial])
        return float(schedule(step / trial.steps)[0])


def blocks(losses: Sequence[float], last: int, most: int) -> list[tuple[int, float]]:
    """Return the means of up to `most` equal blocks of losses, each with its last step; the last block ends at `last`.

    >>> blocks([4.0, 2.0, 1.0, 1.0], 10, 2)
    [(8, 3.0), (10, 1.0)]
    """
    if not losses:
        return []
    parts = np.array_split(np.asarray(losses), min(most, len(losses)))
    ends = last - len(losses) + np.cumsum([len(part) for part in parts])
    return [(int(end), float(part.mean())) for end, part in zip(ends, parts, strict=True)]
