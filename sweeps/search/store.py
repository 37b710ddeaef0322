"""The sweeps of an Optuna storage: create, find, delete."""

import json
from collections.abc import Mapping
from contextlib import suppress

import optuna
from optuna.storages import BaseStorage

from espalier.core.errors import BadInput, nearest
from espalier.sweeps.home import Home
from espalier.sweeps.identity import Facts
from espalier.sweeps.results.trial_result import ranked, searched
from espalier.sweeps.search import attributes, storage
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.taken import Taken
from espalier.sweeps.search.taking import FIELD, taken_from
from espalier.sweeps.spec.first import RESOLVED, as_written, is_reference, overlap, reference
from espalier.sweeps.spec.notify import public_fields
from espalier.sweeps.spec.space import Space
from espalier.sweeps.spec.spec import SweepSpec, make_spec, whole_fields
from espalier.sweeps.spec.values import Fields


class SweepStore:
    """All sweeps of a home, or of a shared database."""

    def __init__(self, storage: BaseStorage):
        self.storage = storage

    @classmethod
    def open(cls, place: str) -> "SweepStore":
        """Open a storage for writing: a database URL, or the path of a journal. Raises BadInput if that fails."""
        return cls(storage.open_storage(place))

    @classmethod
    def open_for_reading(cls, place: str) -> "SweepStore":
        """Open a storage read-only, without repairs. Raises BadInput if it cannot be read."""
        return cls(storage.open_for_reading(place))

    def create(self, sweep: str, spec: SweepSpec, facts: Facts) -> SweepRecord:
        """Create a sweep: a study named by its id, with its spec. Raises BadInput if it exists.

        First points that are those of another sweep are looked up. The spec is written last: a study without one was
        left by a kill in between, and is created anew.
        """
        spec = looked_up(spec, self)
        taken = self.taken(spec, facts)
        direction = "minimize" if spec.objective.mode == "min" else "maximize"
        with suppress(KeyError):
            left = self._study(sweep)
            if attributes.SPEC in left.user_attrs or left.get_trials(deepcopy=False):
                raise BadInput(f"sweep {sweep} exists already; continue it: sweep resume {sweep}")
            self.delete(sweep)
        study = optuna.create_study(storage=self.storage, study_name=sweep, direction=direction)
        for name, value in facts.items():
            study.set_user_attr(name, value)
        if taken:
            study.set_user_attr(attributes.TAKEN, taken.to_json())
        study.set_user_attr(attributes.SPEC, whole_fields(spec))
        return SweepRecord(study, self.storage)

    def taken(self, spec: SweepSpec, facts: Facts) -> Taken | None:
        """Return what a new sweep takes from the one that its spec names; None for none. facts: of the new one.

        Raises BadInput that begins with the field.
        """
        if not spec.learn_from:
            return None
        try:
            other = self.find(spec.learn_from)
        except BadInput as error:
            raise BadInput(f"{FIELD}: {error}") from error
        return taken_from(other, spec, facts)

    def delete(self, sweep: str) -> None:
        """Remove a sweep."""
        optuna.delete_study(study_name=sweep, storage=self.storage)

    def copy(self, sweep: str, place: str, tracking: str) -> None:
        """Copy a sweep, with its trials as they are now, into a new storage at a place; see `open`.

        There it has no address of its own to be recorded at, no runs yet, and no secret.
        tracking: its tracking origin there.
        """
        study, target = self._study(sweep), storage.open_storage(place)
        copy = optuna.create_study(storage=target, study_name=sweep, direction=study.direction)
        copy.add_trials(study.get_trials(deepcopy=False))
        spec = public_fields(study.user_attrs[attributes.SPEC] | {"tracking_uri": None})
        entries = study.user_attrs | {attributes.TRACKING: tracking, attributes.SPEC: spec}
        for name in sorted(entries, key=attributes.SPEC.__eq__):  # the spec last: see `create`
            if name != attributes.PARENT and not name.startswith(attributes.LATE_RUN):
                copy.set_user_attr(name, entries[name])

    def ids(self) -> list[str]:
        """Return the ids of all sweeps, the oldest first."""
        return [sweep for sweep, _ in self.ids_and_names()]

    def ids_and_names(self) -> list[tuple[str, str]]:
        """Return the id of each sweep, the oldest first, and the name in its spec, even of an unreadable spec."""
        studies = self.storage.get_all_studies()  # Optuna's summaries would read every trial of every study
        begun = [study for study in studies if attributes.SPEC in study.user_attrs]
        begun.sort(key=lambda study: str(study.user_attrs.get(attributes.CREATED, "")))
        return [(study.study_name, _name_in(study.user_attrs[attributes.SPEC])) for study in begun]

    def exists(self, sweep: str) -> bool:
        """Whether a sweep of this id exists."""
        try:
            return attributes.SPEC in self._study(sweep).user_attrs
        except KeyError:
            return False

    def load(self, sweep: str) -> SweepRecord:
        """Load a sweep by its id, without reading the others. Raises KeyError for an unknown id."""
        return SweepRecord(self._study(sweep), self.storage)

    def find(self, wanted: str) -> SweepRecord:
        """Load a sweep by its id, else the latest one whose spec has that name. Raises BadInput for an unknown one."""
        sweeps = self.ids_and_names()
        by_id = [sweep for sweep, _ in sweeps if sweep == wanted]
        matching = by_id or [sweep for sweep, name in sweeps if name == wanted]
        if not matching:
            known = {*(sweep for sweep, _ in sweeps), *(name for _, name in sweeps if name)}
            raise BadInput(f"unknown sweep '{wanted}'; {nearest(wanted, known)}")
        return self.load(matching[-1])

    def _study(self, sweep: str) -> optuna.Study:
        return optuna.load_study(study_name=sweep, storage=self.storage)


