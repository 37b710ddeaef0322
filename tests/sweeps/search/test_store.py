"""Sweeps in a storage: found by id and by name."""

from pathlib import Path

import optuna
import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with
from tests.sweeps.search.desk import finish


def stored(tmp_path: Path, *ids: str) -> SweepStore:
    store = SweepStore.open(str(tmp_path / "deep" / "optuna.journal"))
    for day, sweep in enumerate(ids):
        store.create(sweep, spec_with(name=sweep.rsplit("-", 2)[0]), {"created": f"2026-01-{day + 1:02}"})
    return store


def test_a_sweep_is_found_by_its_id_and_by_its_name_the_latest(tmp_path: Path) -> None:
    store = stored(tmp_path, "warm-20260101-aaaa", "cold-20260102-bbbb", "warm-20260103-0000")
    assert store.ids() == ["warm-20260101-aaaa", "cold-20260102-bbbb", "warm-20260103-0000"]
    assert store.find("warm").id == "warm-20260103-0000"
    assert store.find("warm-20260101-aaaa").id == "warm-20260101-aaaa"
    assert store.find("cold").spec == spec_with(name="cold")


def test_a_name_with_dashes_is_not_taken_for_another(tmp_path: Path) -> None:
    store = stored(tmp_path, "a-20260101-aaaa", "a-b-20260102-bbbb")
    assert store.find("a").id == "a-20260101-aaaa"
    assert store.find("a-b").id == "a-b-20260102-bbbb"


def test_a_name_is_the_specs_whatever_the_ids_look_like(tmp_path: Path) -> None:
    """Ids that people give; an id wins over a name; a spec of another version has its name all the same."""
    store = SweepStore.open(str(tmp_path / "optuna.journal"))
    begun = [("tiny-20260101-aaaa", "tiny"), ("exp-lr-high", "tiny"), ("best", "tiny"), ("tiny-9", "best")]
    for day, (sweep, name) in enumerate(begun):
        store.create(sweep, spec_with(name=name), {"created": f"2026-01-{day + 1:02}"})
    assert store.find("tiny").id == "best" == store.find("best").id
    assert store.find("exp-lr-high").id == "exp-lr-high"
    for wanted in ("exp", "exp-lr", "tiny-20260101", "9"):
        with pytest.raises(BadInput, match="unknown sweep"):
            store.find(wanted)
    foreign = optuna.create_study(storage=store.storage, study_name="x-1-2")
    foreign.set_user_attr("spec", {"name": "foreign", "of_another_version": True})
    foreign.set_user_attr("created", "2026-02-01")
    assert store.find("foreign").id == "x-1-2"
    broken = optuna.create_study(storage=store.storage, study_name="y-1-2")
    broken.set_user_attr("spec", "no mapping")
    assert store.find("tiny").id == "best" and store.find("y-1-2").id == "y-1-2"


def test_an_unknown_sweep_is_refused_with_the_nearest_known(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown sweep 'warn'; did you mean 'warm'"):
        stored(tmp_path, "warm-20260101-aaaa").find("warn")


def test_an_empty_home_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown sweep 'warm'; there is none here"):
        stored(tmp_path).find("warm")


def test_studies_of_others_are_left_alone(tmp_path: Path) -> None:
    store = stored(tmp_path, "warm-20260101-aaaa")
    optuna.create_study(storage=store.storage, study_name="somebody-else-here")
    assert store.ids() == ["warm-20260101-aaaa"]


def test_a_database_serves_as_storage_too(tmp_path: Path) -> None:
    store = SweepStore.open(f"sqlite:///{tmp_path / 'optuna.db'}")
    record = store.create("warm-20260101-abcd", spec_with(trials=2), {})
    finish(Search(record, 1, 2))
    assert [trial.state for trial in record.trials()] == ["complete"] * 2
