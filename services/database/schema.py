"""Upgrade the service's schema, by one process at a time. Only this file imports alembic."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from espalier.core.errors import BadInput
from espalier.services.database.store import Store

LOCK = 0x73776565  # an arbitrary constant: the number of PostgreSQL's advisory lock for upgrades


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(store: Store, revision: str = "head") -> None:
    """Upgrade the schema if needed. Concurrent upgrades wait for one another."""
    config = _config()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with store.engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def check(store: Store) -> None:
    """Raise BadInput unless the database has this version's schema."""
    with store.engine.connect() as connection:
        has = MigrationContext.configure(connection).get_current_revision()
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if has != wanted:
        raise BadInput(
            f"the service's database has schema {has or 'none'}; this version needs {wanted}: run `sweep db upgrade`"
        )
