"""Where sweeps are kept, and what can be asked of them there: a home on this machine, or a service."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from espalier.sweeps.results.closing import Summary
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec

CurvePoint = tuple[int, int, float]
"""trial, step, value"""


@dataclass(frozen=True)
class Listing:
    """Sweeps in short: rows for a program, lines for a person."""

    rows: Sequence[Mapping[str, object]]
    lines: Sequence[str]


class KeptSweep(Protocol):
    """A sweep as it was when it was read."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def spec(self) -> SweepSpec:
        """What was asked for."""
        ...

    @property
    def state(self) -> str:
        """running, interrupted or finished; of a service also queued, stopped or failed."""
        ...

    @property
    def trials(self) -> Sequence[TrialResult]:
        """Its trials so far."""
        ...

    @property
    def page(self) -> str:
        """MLflow's page on it."""
        ...

    def best_file(self, trial: int | None = None) -> str:
        """Return the best trial, or another complete one, as the text of a best file. Raises BadInput."""
        ...

    def points(self, metric: str) -> list[CurvePoint]:
        """Return every report of a metric, replicates averaged. Raises BadInput for an unknown metric."""
        ...

    def document(self) -> Mapping[str, object]:
        """Return what `sweep show --json` prints."""
        ...

    def lines(self, top: int) -> Iterator[str]:
        """Yield what `sweep show` prints, with so many trials."""
        ...


class Origin(Protocol):
    """Where sweeps are kept. A sweep is named by its id, or by its name, which means the latest of that name."""

    def read(self, sweep: str) -> KeptSweep:
        """Return a sweep as it is now. Raises BadInput for an unknown one."""
        ...

    def read_all(self) -> Iterator[KeptSweep]:
        """Yield all sweeps, the oldest first."""
        ...

    def listing(self, state: str | None = None) -> Listing:
        """Return what `sweep list` prints. state: only those in it, of a service."""
        ...

    def resume(self, sweep: str, changed: bool, address: str | None, progress: bool) -> Summary | None:
        """Go on with a sweep; return how that ended, None where it goes on elsewhere. Raises BadInput.

        changed: although code or data changed. address: of a Ray cluster. progress: show it.
        """
        ...

    def delete(self, sweep: str, records: bool) -> None:
        """Remove a sweep by its id; records: also its runs in MLflow. Raises BadInput where that cannot be."""
        ...
