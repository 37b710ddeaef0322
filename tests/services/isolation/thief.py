"""What a stranger's code would try from inside a job: it prints what it can read, change and see of the service."""

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def tried(what: Callable[[], Any]) -> Any:
    """Return what an attempt gives, or how it fails."""
    try:
        return what()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def opened(path: Path, flags: int) -> bool:
    """Whether a file can be opened so."""
    try:
        os.close(os.open(path, flags))
        return True
    except OSError:
        return False


def keeper() -> int:
    """Return the first process above this one that is another user's: between them is Ray, which a task may kill."""
    pid = os.getpid()
    while os.stat(f"/proc/{pid}").st_uid == os.getuid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def steal(home: str) -> dict[str, Any]:
    """Return what can be read, written and seen from here of a service's home, and what became of each attempt."""
    root, code = Path(home), Path(os.environ.get("SWEEP_JOB_CODE", ".")).absolute()
    files = [Path(folder) / name for folder, _, names in os.walk(root) for name in names]
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and os.stat(f"/proc/{pid}").st_uid != os.getuid()]
    attempts: dict[str, Callable[[], Any]] = {
        "a token": lambda: sqlite3.connect(root / "service.db").execute("DELETE FROM tokens"),
        "root again": lambda: os.setuid(0),
        "the code": lambda: (code / "mine.py").write_text("changed"),
        "the mode of the code": lambda: (code / "mine.py").chmod(0o666),
        "a file beside the code": lambda: (code / "torch.py").write_text("changed"),
        "the next attempt's code": lambda: code.parent.rename(code.parent.with_name("aside")),
        "the record's log": lambda: os.open(os.readlink("/proc/self/fd/1"), os.O_RDWR),
        "the record's end": lambda: Path("end").write_text("0"),
        "the record's folder": lambda: Path("../other").mkdir(),
        "the keeper": lambda: os.kill(keeper(), 9),
        "the mounts": lambda: os.stat(root).st_uid == os.getuid() or os.rmdir(root / "jobs"),
        "the root's way out": lambda: os.chroot("/proc/1/root"),
    }
    return {
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "readable": sorted(str(path.relative_to(root)) for path in files if opened(path, os.O_RDONLY)),
        "writable": sorted(str(path.relative_to(root)) for path in files if opened(path, os.O_WRONLY)),
        "environment": dict(os.environ),
        "environments": [pid for pid in others if opened(Path(f"/proc/{pid}/environ"), os.O_RDONLY)],
        "succeeded": sorted(name for name, attempt in attempts.items() if not str(tried(attempt)).count("Error:")),
    }


if __name__ == "__main__":
    own = Path(os.environ["SWEEP_JOB_HOME"])
    (own / "checkpoint.pt").write_text("what was learnt")
    print(json.dumps(steal(str(own.parents[1]))) if "thief" in sys.argv[-1] else "honest")
