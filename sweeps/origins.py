"""Where sweeps are kept, each with the same methods: a home on this machine, or a service."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec, make_spec

if TYPE_CHECKING:
    from espalier.sweeps.client.service import Remote

Point = tuple[int, int, float]
"""trial, step, value"""


@dataclass(frozen=True)
class SweepState:
    """A sweep as it is now."""

    id: str
    spec: SweepSpec
    state: str  # running, interrupted or finished; of a service also queued, stopped or failed
    trials: Sequence[TrialResult]
    page: str  # of MLflow


class Origin(Protocol):
    """Where sweeps are kept. Sweeps are named by their id, or by their name, which is the latest of that name."""

    def read(self, sweep: str) -> SweepState:
        """Return a sweep as it is now. Raises BadInput for an unknown one."""
        ...

    def read_all(self) -> Iterator[SweepState]:
        """Yield all sweeps, the oldest first."""
        ...

    def best_file(self, sweep: str, trial: int | None = None) -> str:
        """Return the best trial, or another complete one, as the text of a best file. Raises BadInput."""
        ...

    def points(self, sweep: str, metric: str) -> list[Point]:
        """Return every report of a metric, replicates averaged. Raises BadInput for an unknown metric."""
        ...


class HomeOrigin:
    """The sweeps of a home on this machine."""

    def __init__(self, home: Home):
        self.home = home

    def read(self, sweep: str) -> SweepState:
        from espalier.sweeps.browse.details import details

        found = details(self.home, sweep)
        return SweepState(found.sweep, found.spec, found.state, tuple(found.trials), found.page)

    def read_all(self) -> Iterator[SweepState]:
        """Yield those that can be read; a line on stderr names each other one."""
        from espalier.sweeps.search.store import SweepStore

        for sweep in SweepStore.open_for_reading(self.home.storage).ids():
            try:
                yield self.read(sweep)
            except BadInput as error:  # another version's, or damaged: the others are there all the same
                print(f"note: {error}", file=sys.stderr)

    def best_file(self, sweep: str, trial: int | None = None) -> str:
        from espalier.sweeps.browse.details import best_of

        return best_of(self.home, sweep, trial)

    def points(self, sweep: str, metric: str) -> list[Point]:
        from espalier.sweeps.browse.curves import points
        from espalier.sweeps.browse.details import details

        found = details(self.home, sweep)
        ended = [trial.number for trial in found.trials if trial.state != "running"]
        return points(self.home, found.tracking_uri, found.sweep, ended, metric)


class ServiceOrigin:
    """The sweeps of a service."""

    def __init__(self, remote: "Remote"):
        self.remote = remote

    def read(self, sweep: str) -> SweepState:
        view = self.remote.sweep(self.remote.find(sweep))
        trials = tuple(map(_trial_of, self.remote.trials(view["id"])))
        spec = make_spec(self.remote.spec(view["id"]), f"{view['id']}: spec", stored=True)
        return SweepState(view["id"], spec, view["state"], trials, view["mlflow"].get("page") or "")

    def read_all(self) -> Iterator[SweepState]:
        for view in reversed(list(self.remote.sweeps())):
            yield self.read(view["id"])

    def best_file(self, sweep: str, trial: int | None = None) -> str:
        return self.remote.best(self.remote.find(sweep), trial)

    def points(self, sweep: str, metric: str) -> list[Point]:
        return self.remote.curves(sweep, metric)


def origin_of(server: str | None, home: str | None) -> Origin:
    """Return a service, if an address is given, else a home for reading. Raises BadInput."""
    if not server:
        return HomeOrigin(Home.at(home, reading=True))
    from espalier.sweeps.client.service import Remote

    return ServiceOrigin(Remote(server))


def _trial_of(row: Mapping[str, Any]) -> TrialResult:
    known = TrialResult.__dataclass_fields__
    return TrialResult(**{name: value for name, value in row.items() if name in known and name != "ended"})
