"""Alembic's folder: how a database comes to the schema of services/store.py, one step a file."""
