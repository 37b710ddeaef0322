"""The entry point of a job in the cluster: the driver of a sweep, with its submitted code.

`python -m espalier.services.job SWEEP` is a job's entrypoint, in the folder that clusters.job_folder writes.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput
from espalier.services.clusters.job_folder import SPEC_FILE, accepts_changes, extended, unpacked_code
from espalier.services.clusters.keeper import CODE, HOME
from espalier.services.settings import read_settings
from espalier.sweeps.cli.errors import handle_errors
from espalier.sweeps.cli.output import print_summary
from espalier.sweeps.cli.process import run_process
from espalier.sweeps.home import Home

if TYPE_CHECKING:
    from espalier.sweeps.spec.spec import SweepSpec


def drive(sweep: str, folder: Path) -> None:
    """Drive the sweep of a job folder like `sweep run --json`, with its exit codes.

    It trains in the Ray cluster whose job this is, else in a new one.
    """
    from espalier.sweeps.guard import guarded
    from espalier.sweeps.running.here import extend_here, run_here
    from espalier.sweeps.search.extending import more_to

    with handle_errors(), guarded():
        spec, home = spec_of(folder), Home.at(None)
        address, changed = ray_address(os.environ), accepts_changes(folder)
        wanted, by = extended(folder) or ({}, "")
        if wanted and (more := more_to(home.storage, sweep, wanted)):
            summary = extend_here(sweep, home, more, address, changed, by=by)
        else:
            summary = run_here(spec, home, address, sweep, changed)
        print_summary(summary, home, as_json=True)
    sys.exit(0)


def spec_of(folder: Path) -> "SweepSpec":
    """Return the spec of a job folder, its paths absolute. It is read as the JSON that it is: YAML differs a little."""
    from espalier.sweeps.spec.paths import found_files
    from espalier.sweeps.spec.spec import make_spec

    file = folder / SPEC_FILE
    return make_spec(found_files(json.loads(file.read_text(encoding="utf-8")), folder), str(file))


def ray_address(environment: Mapping[str, str]) -> str | None:
    """Return the address of the Ray cluster whose job this process is; None if it is not a Ray job."""
    return "auto" if environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR") else None


def run(sweep: str, folder: Path) -> None:
    """Replace this process by the driver of a sweep, so that a signal that Ray sends to all processes arrives once.

    A keeper has set its home and its code. In a Ray cluster the home is always the service's, which contains the job
    folder.
    """
    os.umask(0o077)
    folder = folder.absolute()
    if HOME in os.environ:
        home, place = Path(os.environ.pop(HOME)), Path(os.environ.pop(CODE, "") or folder)
    else:
        home = folder.parents[1]
        place = unpacked_code(folder, home / "code", read_settings().unpacked_mib) or folder
    os.environ["SWEEP_HOME"] = str(home)
    os.chdir(place)  # core.loading.scopes finds the code there; sys.path stays unchanged
    run_process(lambda: drive(sweep, folder))


if __name__ == "__main__":
    try:
        run(sys.argv[-1], Path.cwd())  # a job submitted by an earlier version has `run SWEEP`
    except BadInput as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
