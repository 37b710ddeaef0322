"""Alembic's folder: the migrations of the schema in database/tables.py, one step a file."""
