"""Alembic's folder: how a database comes to the schema of database/tables.py, one step a file."""
