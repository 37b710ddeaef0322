"""The service's schema brought up to date, by one process at a time. The only file that imports alembic."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from espalier.core.errors import BadInput
from espalier.services.database.store import Store

LOCK = 0x73776565  # any number that is always the same: PostgreSQL's advisory lock of an upgrade


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(store: Store, revision: str = "head") -> None:
    """Bring the schema up to date; nothing if it is. Several processes at once wait for one another."""
    config = _config()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with store.engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def check(store: Store) -> None:
    """Raise BadInput unless the database has the schema of this version."""
    with store.engine.connect() as connection:
        has = MigrationContext.configure(connection).get_current_revision()
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if has != wanted:
        raise BadInput(
            f"the service's database has schema {has or 'none'}; this version needs {wanted}: run `sweep db upgrade`"
        )
