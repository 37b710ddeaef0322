"""Stop a sweep that another process of this machine drives."""

import os
import signal
import time
from collections.abc import Sequence

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.search.driver_lock import driven_sweeps, driver_of

LOOK_S = 0.2


def stop_driver(home: Home, sweep: str, wait: bool = False) -> Sequence[str]:
    """Ask the driver of a sweep to stop, as Ctrl-C does: it writes checkpoints. Return sentences on what happens.

    wait: until it has ended. Raises BadInput if nobody drives it, or a process of another machine or user does.
    """
    driver = driver_of(home.sweep(sweep))
    if driver is None:
        if driven_sweeps(home, [sweep]):
            raise BadInput(f"{sweep} is driven on another machine; stop it there")
        raise BadInput(f"{sweep}: nobody drives it, so there is nothing to stop")
    try:
        os.kill(driver, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has ended meanwhile
    except PermissionError:
        raise BadInput(
            f"{sweep} is driven by process {driver} of another user; who has started it can stop it"
        ) from None
    while wait and driver_of(home.sweep(sweep)) == driver:
        time.sleep(LOOK_S)
    how = "has stopped" if wait else f"stops: process {driver} writes its checkpoints"
    return [f"{sweep} {how}; continue: {home.resume_command(sweep)}"]
