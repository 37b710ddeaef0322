"""Alembic's entry point: run the migrations on the connection of database.schema."""

from alembic import context

from espalier.services.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
