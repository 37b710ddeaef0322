"""What a job runs, in the cluster: the driver of a sweep, with the code that came with it.

`python -m espalier.services.job SWEEP` is a job's entrypoint, in the folder that clusters.job_folder writes.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.services.clusters.job_folder import SPEC_FILE, accepts_changes, unpacked_code
from espalier.services.clusters.keeper import CODE, HOME
from espalier.services.settings import read_settings
from espalier.sweeps.cli.errors import handle_errors
from espalier.sweeps.cli.output import print_summary
from espalier.sweeps.cli.process import run_process
from espalier.sweeps.home import Home


def drive(sweep: str, folder: Path) -> None:
    """Drive the sweep that is laid out in a folder, as `sweep run --json` does, and exit as that does.

    It trains in the Ray cluster whose job this is, else in one of its own.
    """
    from espalier.sweeps.guard import guarded
    from espalier.sweeps.running.here import run_here
    from espalier.sweeps.spec.spec import load_spec

    with handle_errors(), guarded():
        spec, home = load_spec(str(folder / SPEC_FILE)), Home.at(None)
        summary = run_here(spec, home, ray_address(os.environ), sweep, accepts_changes(folder))
        print_summary(summary, home, as_json=True, home=None)
    sys.exit(0)


def ray_address(environment: Mapping[str, str]) -> str | None:
    """Return the address of the Ray cluster whose job this process is; None if it is none's."""
    return "auto" if environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR") else None


def run(sweep: str, folder: Path) -> None:
    """Become the driver of a sweep: a job's signals, which Ray sends to all of its processes, reach it once.

    A keeper has set where its home and its code are. In a Ray cluster the home is the service's, in which the job was
    laid out, whatever variable names another one.
    """
    os.umask(0o077)
    folder = folder.absolute()
    if HOME in os.environ:
        home, place = Path(os.environ.pop(HOME)), Path(os.environ.pop(CODE, "") or folder)
    else:
        home = folder.parents[1]
        place = unpacked_code(folder, home / "code", read_settings().unpacked_mib) or folder
    os.environ["SWEEP_HOME"] = str(home)
    os.chdir(place)  # there core.loading.scopes finds the code; Python's own search path stays as it is
    run_process(lambda: drive(sweep, folder))


if __name__ == "__main__":
    try:
        run(sys.argv[-1], Path.cwd())  # a job that an earlier version submitted says `run SWEEP`
    except BadInput as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
