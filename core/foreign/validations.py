"""What adapters to trainers share: they validate where the search wants it, and training goes on as without it."""

from typing import Any

from espalier.core.foreign.generators import set_shared_states, shared_states
from espalier.core.foreign.report import Report


class Validations:
    """The validations of a trial that a trainer runs.

    generators: of random numbers, as they were before a validation that is wanted; empty if none is.
    """

    def __init__(self, report: Report | None):
        """report: of the training function, None in a script."""
        self.report = report or Report.of_this_process()
        self.generators: dict[str, Any] = {}

    def resume(self, name: str) -> str | None:
        """Return the checkpoint of a name from which the trial goes on, as trainers take it; None for a beginning."""
        return str(self.report.resume / name) if self.report.resume else None

    def wanted(self, step: int, reported: int = -1) -> bool:
        """Whether to validate after so many steps, save a checkpoint, and report. Never outside a sweep.

        reported: the step of the last report, which is not reported again.
        """
        wanted = not self.report.alone and step > reported and self.report.due(step)
        self.generators = shared_states() if wanted else {}
        return wanted

    def undo_draws(self) -> None:
        """Undo what a validation that was wanted has drawn from the random generators."""
        if self.generators:
            set_shared_states(self.generators)
