"""Writes a sweep as a zip that opens elsewhere, in a process of its own.

`python -m espalier.services.reading.exporting HOME SWEEP` prints the zip. Where jobs run as separate users, the owner's
runs it, since it reads files that their job has written.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.browse.export import export_sweep
from espalier.sweeps.home import Home

NICE = 10  # below the sweeps that train on this machine


def main(home: str, sweep: str) -> None:
    """Print the zip. Exits with code 2 and a line for what cannot be exported."""
    os.nice(NICE)
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = export_sweep(Home.at(home, reading=True), sweep, Path(folder) / "export.zip")
        except BadInput as error:
            print(f"sweep: {error}", file=sys.stderr)
            sys.exit(2)
        with open(written.path, "rb") as packed:
            shutil.copyfileobj(packed, sys.stdout.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
