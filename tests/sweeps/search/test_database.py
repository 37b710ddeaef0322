"""A database as Optuna's storage: what is refused, and how it is held."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.search import database
from espalier.sweeps.search.storage import open_storage
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with


@pytest.mark.parametrize("url", ["nowhere", "htp://host/db", "postgresql://host:port/db", "://", ""])
def test_what_is_no_address_of_a_database_is_refused_with_one_that_is(url: str) -> None:
    with pytest.raises(BadInput, match=r"SWEEP_STORAGE_URL: .* is no address of a database; write postgresql\+psycopg"):
        database.parsed(url)


def test_postgresql_means_psycopg_and_another_driver_stays() -> None:
    assert database.parsed("postgresql://me@host/db").drivername == "postgresql+psycopg"
    assert database.parsed("postgresql+psycopg2://me@host/db").drivername == "postgresql+psycopg2"


@pytest.mark.parametrize("url", ["postgresql+pg8000://me:hidden@host/db", "mysql+pymysql://me:hidden@host/db"])
def test_a_driver_that_is_not_installed_is_named(url: str) -> None:
    with pytest.raises(BadInput, match=r"SWEEP_STORAGE_URL: .*me:\*\*\*@host/db needs (pg8000|pymysql)"):
        SweepStore.open(url)


def test_a_server_that_may_restart_is_asked_before_it_is_used() -> None:
    options = database.engine_options(database.parsed("postgresql://me@host/db"))
    assert options["pool_pre_ping"]
    assert options["connect_args"]["connect_timeout"] == 10
    assert database.engine_options(database.parsed("sqlite:///file.db")) == {}


def test_sweeps_are_listed_by_their_age_whatever_else_is_in_the_database(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    storage: Any = open_storage(url)
    assert open_storage(url) is storage  # once in a process
    store = SweepStore(storage)
    optuna.create_study(storage=storage, study_name="somebody-else")
    for day in (3, 1, 2):
        store.create(f"warm-2026010{day}-abcd", spec_with(), {"created": f"2026-01-0{day}T00:00:00Z"})
    assert store.ids() == [f"warm-2026010{day}-abcd" for day in (1, 2, 3)]
    assert store.find("warm").id == "warm-20260103-abcd"
    storage.engine.dispose()


UPGRADE = """
import logging, sys
log = logging.getLogger("somebody's")
from espalier.sweeps.search.storage import upgrade_storage
upgrade_storage(sys.argv[1])
assert not log.disabled and not logging.getLogger().handlers
"""


def test_an_upgrade_says_nothing_and_leaves_the_logs_of_its_process_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UPGRADE, f"sqlite:///{tmp_path / 'optuna.db'}"]
    said = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
