"""The backend of the routes, and the sweeps that a caller may see."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi import Path as Place
from sqlalchemy import select
from sqlalchemy.orm import undefer

from espalier.services.clusters.cluster import Cluster
from espalier.services.database.store import Store
from espalier.services.database.tables import Submission
from espalier.services.http.access import Access
from espalier.services.http.metrics import Metrics
from espalier.services.http.problems import Problem
from espalier.services.http.streams import Slots
from espalier.services.queue import Queue, position
from espalier.services.reading.answers import Sweep
from espalier.services.reading.reports import Reports
from espalier.services.reading.trials import Sweeps
from espalier.services.reading.view import sweep_view
from espalier.services.settings import Settings
from espalier.services.tokens import Caller
from espalier.sweeps.home import SWEEP_ID


@dataclass
class Backend:
    """The objects that the routes use."""

    settings: Settings
    store: Store
    cluster: Cluster
    queue: Queue
    sweeps: Sweeps
    access: Access
    metrics: Metrics
    slots: Slots
    reports: Reports


def backend_of(request: Request) -> Backend:
    """Return the application's backend."""
    return request.app.state.backend


BackendDep = Annotated[Backend, Depends(backend_of)]
Id = Annotated[str, Place(pattern=f"^{SWEEP_ID}$", examples=["names-20261121-1a2b3c4d"])]


def own_sweep(backend: Backend, caller: Caller, sweep: str) -> Submission:
    """Return a sweep that the caller may see. Raises Problem 404, also for other owners' sweeps."""
    with backend.store.reading() as session:
        of_this_id = select(Submission).where(Submission.sweep == sweep)
        submission = session.scalar(of_this_id.options(undefer(Submission.spec)))
    if submission is None or not (caller.admin or submission.owner == caller.owner):
        raise Problem(404, f"there is no sweep '{sweep}' of yours")
    return submission


def view_of(backend: Backend, submission: Submission) -> Sweep:
    """Return a submission as an answer, with its position in the queue."""
    with backend.store.reading() as session:
        before = position(session, submission)
    return sweep_view(submission, backend.sweeps, before)
