# pyright: basic
# Without its package pyright takes this file for that, which has the same name.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
"""Accelerate: saving, resuming and reporting in a loop that an Accelerator runs. Needs `accelerate`, 1.0 or newer.

trial = SweepTrial(accelerator, report)
model, optimizer, scheduler, loader = accelerator.prepare(...)
trial.load()
for step in range(trial.start, config.steps):
    ...
    if trial.due(step + 1):
        trial.report(step + 1, valid_loss=loss)
"""

from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from espalier.core.foreign.report import Report, StopTrial


class SweepTrial:
    """A trial that one or several processes train."""

    def __init__(self, accelerator: Accelerator, report: Report | None = None):
        """report: of the training function, None in a script."""
        self.accelerator, self._report = accelerator, report or Report.of_this_process()
        self.start, self.due = self._report.start, self._report.due

    def load(self) -> None:
        """Go on from the last checkpoint, if there is one: call it after `accelerator.prepare`."""
        if self._report.resume:
            self.accelerator.load_state(str(self._report.resume))

    def report(self, step: int, **metrics: float) -> None:
        """Save a checkpoint, and report the mean of what the processes have measured. All of them call it.

        Raises StopTrial in all of them if the trial is to end.
        """
        measured = gather_object([metrics])
        means: dict[str, Any] = {
            name: sum(float(values[name]) for values in measured) / len(measured) for name in metrics
        }
        self.accelerator.save_state(str(self._report.checkpoint))
        self.accelerator.wait_for_everyone()
        reason = ""
        try:
            self._report(step, **means)
        except StopTrial as stop:
            reason = stop.reason
        if reasons := list(filter(None, gather_object([reason]))):  # the request may have come between two processes
            raise StopTrial(reasons[0])
