"""The driver: one sweep from its spec to its closing records. It validates, runs the loop, and closes."""

import gc
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput, located
from espalier.core.garbage import gc_paused
from espalier.core.loading.folders import (
    copy_in_use,
    current_folder,
    restoring_folder,
    use_copy,
    work_in,
    working_folder,
)
from espalier.sweeps import home as homes
from espalier.sweeps import identity
from espalier.sweeps.address import no_secret
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.checks.knobs import try_knobs
from espalier.sweeps.checks.preflight import check_spec
from espalier.sweeps.guard import ENDED, STOPPED, dismiss_guard, set_messages
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.recording.tracking_uri import public_uri, sweep_tracking_uri, tracking_origin
from espalier.sweeps.references import wanted_references
from espalier.sweeps.running import machine
from espalier.sweeps.running.checkpoint_room import CheckpointRoom
from espalier.sweeps.running.closing import Closing
from espalier.sweeps.running.deadline import Deadline, time_budget
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.ledger import Ledger
from espalier.sweeps.running.loop import Loop, keep_error
from espalier.sweeps.running.machine import Allocation, RaySession
from espalier.sweeps.running.memory_watch import MemoryWatch
from espalier.sweeps.running.messages import WorkerSettings
from espalier.sweeps.running.own_code import change_since, record_code, recorded_copy
from espalier.sweeps.running.parked_ends import ParkedEnds
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.running.reference_runs import ReferenceRuns
from espalier.sweeps.running.work import WorkCount
from espalier.sweeps.running.workers import KILL_AFTER_S, Workers
from espalier.sweeps.search.attributes import BIRTH, REFERENCES
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.extending import extension_of
from espalier.sweeps.search.extension import More
from espalier.sweeps.search.parking import none_known
from espalier.sweeps.search.rule import stopping_rule
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore, find_sweep, looked_up
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.space import AUTO
from espalier.sweeps.spec.spec import SweepSpec

FIRST_SEND_S = 20.0  # importing MLflow takes seconds of CPU time that the starting workers need
STOP_FILE = "stop"  # in the folder of one start of the driver: it has been asked to stop
TIME_FILE = "time-is-up"  # in the same folder: the time of the budget is
Watch = Callable[[Progress], AbstractContextManager[object]]
"""Shows the progress of a sweep while a block runs."""


def start(
    spec: SweepSpec,
    home: Home,
    watch: Watch,
    session: RaySession,
    sweep: str | None = None,
    changed: bool = False,
    on_named: Callable[[], object] = lambda: None,
) -> Summary:
    """Run a new sweep, with a new id or a given one. An existing sweep of that id is resumed if it has the same spec.

    changed: see `resume`. on_named: see `check_spec`. Raises BadInput before training if it cannot run.
    """
    begin = time.monotonic()
    if sweep is not None:
        home.check_id(sweep)
    store = SweepStore.open(home.storage)
    if sweep and store.exists(sweep):
        record = store.load(sweep)
        identity.check_same_spec(sweep, record.facts, record.spec_like(spec), spec)
        on_named()
        return resume(sweep, home, watch, session, changed, anyway=not changed)
    if sweep:
        _check_unused(home, sweep)
    spec = looked_up(spec, store) if spec.first else spec
    if spec.learn_from:
        store.taken(spec, {})
    spec, facts, notes = _looked_at(spec, home, on_named)
    sweep = sweep or homes.new_id(spec.name)
    lock = DriverLock(home, sweep)  # two processes may start the same id at once
    with _gone_unless_begun(home, store, sweep), lock, restoring_folder():
        code, note = record_code(spec, home, sweep)
        record = store.create(sweep, spec, facts | code | identity.git_state(Path.cwd()))
        with _ending_in_one_line(home, sweep):
            try:
                driver = Driver(home, record, begin)
                learns = f"it begins with {record.taken.sentence}" if record.taken else ""
                driver.progress.notes += [*notes, *filter(None, [note, learns])]
                return driver.drive(watch, session)
            except BadInput:  # a sweep that this machine refuses leaves no files
                store.delete(sweep)
                shutil.rmtree(home.sweep(sweep), ignore_errors=True)
                raise


