"""The workers that train a trial of a function together: what the sweep knows of them. Does not import Ray."""

import json
from dataclasses import asdict, dataclass

MODULE = "espalier.sweeps.running.group"
"""The process of such a trial, which has Ray Train start the workers."""


@dataclass(frozen=True)
class WorkerGroup:
    """The workers of each trial. cpus, gpus: of all of them. address: of the sweep's Ray, "" to start one."""

    workers: int
    cpus: float
    gpus: float
    address: str = ""

    @property
    def program(self) -> tuple[str, str]:
        """What trains in place of the child of a function: see FunctionLauncher."""
        return MODULE, json.dumps(asdict(self))

    def of_each(self) -> dict[str, float]:
        """Return the resources of one worker, by Ray's names."""
        shares = {"CPU": self.cpus / self.workers, "GPU": self.gpus / self.workers}
        return {name: share for name, share in shares.items() if share}