def looked_up(spec: SweepSpec, store: SweepStore) -> SweepSpec:
    """Return a spec with the points of those of its first entries that name a sweep.

    Raises BadInput for an unknown sweep, one without a complete trial, or one with nothing that this space has.
    """
    first = [
        {**entry, RESOLVED: best_points(store, *reference(entry), spec.space, f"first.{k}")}
        if is_reference(entry, spec.space) and RESOLVED not in entry
        else entry
        for k, entry in enumerate(spec.first)
    ]
    return spec if first == spec.first else make_spec(whole_fields(spec) | {"first": first}, stored=True)


def best_points(store: SweepStore, wanted: str, count: int, space: Space, field: str) -> list[Fields]:
    """Return the best points of a sweep as far as a space has them, each with its sweep and trial.

    Raises BadInput that begins with the field; see `looked_up`.
    """
    try:
        other = store.find(wanted)
    except BadInput as error:
        raise BadInput(f"{field}: {error}") from error
    complete = [trial for trial in searched(other.results()) if trial.value is not None]
    if not complete:
        raise BadInput(f"{field}: {other.id} has no complete trial; name another sweep, or wait for one")
    points: dict[str, Fields] = {}
    for trial in ranked(complete, other.spec.objective.mode)[:count]:
        if point := as_written(space, overlap(space, trial.params)):
            points.setdefault(
                json.dumps(point, sort_keys=True), {"of": other.id, "trial": trial.number, "point": point}
            )
    if not points:
        raise BadInput(f"{field}: of what {other.id} searched, this space has nothing; leave it out")
    return list(points.values())


def find_sweep(home: Home, store: SweepStore, wanted: str) -> SweepRecord:
    """Return a sweep by id or name. Raises BadInput for an unknown one, which says if there are records of it."""
    try:
        return store.find(wanted)
    except BadInput:
        if wanted in home.lost(()):
            raise BadInput(
                f"{wanted}: {home.storage} does not know it; the file was deleted or damaged. Bring back a copy of it; "
                f"else what the sweep has recorded lies in MLflow, and in {home.sweep(wanted)}"
            ) from None
        raise


def _name_in(spec: object) -> str:
    return str(spec.get("name", "")) if isinstance(spec, Mapping) else ""
