"""The sweep's own run in MLflow: the parent of its trials' runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ParentRun:
    """The sweep's own run in MLflow, and the experiment that it is in. experiment: its name."""

    experiment_id: str
    run_id: str
    experiment: str

    @property
    def ids(self) -> tuple[str, str]:
        """The ids of the experiment and of the run."""
        return self.experiment_id, self.run_id
