"""Trials of functions and commands, for tests: written into a folder, and trained without Ray."""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espalier.core.foreign.cohort import ProcessCohort, ProcessSetup
from espalier.core.foreign.folder import Assignment
from espalier.core.foreign.launch import CommandLauncher, FunctionLauncher, environment
from espalier.core.foreign.output import OutputReader
from espalier.core.foreign.run import ProcessTrial
from espalier.core.measures.verdicts import Thresholds
from espalier.core.training.events import Ended, Event, Parked
from espalier.core.training.trial import report_steps

STEPS = 40
DESCENT = """
    import json

    def train(config, report):
        x, velocity = 1.0, 0.0
        if report.resume:
            x, velocity = json.loads((report.resume / "x.json").read_text())
        for step in range(report.start, config.steps):
            velocity = config.get("momentum", 0.0) * velocity + x
            x -= config.lr_at(step) * velocity
            if report.due(step + 1):
                (report.checkpoint / "x.json").write_text(json.dumps([x, velocity]))
                report(step + 1, valid_loss=x * x, train_loss=abs(x))
"""
"""Gradient descent on a parabola, with checkpoints."""


def assignment(
    trial: str, values: Mapping[str, Any] | None = None, points: Sequence[float] = (), **more: Any
) -> Assignment:
    """Return an assignment of STEPS steps at a rate that falls at some points."""
    values = {"lr": 0.1, **(values or {})}
    schedule = {"kind": "step", "steps": STEPS, "lr": values["lr"], **({"decay_points": points} if points else {})}
    return Assignment(trial, values, schedule, 0, STEPS, due=report_steps(STEPS, 4), **more)


def function_cohort(
    folder: Path, source: str, trials: Sequence[ProcessTrial | Assignment], forks: bool = True, **more: Any
) -> ProcessCohort:
    """Return the cohort of trials of a function `train`, whose source it writes into the folder."""
    (folder / "train.py").write_text(textwrap.dedent(source))
    launcher = FunctionLauncher(f"{folder / 'train.py'}:train", str(folder), environment(), 1.0, forks)
    return cohort(folder, launcher, trials, lambda: None, **more)


def command_cohort(
    folder: Path, source: str, trials: Sequence[ProcessTrial | Assignment], patterns: Sequence[str] = (), **more: Any
) -> ProcessCohort:
    """Return the cohort of trials of a script, whose source it writes into the folder."""
    (folder / "script.py").write_text(textwrap.dedent(source))
    command = [sys.executable, "script.py", "${args}"]
    launcher = CommandLauncher(more.pop("command", command), str(folder), environment(), more.pop("grace_s", 1.0))
    return cohort(folder, launcher, trials, lambda: OutputReader(patterns), **more)


def cohort(folder: Path, launcher: Any, trials: Sequence[ProcessTrial | Assignment], reader: Any, **more: Any) -> Any:
    """Return a cohort of trials; an assignment stands for a trial without rungs."""
    whole = [trial if isinstance(trial, ProcessTrial) else ProcessTrial(trial) for trial in trials]
    return ProcessCohort(
        ProcessSetup(folder / "trials", launcher, reader, Thresholds(), **{"grace_s": 1.0} | more), whole
    )


def train(made: ProcessCohort) -> list[Event]:
    """Train all trials; return the events."""
    try:
        return list(made.train())
    finally:
        made.close()
        made.setup.launcher.close()


def ends(events: Sequence[Event]) -> dict[str, Ended]:
    """Return the ends of trials, of parked ones what they have come to."""
    last = {event.trial: event for event in events if isinstance(event, Ended | Parked)}
    return {trial: event if isinstance(event, Ended) else event.so_far for trial, event in last.items() if event}  # type: ignore[misc]


def end_of(made: ProcessCohort) -> Ended:
    """Train the only trial of a cohort; return its end."""
    (end,) = ends(train(made)).values()
    return end
