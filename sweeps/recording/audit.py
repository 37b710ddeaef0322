"""Audit: compare MLflow's runs with the spool and the search; send again what is missing."""

from collections.abc import Callable, Collection

from espalier.sweeps.recording.feedback import Feedback
from espalier.sweeps.recording.names import ENDED, list_trials
from espalier.sweeps.recording.records import SweepClosed, SweepOpened
from espalier.sweeps.recording.runs import SweepRuns
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.writer import RunWriter


def lacking_trials(runs: SweepRuns, spool: Spool, ended: Collection[int]) -> set[int | None]:
    """Return the trials whose runs differ from the spool; None stands for the sweep's own run.

    ended: trials that have ended, according to the search.
    """
    parent = runs.by_trial.get(None)
    parent_id = parent.run_id if parent else ""
    lacking: set[int | None] = set()
    for trial in spool.begun.union(ended):
        run = runs.by_trial.get(trial)
        if (
            run is None
            or ((trial in ended or trial in spool.ended) and run.status not in ENDED)
            or run.step < spool.reached.get(trial, -1)
            or run.parent != parent_id
            or (trial in ended and not run.has_params)
        ):
            lacking.add(trial)
    opens = bool(ended) or any(isinstance(record, SweepOpened) and record.params for record in spool.own)
    closes = bool(spool.own) and isinstance(spool.own[-1], SweepClosed)
    if parent is None or (opens and not parent.has_params) or (closes and parent.status not in ENDED):
        lacking.add(None)
    return lacking


def audit(
    connect: Callable[[], RunWriter], spool: Spool, feedback: Feedback, ended: Collection[int]
) -> set[int | None]:
    """Read all runs of a sweep from MLflow, send again what is missing or was refused, and end runs still RUNNING.

    Return the trials that are still missing. connect: makes a writer, which reads the existing runs.
    """
    if not (spool.begun or spool.own or ended):
        return set()
    writer = connect()
    lacking = lacking_trials(writer.runs, spool, ended)
    refused = {int(refusal["trial"]) for refusal in spool.refusals() if refusal["trial"].isdigit()}
    if wanted := lacking | refused:
        _send_again(writer, spool, feedback, wanted, lacking)
        writer = connect()
        lacking = lacking_trials(writer.runs, spool, ended)
    writer.runs.end_running()
    return lacking


def _send_again(
    writer: RunWriter, spool: Spool, feedback: Feedback, wanted: Collection[int | None], lacking: set[int | None]
) -> None:
    """Send all lines of some trials in the spool."""
    lines = spool.lines_of(wanted)
    if lacking and lines:
        feedback.note(f"MLflow lacked records of {list_trials(lacking)}; they were sent again from {spool.path}")
    spool.forget_refusals()
    writer.runs.forget_steps(wanted)
    writer.send(lines)
