"""The interface of origins: a home on this machine, or a service, and operations on its sweeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Protocol

from espalier.sweeps.answer.chosen import Chosen
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.browse.export import Export
from espalier.sweeps.report.material import Material
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.extension import More
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.values import Fields

CurvePoint = tuple[int, int, float]
"""trial, step, value"""


@dataclass(frozen=True)
class Listing:
    """A list of sweeps: rows for JSON, lines for the terminal."""

    rows: Sequence[Mapping[str, object]]
    lines: Sequence[str]


class StoredSweep(Protocol):
    """A snapshot of a sweep."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def spec(self) -> SweepSpec:
        """Its spec."""
        ...

    @property
    def state(self) -> str:
        """running, interrupted or finished; for a service also queued, stopped or failed."""
        ...

    @property
    def trials(self) -> Sequence[TrialResult]:
        """Its trials so far."""
        ...

    @property
    def references(self) -> Sequence[ReferenceResult]:
        """What its references came to."""
        ...

    @property
    def chosen(self) -> Sequence[Chosen] | None:
        """Why each piece was trained; None where the record of it is elsewhere."""
        ...

    @property
    def page(self) -> str:
        """MLflow's page on it."""
        ...

    @property
    def lane_steps(self) -> int | None:
        """How many steps of lanes it has trained; None where that is not known."""
        ...

    @property
    def digests(self) -> Mapping[str, str]:
        """The digests of the code and the data of its best trial, as far as they are known: code, data, data.others."""
        ...

    def best_file(self, trial: int | None = None) -> str:
        """Return the best trial, or another complete one, as the text of a best file. Raises BadInput."""
        ...

    def points(self, metric: str) -> list[CurvePoint]:
        """Return every report of a metric, replicates averaged. Raises BadInput for an unknown metric."""
        ...

    def material(self) -> Material:
        """Return what a report is made of. Raises BadInput."""
        ...

    def document(self) -> Mapping[str, object]:
        """Return what `sweep show --json` prints."""
        ...

    def lines(self, top: int) -> Iterator[str]:
        """Yield what `sweep show` prints, with so many trials."""
        ...


class Origin(Protocol):
    """An origin of sweeps. A sweep is named by its id, or by its name, which means the latest sweep of that name."""

    def read(self, sweep: str) -> StoredSweep:
        """Return a sweep in its present state. Raises BadInput for an unknown one."""
        ...

    def read_all(self) -> Iterator[StoredSweep]:
        """Yield all sweeps, the oldest first."""
        ...

    def listing(self, state: str | None = None) -> Listing:
        """Return the output of `sweep list`. state: only sweeps in this state. Raises BadInput."""
        ...

    def resume(self, sweep: str, changed: bool, address: str | None, progress: bool) -> Summary | None:
        """Resume a sweep; return its summary, None if it runs elsewhere. Raises BadInput.

        changed: even if code or data have changed. address: of a Ray cluster. progress: show the progress.
        """
        ...

    def extend(self, sweep: str, more: More, changed: bool, address: str | None, progress: bool) -> Summary | None:
        """Give a sweep more to train, and train it; return its summary, None if it runs elsewhere. Raises BadInput.

        changed, address, progress: see `resume`.
        """
        ...

    def enqueue(self, sweep: str, points: Sequence[Fields], other: str, top: int) -> Sequence[str]:
        """Add points to a sweep that asks for more trials; return sentences on what happens to them. Raises BadInput.

        other: another sweep, whose `top` best points are added after them; "" for none.
        """
        ...

    def export(self, sweep: str, out: str | PathLike[str] | None) -> Export:
        """Write a sweep into a new folder or zip, which opens elsewhere. Raises BadInput."""
        ...

    def stop(self, sweep: str, wait: bool) -> Sequence[str]:
        """Stop a sweep, which writes its checkpoints; return sentences on what happens. Raises BadInput.

        wait: until it has stopped.
        """
        ...

    def delete(self, sweep: str, records: bool) -> None:
        """Delete a sweep by its id; records: also its runs in MLflow. Raises BadInput if it cannot be deleted."""
        ...