def _looked_at(
    spec: SweepSpec, home: Home, on_named: Callable[[], object]
) -> tuple[SweepSpec, dict[str, Any], list[str]]:
    """Return a spec with its range of rates, what is known of it at its start, and what its knobs did in a short run.

    Raises BadInput if it cannot run.
    """
    facts = check_spec(spec, home, on_named)
    notes = try_knobs(spec) if spec.is_foreign else []
    if spec.space.lr_exponent == AUTO:
        from espalier.sweeps.checks.lr_range import resolved

        spec, range_facts = resolved(spec, home)
        facts |= range_facts
    facts |= {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": identity.versions()}
    facts |= {REFERENCES: [each.name for each in wanted_references(spec)]}
    facts |= {BIRTH: uuid.uuid4().hex}
    facts |= {"tracking": tracking_origin(home.path), identity.FOLDER: str(current_folder())}
    return spec, facts, notes


def _continue(home: Home, sweep: str) -> str:
    """Return what to do once a sweep has been stopped."""
    return f"continue: {home.resume_command(sweep)}"


@contextmanager
def _ending_in_one_line(home: Home, sweep: str) -> Iterator[None]:
    """Turn an error of the block into BadInput that says how to continue. That of a bug is kept in the sweep's folder.

    Unchanged are BadInput, and an OSError unless the disk is full.
    """
    then = _continue(home, sweep)
    try:
        with homes.full_disk_as_bad_input(then):
            yield
    except (BadInput, OSError):
        raise
    except Exception as error:
        file = keep_error(home.sweep(sweep), "driver", traceback.format_exc())
        raise BadInput(f"{sweep} stopped at {located(error)}; its traceback is in {file}; {then}") from error


def _check_unused(home: Home, sweep: str) -> None:
    """Raise BadInput for an id with records of another sweep: MLflow would mix the two."""
    if home.has_records(sweep):
        raise BadInput(
            f"--id {sweep}: {home.sweep(sweep)} has the records of a sweep that {no_secret(home.storage)} does not "
            "know; give another id, or move the folder away"
        )


@contextmanager
def _gone_unless_begun(home: Home, store: SweepStore, sweep: str) -> Iterator[None]:
    """Delete the folder of a sweep that could not begin, for example on a full disk."""
    try:
        yield
    except OSError:
        if not store.exists(sweep):
            shutil.rmtree(home.sweep(sweep), ignore_errors=True)
        raise


def resume(
    wanted: str, home: Home, watch: Watch, session: RaySession, changed: bool = False, anyway: bool = False
) -> Summary:
    """Continue an interrupted sweep, or send the pending records of an ended one.

    Raises BadInput if something is left to train and the task's code or data have changed since the sweep last ran.
    changed: continue all the same, and record it. anyway: compare also if nothing is left to train.
    """
    begin = time.monotonic()
    record = find_sweep(home, SweepStore.open(home.storage), wanted)
    check_reachable(sweep_tracking_uri(record, home))
    with _ending_in_one_line(home, record.id), DriverLock(home, record.id), restoring_folder():
        driver = Driver(home, record, begin)
        return driver.drive(watch, session, partial(_check_unchanged, driver, changed, anyway), anyway)


def extend(
    wanted: str, home: Home, watch: Watch, session: RaySession, more: More, changed: bool = False, by: str = ""
) -> Summary:
    """Give a sweep more to train, and train it. Its trials so far stay as they are. changed: see `resume`.

    by: who wished it; "" for the user of this process.

    Raises BadInput, with nothing stored, for what it cannot be extended by, and where its code or data have changed.
    """
    begin = time.monotonic()
    record = find_sweep(home, SweepStore.open(home.storage), wanted)
    check_reachable(sweep_tracking_uri(record, home))
    with _ending_in_one_line(home, record.id), DriverLock(home, record.id), restoring_folder():
        record = SweepStore.open(home.storage).load(record.id)  # as its last driver left it
        driver = Driver(home, record.extended(extension_of(record, more, by)), begin)
        return driver.drive(watch, session, partial(_begin_extension, driver, changed), check_anyway=True)


def _begin_extension(driver: "Driver", changed: bool) -> None:
    """Store an extension, unless the code or the data have changed."""
    _check_unchanged(driver, changed, todays=False)
    driver.record.store_extensions()


def _check_unchanged(driver: "Driver", changed: bool, todays: bool) -> None:
    """Raise BadInput if a sweep cannot continue with its code and data; record what has changed.

    Its code is the recorded copy; with `changed`, or without a copy, today's. todays: today's must be the same.
    """
    record, home = driver.record, driver.home
    facts = record.facts
    folder = facts.get(identity.FOLDER)
    if folder and Path(folder).is_dir():
        work_in(folder)
    copy = None if changed else recorded_copy(record, home)
    if copy and todays:
        identity.check_unchanged(record.id, facts, check_spec(record.spec, home), home.resume_command(record.id))
    use_copy(copy)
    todays_code, note = record_code(record.spec, home, record.id) if changed else ({}, "")
    now = check_spec(record.spec, home) | {"versions": identity.versions()} | identity.git_state(Path.cwd())
    now |= {identity.COPY: identity.periods(facts)[-1][identity.COPY]} if copy else todays_code
    if not changed:
        identity.check_unchanged(record.id, facts, now)
    driver.progress.notes += filter(None, [change_since(record, home) if copy else note])
    if identity.differs(facts, now):
        unfinished = record.unfinished(_checkpoints(home, record))
        record.add_change(identity.period(now, unfinished.first, unfinished.partly, unfinished.anew))


def _checkpoints(home: Home, record: SweepRecord) -> dict[str, str]:
    """Return the last checkpoint of each interrupted cohort, if it has one."""
    folders = {c: homes.last_checkpoint(home.sweep(record.id), c) for c in record.interrupted_cohorts()}
    return {cohort: folder for cohort, folder in folders.items() if folder}


class Driver:
    """Drives a sweep whose lock this process holds: trains it and records it."""

    def __init__(self, home: Home, record: SweepRecord, begin: float):
        """begin: the start time of the command."""
        self.home, self.record, self.spec = home, record, record.spec
        self.folder = home.sweep(record.id)
        self.interrupt = Interrupt()
        self.progress = Progress.of(record.id, self.spec, begin)
        self.progress.wanted = record.wanted()
        self.progress.work = WorkCount(record.work)
        self.ledger = Ledger(record, self.progress.work)

    def drive(
        self,
        watch: Watch,
        session: RaySession,
        check_before_training: Callable[[], None] = lambda: None,
        check_anyway: bool = False,
    ) -> Summary:
        """Run to the end or an interrupt. check_anyway: check before training even if nothing is left to train."""
        self.progress.stopping, self.progress.halted = self.interrupt.asked.is_set, lambda: self.interrupt.halted
        with self.interrupt.listening(), watch(self.progress):
            self.progress.take_results(self.record.results())
            unfinished = self.progress.left() > 0 or bool(self.record.references_left())
            if unfinished or check_anyway:
                check_before_training()
            then = _continue(self.home, self.record.id)
            set_messages(f"{STOPPED} at once; {then}", f"{ENDED}; {then}")
            recorder = self._recorder()
            tracking = Tracking(recorder, self.record, self.spec, self.folder)
            closing = Closing(self.record, tracking, self.progress, self.ledger, self.interrupt)
            try:
                if unfinished or not recorder.spool.is_closed:  # else only the spool has to be sent
                    tracking.open()
                    search = self._train(session, tracking) if unfinished else None
                    dismiss_guard()  # from here on no code of the task runs in this process
                    closing.settle(search)
                summary = closing.finish()
                session.end()
                return summary
            finally:
                gc.unfreeze()

    def _recorder(self) -> Recorder:
        uri, parent = sweep_tracking_uri(self.record, self.home), self.record.parent
        policy = SendPolicy(first_wait_s=FIRST_SEND_S)
        return Recorder(
            uri,
            self.record.id,
            self.spec.name,
            self.folder,
            policy,
            parent.experiment_id if parent else None,
            self.spec.results.mlflow,
            self.record.birth,
        )

    def _train(self, session: RaySession, tracking: Tracking) -> Search | None:
        """Start Ray and run the loop to its end; return the search, None if the wait for Ray was interrupted."""
        self.progress.phase = "starting Ray"
        session.start()
        with gc_paused():
            from espalier.sweeps.running import tune  # takes a second, while Ray's processes start
        try:
            resources = session.resources(lambda: self.interrupt.since() > KILL_AFTER_S)
        except machine.GivenUp:
            return None
        allocation = machine.allocate(self.spec, *resources)
        self.interrupt.take_signals()  # Ray has replaced the handler of SIGTERM
        self.progress.phase = "starting workers"
        checkpoints, provenance = _checkpoints(self.home, self.record), self.ledger.provenance
        ends = ParkedEnds(self.folder / homes.STATES) if self.spec.search.by_pieces else None
        find = ends.find if ends else none_known
        left = None if self.spec.budget.seconds is None else time_budget(self.record, allocation)
        search = Search(self.record, allocation.cohorts, allocation.cohort_trials, checkpoints, provenance, find, left)
        tune_folder = self.home.next_tune(self.record.id)
        settings = self._settings(allocation, tune_folder)
        deadline = Deadline(self.record, search, left, Path(settings.time_file)) if left else None
        workers = Workers(Path(settings.notes), Path(settings.stop_file), self.progress, self.interrupt, session)
        loop = Loop(
            self.folder,
            settings,
            self.interrupt,
            search,
            self.progress,
            tracking,
            workers,
            self.ledger,
            ReferenceRuns(self.record, tracking, self.progress),
            ends,
            deadline,
            *self._of_processes(settings, search, allocation, session),
        )
        rule = stopping_rule(self.record)
        tune.run_tune(loop, allocation, tune_folder, self.record.id, rule)
        if deadline:
            deadline.check()
            deadline.keep()
        tracking.recorder.wake()
        gc.freeze()  # keep all of Ray's handles alive from here on, while Ray shuts down in its thread
        session.leave()
        return search

    def _of_processes(
        self, settings: WorkerSettings, search: Search, allocation: Allocation, session: RaySession
    ) -> tuple[CheckpointRoom | None, MemoryWatch | None]:
        """Return what looks after the disk and the memory of trials that are processes."""
        if not self.spec.is_foreign:
            return None, None
        room = CheckpointRoom(Path(settings.trial_folders), search, self.progress)
        here = session.address is None
        return room, MemoryWatch(self.spec.resources, allocation.cohorts, here, self.progress)

    def _settings(self, allocation: Allocation, tune_folder: Path) -> WorkerSettings:
        """Return the settings of all workers."""
        patience, copy, parent = self.spec.resources.patience, copy_in_use(), self.record.parent
        return WorkerSettings(
            sweep=self.record.id,
            spec=self.spec.model_dump(mode="json"),
            cohort_trials=allocation.cohort_trials,
            lanes=allocation.lanes,
            folder=str(working_folder()),
            notes=str(self.folder / homes.WORKERS),
            states=str(self.folder / homes.STATES),
            trial_folders=str(self.folder / homes.TRIALS),
            stop_file=str(tune_folder / STOP_FILE),
            time_file=str(tune_folder / TIME_FILE),
            patience_s=None if patience == "auto" else patience,
            threads=max(1, int(allocation.cpus)),
            device="cuda" if allocation.gpus else "cpu",
            cpus=allocation.cpus,
            gpus=allocation.gpus,
            code=copy.folder if copy else "",
            code_root=copy.root if copy else "",
            tracking_uri=public_uri(sweep_tracking_uri(self.record, self.home)) if self.spec.results.mlflow else "",
            experiment=parent.experiment_id if parent else None,
            birth=self.record.birth,
        )
