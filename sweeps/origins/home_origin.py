"""The sweeps of a home on this machine."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

from espalier.core.errors import BadInput, brief, nearest
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.browse.export import Export, export_sweep
from espalier.sweeps.browse.home_sweep import HomeSweep, load_sweep, read_sweep
from espalier.sweeps.deletion import delete_sweep
from espalier.sweeps.home import Home
from espalier.sweeps.origins.origin import Listing
from espalier.sweeps.results.formatting import decimals
from espalier.sweeps.search.adding import add_points
from espalier.sweeps.search.driver_lock import driven_sweeps
from espalier.sweeps.search.extension import More
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.values import Fields
from espalier.sweeps.stopping_driver import stop_driver

STATES = ("running", "interrupted", "finished", "unreadable", "lost")
UNKNOWN = ("ended", "wanted", "metric", "best", "best_trial")  # columns that an unreadable sweep does not have


@dataclass(frozen=True)
class Unreadable:
    """A sweep of which only the id is known. state: "unreadable" or "lost"."""

    id: str
    state: str
    why: str

    def row(self) -> Mapping[str, object]:
        """Return its entry in `sweep list --json`."""
        return {"sweep": self.id, "state": self.state} | dict.fromkeys(UNKNOWN)

    def line(self) -> str:
        """Return its line in `sweep list`."""
        return f"{self.id:<32} {self.state:<12} why: sweep show {self.id}"


class HomeOrigin:
    """The sweeps of a home."""

    def __init__(self, home: Home):
        self.home = home

    def read(self, sweep: str) -> HomeSweep:
        """Return a sweep by id or name, in its present state. Raises BadInput for an unknown one."""
        return read_sweep(self.home, sweep)

    def read_all(self) -> Iterator[HomeSweep]:
        """Yield the readable sweeps, the oldest first; a line on stderr names each unreadable one."""
        for sweep in self._all():
            if isinstance(sweep, HomeSweep):
                yield sweep
            elif sweep.why:  # of another version, or damaged: the others can still be read
                print(f"note: {sweep.why}", file=sys.stderr)

    def listing(self, state: str | None = None) -> Listing:
        """Return a row for each sweep, the oldest first, then those missing in the journal. state: only those in it.

        Raises BadInput for a state that no sweep of a home has.
        """
        if state is not None and state not in STATES:
            raise BadInput(f"--state {brief(state)}: a sweep of a home is never that; {nearest(state, STATES)}")
        sweeps = [sweep for sweep in self._all() if state in (None, sweep.state)]
        lines = [sweep.line() if isinstance(sweep, Unreadable) else _line(sweep) for sweep in sweeps]
        empty = [f"no sweep is {state} here" if state else "no sweep here yet; start one: sweep run names"]
        return Listing([sweep.row() for sweep in sweeps], lines or empty)

    def resume(self, sweep: str, changed: bool, address: str | None, progress: bool) -> Summary:
        """Resume a sweep in this process; return its summary. Raises BadInput."""
        from espalier.sweeps.running.here import resume_here

        return resume_here(sweep, self.home.writable(), address, changed, progress)

    def extend(self, sweep: str, more: More, changed: bool, address: str | None, progress: bool) -> Summary:
        """Give a sweep more to train, and train it in this process; return its summary. Raises BadInput."""
        from espalier.sweeps.running.here import extend_here

        return extend_here(sweep, self.home.writable(), more, address, changed, progress)

    def enqueue(self, sweep: str, points: Sequence[Fields], other: str, top: int) -> Sequence[str]:
        """Add points to a sweep that asks for more trials; return what happens to them. Raises BadInput."""
        return add_points(self.home, sweep, points, other, top)

    def export(self, sweep: str, out: str | PathLike[str] | None) -> Export:
        """Write a sweep into a new folder or zip, which opens elsewhere. Raises BadInput; see `export_sweep`."""
        return export_sweep(self.home, sweep, out)

    def stop(self, sweep: str, wait: bool) -> Sequence[str]:
        """Ask the process that drives a sweep to stop, as Ctrl-C does. wait: until it has. Raises BadInput."""
        return stop_driver(self.home, self.read(sweep).id, wait)

    def delete(self, sweep: str, records: bool) -> None:
        """Remove a sweep with its checkpoints; records: also its runs in MLflow. Raises BadInput if it is driven."""
        delete_sweep(self.home.writable(), sweep, records)

    def _all(self) -> Iterator[HomeSweep | Unreadable]:
        """Yield every sweep, the oldest first, then those missing in the journal."""
        store = SweepStore.open_for_reading(self.home.storage)
        sweeps = store.ids()
        driven = driven_sweeps(self.home, sweeps)
        for sweep in sweeps:
            try:
                yield load_sweep(self.home, store.load(sweep), driven)
            except (BadInput, KeyError) as error:
                yield Unreadable(sweep, "unreadable", str(error))
        yield from (Unreadable(sweep, "lost", "") for sweep in self.home.lost(sweeps))


def _line(sweep: HomeSweep) -> str:
    best, row = sweep.best, sweep.row()
    text = f"{sweep.spec.objective.metric} {decimals(best.value)} (trial {best.number})" if best else "-"
    return f"{sweep.id:<32} {sweep.state:<12} {row['ended']:>4} of {row['wanted']:<5} best {text}"
