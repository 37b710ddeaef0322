"""The search: one file for each outside system."""

import os
import sys

# A person's folder may have a random.py, or a package called core. Ray puts the driver's folder in front of all else
# that its workers import, and so does `python -m`: it is taken away again. core.loading finds what a task imports.
_OWN = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if os.path.basename(sys.argv[0]) == "default_worker.py":
    _ray = os.path.dirname(os.path.dirname(os.path.dirname(sys.argv[0])))
    del sys.path[: next((i for i, path in enumerate(sys.path) if path.startswith(_ray)), 0)]
elif sys.argv[0] == "-m" and sys.path[0] == os.getcwd() and os.path.realpath(sys.path[0]) != _OWN:
    del sys.path[0]
