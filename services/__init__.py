"""The HTTP service."""

import espalier.sweeps  # noqa: F401 - first, for what it does to Python's search path
