"""Services over homes that hold real sweeps, whose submissions are written by hand."""

import shutil
import time
from pathlib import Path
from typing import Any

from espalier.services.database.store import Store
from espalier.services.database.tables import Owner, State, Submission
from espalier.sweeps.search.store import SweepStore


def submission(sweep: str, spec: dict[str, Any], **changed: Any) -> Submission:
    """Return a submission as the service keeps it. It has finished, a minute ago."""
    now = time.time()
    fields: dict[str, Any] = {
        "sweep": sweep, "owner": "ada", "name": sweep.split("-")[0], "spec": spec, "fingerprint": "", "reason": "",
        "state": str(State.FINISHED), "trials": spec.get("trials") or 0, "gpus": 0.0, "hours": 24.0, "attempt": 0,
        "created": now - 90, "changed": now - 60, "ran_s": 30.0,
    }  # fmt: skip
    return Submission(**fields | changed)


def hold(store: Store, home: Path, sweep: Any, **changed: Any) -> str:
    """Copy a real sweep into a service's home, and its submission into the database; return its id."""
    shutil.copy(sweep.home / "optuna.journal", home / "optuna.journal")
    shutil.copytree(sweep.folder, home / "sweeps" / sweep.id)
    spec = SweepStore.open_for_reading(str(home / "optuna.journal")).load(sweep.id).spec.model_dump(mode="json")
    put(store, submission(sweep.id, spec, **changed))
    return sweep.id


def put(store: Store, *submissions: Submission) -> None:
    """Put submissions into the database, with their owners."""
    with store.session() as session:
        for each in submissions:
            if session.get(Owner, each.owner) is None:
                session.add(Owner(name=each.owner, created=time.time()))
                session.flush()
            session.add(each)
