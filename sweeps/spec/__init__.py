"""The spec of a sweep: read it, check it, explain mistakes."""
