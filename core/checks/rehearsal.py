"""A rehearsal of watchers: before a sweep begins, each handles the events of one trial, so that its faults are found.

One step is trained. What watchers are shown has the shape that the first report and the end of a trial will have.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch

from espalier.core.errors import BadInput, UserFault
from espalier.core.measures.ratios import Spacing, sample_steps
from espalier.core.task import Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported, TrialId
from espalier.core.training.setup import BLOCKS_PER_REPORT, CohortSetup
from espalier.core.training.trial import Structure, Trial
from espalier.core.training.watch import Look, Watcher
from espalier.core.training.watching import handle, judged, measured

REHEARSED = TrialId(-1)  # a trial of a sweep has no negative number
NOT_JUDGED = (OSError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
"""Errors of a machine: a sweep's workers may have room where this process has none."""
EXAMPLES = 64  # of the validation split
Curve = list[tuple[int, float]]


class _Recorder(Watcher):
    """Keeps what a watcher is shown."""

    def __init__(self) -> None:
        self.looks: list[Look] = []

    def measure(self, look: Look) -> Mapping[str, float]:
        self.looks.append(replace(look, make_model=partial(copy.deepcopy, look.model())))
        return {}


class _Nobody:
    """Stands for the cohort: a rehearsal stops no trial."""

    def stop(self, trial: str, reason: str) -> None:
        """Do nothing."""

    def leader(self, trial: str) -> str:
        """Return the trial itself, which shares its history with none."""
        return trial


def rehearse(
    watchers: Sequence[Watcher],
    task: Task,
    data: Data,
    structure: Structure,
    trial: Trial,
    samples: int = 50,
    spacing: Spacing = "linear",
) -> None:
    """Have watchers handle the start, the first report and the end of a trial. Raises BadInput for a fault of theirs.

    trial: as those of the sweep, whose id becomes `REHEARSED`. samples, spacing: of the update ratios.
    A task that cannot train, a disk that is full and a device without memory are not judged here.
    """
    trial = replace(trial, id=str(REHEARSED))
    recorder = _Recorder()
    one_step = replace(trial, steps=1, reports=1, rungs=(), until=None, keep_at=())
    few = Data(data.train, tuple(tensor[:EXAMPLES] for tensor in data.valid))
    setup = CohortSetup(task, few, structure, [one_step], 1, "plain", ratio_samples=samples, watchers=[recorder])
    cohort = Cohort(setup)
    events = list(cohort.train())
    if not recorder.looks:  # it diverged in its first step
        return
    looks, events = _as_in_the_sweep(trial, recorder.looks[0], events, sample_steps(trial.steps, samples, spacing))
    with suppress(*NOT_JUDGED):
        try:
            _show(watchers, looks, events)
        except UserFault as fault:
            raise BadInput(f"{fault}; it was tried on a trial of one step") from fault


def _show(watchers: Sequence[Watcher], looks: tuple[Look, Look], events: Sequence[Event]) -> None:
    """Call watchers as a cohort does: in the order of a trial's life. What they measure and judge is in the events."""
    (first, last), values = looks, dict(looks[0].values)
    for event in events:
        if isinstance(event, Reported):
            look = replace(first, values=values)
            for watcher in watchers:
                values |= measured(watcher, look)
            event = replace(event, values=dict(values), **_verdict(watchers, look))
        elif isinstance(event, Ended):
            reports = [(step, dict(values)) for step, _ in event.reports]
            verdict = _verdict(watchers, replace(last, values=values))
            event = replace(event, values=dict(values), reports=reports, **verdict)
        for watcher in watchers:
            handle(watcher, [event], _Nobody())


def _verdict(watchers: Sequence[Watcher], look: Look) -> dict[str, str]:
    """Return the first verdict of a watcher, as fields of an event."""
    verdicts = [verdict for watcher in watchers if (verdict := judged(watcher, look))]
    return {"verdict": verdicts[0].name, "evidence": verdicts[0].evidence} if verdicts else {}


def _as_in_the_sweep(
    trial: Trial, look: Look, events: Sequence[Event], sampled: Sequence[int]
) -> tuple[tuple[Look, Look], list[Event]]:
    """Return the look at the first report, that at the end, and the events, with steps and lengths as in the sweep."""
    report_steps, loss, ratios = trial.report_steps(), look.curve[-1][1], look.update_ratios[:1]
    first, sampled = report_steps[0], list(sampled) if ratios else []  # a model may have no matrix
    early = [step for step in sampled if step < first]
    at_first = replace(
        look,
        trial=trial,
        step=first,
        curve=_curve(0, first, loss),
        ratio_steps=early,
        update_ratios=[row for row in ratios for _ in early],
    )
    whole = [point for before, step in pairwise((0, *report_steps)) for point in _curve(before, step, loss)]
    at_end = replace(
        at_first,
        step=trial.steps,
        curve=whole,
        ratio_steps=sampled,
        update_ratios=[row for row in ratios for _ in sampled],
        over=True,
    )
    lived: list[Event] = []
    for event in events:
        if isinstance(event, Reported):
            rows = [(step, *row[1:]) for row in event.ratios[:1] for step in early]
            event = replace(event, step=first, curve=at_first.curve, ratios=rows)
        elif isinstance(event, Ended):
            rows = [(step, *row[1:]) for row in event.ratios[:1] for step in sampled]
            reports = [(step, dict(event.values)) for step in report_steps]
            event = replace(event, step=trial.steps, curve=whole, ratios=rows, reports=reports)
        lived.append(event)
    return (at_first, at_end), lived


def _curve(before: int, step: int, loss: float) -> Curve:
    """Return the points of the training curve between two reports, all of one loss."""
    points = min(step - before, BLOCKS_PER_REPORT)
    return [(before + round((step - before) * k / points), loss) for k in range(1, points + 1)]
