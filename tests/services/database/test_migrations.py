"""A database of an earlier version, with rows in it, comes to this version's schema: in sqlite and in PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, inspect, select, text
from sqlalchemy.orm import undefer

from espalier.core.errors import BadInput
from espalier.services import tokens
from espalier.services.database import schema
from espalier.services.database.store import Store
from espalier.services.database.tables import Base, Owner, State, Submission, Token
from espalier.sweeps.address import sqlite_url

ROWS = (
    "INSERT INTO owners VALUES ('ada', 1.5, 10000, 2.5), ('bob', 2.5, NULL, NULL)",
    "INSERT INTO tokens VALUES ('0123456789ab', 'ada', 'admin', '{hash}', 3.5, NULL, 4.5), "
    "('ba9876543210', 'bob', 'read', '{hash}', 3.5, 5.5, NULL)",
    "INSERT INTO submissions (sweep, owner, name, spec, archive, idempotency_key, fingerprint, state, reason, trials, "
    "gpus, hours, attempt, created, changed, started, ran_s) "
    "VALUES ('old-1', 'ada', 'old', '{spec}', NULL, 'key', 'f', 'running', '', 16, 0.0, 24.0, 1, 6.5, 7.5, 8.5, 9.5)",
)
VALUES = {"hash": "0" * 64, "spec": '{"name"\\: "old"}'}  # a colon would begin a parameter


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database without tables."""
    if request.param == "sqlite":
        store = Store(sqlite_url(tmp_path / "service.db"))
    else:
        store = Store(request.getfixturevalue("postgres_server").url("espalier"))
        with store.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    yield store
    store.engine.dispose()


def with_rows(store: Store, revision: str) -> None:
    """Bring a database to an earlier schema, and give it what that version would have written."""
    schema.upgrade(store, revision)
    with store.engine.begin() as connection:
        for row in ROWS:
            connection.execute(text(row.format_map(VALUES)))
        if revision != "0001":
            connection.execute(text("UPDATE counters SET count = 2 WHERE name = 'tokens'"))


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_rows_of_an_earlier_version_are_all_there_and_no_door_opens(empty: Store, revision: str) -> None:
    with_rows(empty, revision)
    with pytest.raises(BadInput, match=f"has schema {revision}; this version needs .* run `sweep db upgrade`"):
        schema.check(empty)
    for _ in range(2):  # the second finds nothing to do
        schema.upgrade(empty)
        schema.check(empty)
    with empty.session() as session:
        (old,) = session.scalars(select(Submission).options(undefer(Submission.spec))).all()
        assert (old.sweep, old.spec, old.attempt, old.ran_s) == ("old-1", {"name": "old"}, 1, 9.5)
        assert old.accepts_changes is False and State(old.state) == State.RUNNING
        assert session.get_one(Owner, "ada").trials_quota == 10000
        assert tokens.ever_made(session) and not tokens.any_valid(session, 6.0)
        session.execute(delete(Token))
        session.flush()
        assert tokens.ever_made(session)
        made = tokens.create(session, "eve", "submit", 10.0, None)
        session.add(
            Submission(
                sweep="new-1", owner="eve", name="new", spec={}, fingerprint="f", state="queued", trials=1, gpus=0.0,
                hours=1.0, created=11.0, changed=11.0, accepts_changes=True,
            )
        )  # fmt: skip
    with empty.reading() as session:
        caller = tokens.find(session, made, 12.0)
        assert caller and caller.owner == "eve"
        assert session.scalars(select(Submission.number).order_by(Submission.number)).all() == [1, 2]


def test_the_steps_lead_to_the_tables_that_the_code_has(empty: Store) -> None:
    schema.upgrade(empty)
    there = inspect(empty.engine)
    tables = {name: {column["name"] for column in there.get_columns(name)} for name in there.get_table_names()}
    del tables["alembic_version"]
    assert tables == {table.name: {column.name for column in table.columns} for table in Base.metadata.sorted_tables}


def test_a_database_in_which_no_token_was_made_stays_one(empty: Store) -> None:
    schema.upgrade(empty, "0001")
    schema.upgrade(empty)
    with empty.reading() as session:
        assert not tokens.ever_made(session)
