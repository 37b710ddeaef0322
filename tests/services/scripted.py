"""A job that does what its sweep's name says: for tests of whatever runs jobs. Run in the folder that a job has."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def long() -> None:
    """Run until a signal asks for the end, as a driver does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    print("begun", flush=True)
    while True:
        time.sleep(0.05)


def main() -> None:
    """Be the job."""
    spec = json.loads(Path("spec.json").read_text())
    kind = spec["name"].split("-")[0]
    with open(Path(os.environ["SCRIPTED_STARTS"]), "a") as starts:
        starts.write(f"{sys.argv[-1]}\n")
    print(f"this is {sys.argv[-1]}", flush=True)
    if kind == "long":
        long()
    if kind == "refused":
        print("sweep: task: no file a.py" if "why" in spec["name"] else "no words", flush=True)
        sys.exit(2)
    if kind == "crashes":
        print("sweep: task: a.py:A: the process that ran its code ended: Aborted", flush=True)
        os._exit(3)
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
