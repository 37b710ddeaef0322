"""The client of a sweep service."""
