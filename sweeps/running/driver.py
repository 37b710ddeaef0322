"""One sweep from its spec to its closing records: ties the search, Ray Tune, the recorder and the display together."""

import gc
import json
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput
from espalier.core.loading.folders import current_folder, restoring_folder, work_in
from espalier.core.training.events import Ended, Event, TrialId
from espalier.sweeps import home as homes
from espalier.sweeps import identity
from espalier.sweeps.address import no_secret
from espalier.sweeps.browse.details import find_sweep, sweep_tracking_uri
from espalier.sweeps.garbage import gc_paused
from espalier.sweeps.guard import ENDED, STOPPED, dismiss_guard, set_messages
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.recording.tracking_uri import tracking_origin
from espalier.sweeps.results.closing import Summary
from espalier.sweeps.results.trial_result import TrialResult, at_rest, best_trial
from espalier.sweeps.running import deaths, machine
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.machine import RaySession
from espalier.sweeps.running.preflight import check_spec
from espalier.sweeps.running.progress import Progress, trials_text
from espalier.sweeps.running.retries import Decision, decide
from espalier.sweeps.running.watchdog import Death
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import ParentRun, SweepRecord, Work
from espalier.sweeps.search.trial_events import Fork, Outcome, Report, Score, Start, TrialEvent
from espalier.sweeps.spec.space import AUTO
from espalier.sweeps.spec.spec import SweepSpec

ERRORS = "errors"  # in a sweep's folder: what a task's code raised, whole, a file for each trial or cohort it ended
LOST = " before"  # after a cohort's name: what it had trained when its checkpoints were lost
FIRST_SEND_S = 20.0  # importing MLflow takes seconds of a core that the workers' start needs
KILL_AFTER_S, LEAVE_AFTER_S = 5.0, 6.0  # after an interrupt: workers that have not stopped; those that cannot be killed
KILL_SILENT_AFTER_S, LEAVE_SILENT_AFTER_S = 0.5, 1.5  # those that have said nothing yet; Tune waits 5 s for each start
LATE_S = 10.0  # after those that did not stop are left alone, for workers that had not even begun
CLOSING_S, CLOSING_LEAST_S = 9.0, 3.0  # after an interrupt, for what is recorded
CONTINUE = "continue: sweep resume {}"
RAY_DEAD = "Ray's own process (raylet) has ended: somebody killed it, or the machine was out of memory"
LINKS_WAIT_S = 10.0  # for the runs of trials that have ended, whose names Optuna takes only before it is told


def start(
    spec: SweepSpec,
    home: Home,
    watch: Callable[[Progress], Any],
    session: RaySession,
    sweep: str | None = None,
    changed: bool = False,
    on_named: Callable[[], Any] = lambda: None,
) -> Summary:
    """Run a new sweep, under an id of its own or a given one; one that exists already goes on, if that is its spec.

    changed: as of `resume`. on_named: as of `check_spec`. Raises BadInput before anything is trained if it cannot run.
    """
    begin = time.monotonic()
    store = SweepStore.open(home.storage)
    if sweep and store.exists(sweep):
        begun = store.load(sweep)
        identity.check_same_spec(sweep, begun.facts, begun.spec, spec)
        on_named()
        return resume(sweep, home, watch, session, changed, anyway=not changed)
    if sweep:
        _check_unused(home, sweep)
    facts = check_spec(spec, home, on_named)
    if spec.space.lr_exponent == AUTO:
        from espalier.sweeps.checks.lr_range import resolved

        spec, found = resolved(spec, home)
        facts |= found
    sweep = sweep or homes.new_id(spec.name)
    facts |= {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": identity.versions()}
    facts |= {"tracking": tracking_origin(home.path), identity.FOLDER: str(current_folder())}
    with _gone_unless_begun(home, store, sweep), DriverLock(home, sweep):  # two processes may begin one id at once
        sweep_record = store.create(sweep, spec, facts | identity.git_state(Path.cwd()))
        with homes.told_when_full(CONTINUE.format(sweep)):
            try:
                return _drive(Driver(home, sweep_record, begin), watch, session)
            except BadInput:  # what the machine refuses leaves nothing behind
                store.delete(sweep)
                shutil.rmtree(home.sweep(sweep), ignore_errors=True)
                raise


def _check_unused(home: Home, sweep: str) -> None:
    """Raise BadInput for an id under which another sweep has left records: two would become one in MLflow."""
    if home.has_records(sweep):
        raise BadInput(
            f"--id {sweep}: {home.sweep(sweep)} has the records of a sweep that {no_secret(home.storage)} does not "
            "know; give another id, or move the folder away"
        )


def resume(
    wanted: str,
    home: Home,
    watch: Callable[[Progress], Any],
    session: RaySession,
    changed: bool = False,
    anyway: bool = False,
) -> Summary:
    """Continue an interrupted sweep, or send what an ended one could not record.

    Raises BadInput if there is something left to train and the task's code or the data are others than when the sweep
    last ran. changed: go on all the same, and record it. anyway: compare them also where nothing is left to train.
    """
    begin = time.monotonic()
    sweep_record = find_sweep(home, SweepStore.open(home.storage), wanted)
    check_reachable(sweep_tracking_uri(sweep_record, home))
    driver = Driver(home, sweep_record, begin)
    driver.check_before_training, driver.check_anyway = lambda: _check_unchanged(driver, changed), anyway
    with homes.told_when_full(CONTINUE.format(driver.sweep)), DriverLock(home, driver.sweep), restoring_folder():
        return _drive(driver, watch, session)


def _check_unchanged(driver: "Driver", changed: bool) -> None:
    """Raise BadInput if a sweep cannot go on with the code and the data as they are now; note what has changed."""
    facts = driver.record.facts
    folder = facts.get(identity.FOLDER)
    if folder and Path(folder).is_dir():
        work_in(folder)
    now = check_spec(driver.spec, driver.home) | {"versions": identity.versions()} | identity.git_state(Path.cwd())
    if not changed:
        identity.check_unchanged(driver.sweep, facts, now)
    if identity.differs(facts, now):
        unfinished = driver.record.unfinished(driver.checkpoints())
        driver.record.add_change(identity.period(now, unfinished.first, unfinished.partly, unfinished.anew))


@contextmanager
def _gone_unless_begun(home: Home, store: SweepStore, sweep: str) -> Iterator[None]:
    """Leave no folder of a sweep that could not even begin, as on a disk that takes nothing."""
    try:
        yield
    except OSError:
        if not store.exists(sweep):
            shutil.rmtree(home.sweep(sweep), ignore_errors=True)
        raise


def _drive(driver: "Driver", watch: Callable[[Progress], Any], session: RaySession) -> Summary:
    """Drive a sweep that this process holds."""
    with (
        Interrupt().listening() as interrupt,
        watch(driver.progress),
    ):
        driver.progress.stopping = interrupt.asked.is_set
        return driver.drive(interrupt, session)


class Driver:
    """Holds the parts of one running sweep."""

    def __init__(self, home: Home, sweep_record: SweepRecord, begin: float):
        self.home, self.record, self.begin = home, sweep_record, begin
        self.sweep = sweep_record.id
        self.spec = sweep_record.spec
        self.folder = home.sweep(self.sweep)
        self.uri = sweep_tracking_uri(sweep_record, home)
        objective = self.spec.objective
        self.progress = Progress(
            self.sweep, self.spec.trials_wanted, self.spec.budget.steps, objective.mode, objective.metric, begin
        )
        self.progress.searched = self.spec.space.searched()
        self.search: Search | None = None
        self.recorder: Recorder | None = None
        self.tracking: Tracking | None = None
        self.provenance = sweep_record.provenance  # by cohort
        self.runs: dict[int, str] = {}  # trial -> MLflow run, as the recorder makes them known
        self.heard: dict[str, None] = {}  # cohorts, by this driver, the first first
        self.deaths: dict[str, list[Death]] = {}  # of the workers of a cohort since it last got on
        self.resumed_from: dict[str, str | None] = {}
        self.missed: set[str] = set()  # cohorts of which nothing has been heard for long
        self.silent: set[str] = set()  # cohorts that have begun, or begun again, and said nothing yet
        self.halted: str | None = None
        self.leaving = False
        self.interrupt: Interrupt | None = None
        self.programs: list[str] = sweep_record.programs
        self.check_before_training: Callable[[], None] = lambda: None
        self.check_anyway = False  # also where nothing is left to train
        self.noted: set[str] = set()  # cohorts whose work an earlier driver noted

    def drive(self, interrupt: Interrupt, session: RaySession) -> Summary:
        """Train what is to be trained and record it."""
        self.interrupt = interrupt
        self.progress.states = {t.number: t.state for t in self.record.results()}
        for cohort, work in self.record.work.items():
            self.progress.lane_steps[cohort], self.progress.steps_shared[cohort] = work.lane_steps, work.steps_shared
            self.progress.steps_before[cohort] = work.lane_steps
            self.noted.add(cohort)
        self.progress.share_before = 1 - self.progress.left() / self.progress.wanted
        self._note_best()
        unfinished = self.progress.left() > 0
        if unfinished or self.check_anyway:
            self.check_before_training()
        then = CONTINUE.format(self.sweep)
        set_messages(f"{STOPPED} at once; {then}", f"{ENDED}; {then}")
        self.recorder = Recorder(
            self.uri,
            self.sweep,
            self.spec.name,
            self.folder,
            SendPolicy(first_wait_s=FIRST_SEND_S),
            parent.experiment if (parent := self.record.parent) else None,
        )
        self.tracking = Tracking(self.recorder, self.record, self.spec, self.folder)
        try:
            if unfinished or not self.recorder.spool.is_closed:  # else there is only the spool to be sent
                self.tracking.open()
                if unfinished:
                    self._train(interrupt, session)
                dismiss_guard()  # from here on no code of the task's can hold this process up
                self._settle(interrupt.asked.is_set())
            summary = self._finish(interrupt.asked.is_set())
            session.end()
            return summary
        finally:
            gc.unfreeze()

    def _train(self, interrupt: Interrupt, session: RaySession) -> None:
        self.progress.phase = "starting Ray"
        session.start()
        with gc_paused():
            from espalier.sweeps.running import (
                tune as runs,  # Tune, which takes a second to import, while Ray's processes start
            )

        try:
            resources = session.resources(lambda: interrupt.since() > KILL_AFTER_S)
        except machine.GivenUp:
            return
        layout = machine.shape(self.spec, *resources)
        interrupt.take_signals()  # Ray has taken SIGTERM for itself
        self.progress.phase = "starting workers"
        recorder = self.recorder
        assert recorder
        self.search = Search(self.record, layout.cohorts, layout.cohort_trials, self.checkpoints())
        told = {
            "notes": str(self.folder / homes.WORKERS),
            "patience_s": None if self.spec.resources.patience == "auto" else self.spec.resources.patience,
            "sweep": self.sweep,
            "spec": self.spec.model_dump(mode="json"),
            "lanes": layout.lanes,
            "folder": str(current_folder()),
            "threads": max(1, int(layout.cpus)),
            "device": "cuda" if layout.gpus else "cpu",
        }
        place = self.home.next_tune(self.sweep)
        runs.run_tune(
            self.search,
            lambda: told | given if (given := self._give_out()) else None,
            layout,
            place,
            interrupt.asked,
            lambda: self._look(interrupt, session),
            self._on_lost,
            self._on_result,
        )
        recorder.wake()
        gc.freeze()  # nothing that holds a handle of Ray's is let go from here on, while Ray ends beside what is left
        session.leave()

    # --- what the cohorts say ----------------------------------------------------------------------------------------

    def checkpoints(self) -> dict[str, str]:
        """Return the last checkpoint of each interrupted cohort that has one."""
        folders = {c: homes.last_checkpoint(self.folder, c) for c in self.record.interrupted_cohorts()}
        return {cohort: folder for cohort, folder in folders.items() if folder}

    def _give_out(self) -> dict[str, Any] | None:
        """Return what the worker of the next cohort is told; None while there is none to train.

        Before Optuna is asked for more, the runs of trials that have ended are awaited: it is told of them first.
        """
        assert self.search and self.recorder and self.interrupt
        search, stop = self.search, self.interrupt.asked
        if search.asks_next:
            self.recorder.wait_for_runs(search.ended.keys(), LINKS_WAIT_S, stop)
            self._take_links()
        plan = search.next_cohort(self.runs)
        if plan is None:
            return None
        cohort = plan.id
        deaths.forget(self.folder / homes.WORKERS, cohort)
        self.resumed_from[cohort] = plan.resume_from
        self.silent.add(cohort)
        self.progress.heard[cohort] = time.monotonic()
        self.progress.cohorts[cohort] = plan.numbers
        made = self.provenance.get(cohort)
        return plan.to_json() | {"made": made.to_json() if made else None}

    def _on_lost(self, cohort: str) -> None:
        """A worker has died: end what it was for, and give out the rest again."""
        assert self.search and self.interrupt
        self.missed.discard(cohort)
        self.progress.heard.pop(cohort, None)
        death = deaths.read_death(self.folder / homes.WORKERS, cohort)
        if self.interrupt.asked.is_set():
            self.search.cohort_over(cohort)
            return
        if death.halt:
            self._halt(death.why)
            self.search.cohort_over(cohort)
            return
        checkpoint = homes.last_checkpoint(self.folder, cohort)
        if checkpoint != self.resumed_from[cohort]:
            self.deaths.pop(cohort, None)  # it had got on
        self.deaths.setdefault(cohort, []).append(death)
        tries, decision = len(self.deaths[cohort]), decide(self.deaths[cohort])
        if decision.guilty:
            del self.deaths[cohort]
        self._note_death(cohort, death, decision)
        for member, step in decision.guilty.items():
            self._take(self.search.fail([TrialId.parse(member).number], f"{death.why}, at step {step}", step))
        if decision.give_up:
            self._take(self.search.cohort_failed(cohort, f"its worker died {tries} times: {death.why}"))
        else:
            self.search.cohort_again(cohort, decision.suspects, checkpoint)

    def _note_death(self, cohort: str, death: Death, decision: Decision) -> None:
        """Say in a line that a worker has died, whom it trained, and what comes of it."""
        guilty, trained = (
            sorted({TrialId.parse(member).number for member in members}) for members in (decision.guilty, death.members)
        )
        step = f" at step {max(death.members.values()):,}" if len(death.lanes) == 1 else ""
        whom = f", training {trials_text(trained)}{step}" if trained else ""
        after = "it goes on from its last checkpoint"
        if guilty:
            after = f"{trials_text(guilty)} failed, the others go on"
        elif decision.give_up:
            after = "its trials have failed"
        self.progress.note(f"{cohort}: its worker ended: {death.why}{whom}; {after}")

    def _halt(self, why: str) -> None:
        """End the sweep as an interrupt does, since it cannot go on before a person has seen to something."""
        assert self.interrupt
        self.halted = self.halted or why
        self.interrupt.asked.set()

    def _look(self, interrupt: Interrupt, session: RaySession) -> bool:
        """Note who has not been heard of. Return whether cohorts that an interrupt has not stopped are left alone.

        Those of this machine are killed before.
        """
        assert self.search and self.recorder
        self._take_links()
        if self.recorder.full:
            self._halt(self.recorder.full)
        for cohort, text in self.progress.unheard():
            if cohort not in self.missed:
                self.missed.add(cohort)
                if session.dead():
                    self._halt(RAY_DEAD)
                else:
                    self.progress.note(text)
        if not (since := interrupt.since()):
            return False
        for cohort in self.search.live:
            if since > (KILL_SILENT_AFTER_S if cohort in self.silent else KILL_AFTER_S):
                deaths.kill_workers(self.folder / homes.WORKERS, cohort)
        leave = since > (LEAVE_SILENT_AFTER_S if self.silent >= self.search.live.keys() else LEAVE_AFTER_S)
        if leave and not self.leaving:
            self.leaving = True
            threading.Thread(target=self._kill_late_ones, args=([*self.search.live],), daemon=True).start()
        return leave

    def _kill_late_ones(self, cohorts: Sequence[str]) -> None:
        """Kill workers that begin only now: Tune, which does not look any more, would wait for them for long."""
        end = time.monotonic() + LATE_S
        while time.monotonic() < end:
            for cohort in cohorts:
                deaths.kill_workers(self.folder / homes.WORKERS, cohort)
            time.sleep(0.1)

    def _on_result(self, cohort: str, result: Mapping[str, Any]) -> None:
        assert self.search
        self.missed.discard(cohort)
        self.silent.discard(cohort)
        self.progress.heard[cohort] = time.monotonic()
        if result["done"]:
            del self.progress.heard[cohort]
        if result.get("halt"):
            self._halt(result["halt"])
            return
        if "events" in result:  # else it could not even begin
            self._on_events(cohort, result)
        if broken := result["broken"]:
            why, whole = broken
            self._take(self.search.cohort_failed(cohort, why))
            self._keep_error(cohort, whole)

    def _keep_error(self, name: str, whole: str) -> None:
        file = self.folder / ERRORS / f"{name}.txt"
        with homes.naming(file):
            file.parent.mkdir(exist_ok=True)
            file.write_text(whole, encoding="utf-8")

    def _on_events(self, cohort: str, result: Mapping[str, Any]) -> None:
        assert self.search
        progress = self.progress
        progress.phase = "training"
        if progress.training_begin is None:
            progress.training_begin = time.monotonic()
        if cohort in self.search.live and self.search.live[cohort].resume_from is None:
            self._keep_lost(cohort)
        events = [Event.from_json(event) for event in json.loads(result["events"])]
        work = result["lane_steps"], result["steps_shared"]
        progress.lane_steps[cohort], progress.steps_shared[cohort] = work
        if cohort not in self.heard:  # what an earlier driver noted may be newer than the checkpoint
            progress.steps_before.pop(cohort, None)
        # a resumed cohort brings the work of earlier drivers; a worker that died goes on with less than it had said
        progress.steps_before[cohort] = min(work[0], progress.steps_before.get(cohort, work[0]))
        if result["done"] or any(isinstance(event, Ended) for event in events):
            self.record.set_work(cohort, Work(*work))  # with the trials that have ended, whatever becomes of it
        if result["glimpse"] and progress.latest is None:
            member, step, loss = result["glimpse"]
            progress.training = TrialId.parse(member).number, step, loss
        self.heard[cohort] = None
        made = Provenance(result["program"], result["why"], result["lanes"], result["device"])
        if self.provenance.get(cohort) != made:  # before anything of it is told: what has begun goes on by it
            self.provenance[cohort] = made
            self.record.set_provenance(cohort, made)
        self._name_programs(cohort)
        progress.nodes.add(result["node"])
        self._take(self.search.hear(events))
        self._take_links()

    def _name_programs(self, cohort: str) -> None:
        """Say by which programs cohorts train now, and keep a new one with the study, for whoever closes the sweep."""
        assert self.search
        named = {name: f"{self.provenance[name].program} ({self.provenance[name].why})" for name in self.heard}
        training = dict.fromkeys(program for name, program in named.items() if name in self.search.live)
        self.progress.program = "; ".join(training) or self.progress.program
        if named[cohort] not in self.programs:
            self.programs.append(named[cohort])
            self.record.set_programs(self.programs)

    def _keep_lost(self, cohort: str) -> None:
        """Keep the count of what an earlier driver trained of a cohort that begins anew without a checkpoint."""
        if cohort in self.noted:
            earlier, counts = f"{cohort}{LOST}", (self.progress.lane_steps, self.progress.steps_shared)
            for count in counts:
                count[earlier] = count.get(earlier, 0) + count.pop(cohort)
            self.progress.steps_before[earlier] = self.progress.lane_steps[earlier]
            self.record.set_work(earlier, Work(*(count[earlier] for count in counts)))
            del self.progress.steps_before[cohort]
            self.noted.remove(cohort)

    def _take(self, events: Sequence[TrialEvent]) -> None:
        """Show and record what has happened to trials."""
        assert self.tracking
        for event in events:
            match event:
                case Start():
                    self.progress.states[event.trial] = "running"
                    self.tracking.start(event.trial, event.params, event.trunk)
                case Fork():
                    self.tracking.fork(event)
                case Report():
                    self._on_report(event)
                    self.tracking.report(event)
                case Score():
                    self.tracking.score(event)
                case Outcome():
                    self._on_end(event)
                    self.tracking.end(event, made.to_json() if (made := self._provenance_of(event.trial)) else {})

    def _provenance_of(self, trial: int) -> Provenance | None:
        """Return how a trial's cohort trains; None if that has not been heard."""
        assert self.search
        return self.provenance.get(self.search.cohort_of(trial) or "")

    def _on_report(self, report: Report) -> None:
        progress = self.progress
        if progress.first_result_s is None:
            assert self.recorder
            self.recorder.wake()  # trials get their runs before they end
            progress.first_result_s = round(time.monotonic() - self.begin, 3)
        value = report.values.get(progress.metric)
        progress.steps_done[report.trial] = max(report.step, progress.steps_done.get(report.trial, 0))
        if value is not None:
            progress.latest = (report.trial, report.step, value)

    def _on_end(self, outcome: Outcome) -> None:
        self.progress.states[outcome.trial] = outcome.status
        if trace := next((end.trace for end in outcome.replicates if end.trace), ""):
            self._keep_error(f"trial-{outcome.trial}", trace)
        value = outcome.values.get(self.progress.metric)
        if outcome.status == "complete" and value is not None:
            assert self.search
            self._offer(outcome.trial, value, self.search.point_of(outcome.trial))

    def _offer(self, trial: int, value: float, point: Mapping[str, Any]) -> None:
        best, sign = self.progress.best, self.spec.objective.sign
        if best is None or sign * value < sign * best[1]:
            self.progress.best = (trial, value, point)

    def _note_best(self) -> None:
        best = best_trial(self.record.results(), self.progress.mode)
        if best and best.value is not None:
            self.progress.best = (best.number, best.value, best.params)

    # --- what is recorded --------------------------------------------------------------------------------------------

    def _take_links(self) -> None:
        """Keep with the study which runs the recorder has made since this was called last."""
        assert self.recorder
        self.runs |= {link.trial: link.run for link in self.recorder.take_links()}
        if self.search:
            self.search.settle(self.runs)
        else:
            self.record.set_late_runs(self.runs)
        if parent := self.recorder.parent:
            self.record.set_parent(ParentRun(parent.experiment_id, parent.run, parent.experiment))

    def _settle(self, interrupted: bool) -> None:
        """Say the last words of the sweep, or of this part of it."""
        self.progress.phase = "recording"
        assert self.recorder and self.tracking
        self.recorder.flush(self._closing_s(30.0))
        self._take_links()
        if self.search:
            self.search.settle(self.runs, everything=True)
        trials = self.record.results()
        if interrupted or any(t.state == "running" for t in trials):
            self.tracking.pause()
        else:
            self.tracking.close(trials, self._totals(), self.programs)

    def _closing_s(self, usual: float) -> float:
        """Return how long the record is waited for: after an interrupt so that all ends within some ten seconds."""
        if self.interrupt and (since := self.interrupt.since()):
            return max(CLOSING_LEAST_S, CLOSING_S - since)
        return usual

    def _finish(self, interrupted: bool) -> Summary:
        self.progress.phase = "recording"
        recorder = self.recorder
        assert recorder
        trials = self.record.results()
        ended = {t.number for t in trials if t.state != "running"}
        if lacking := recorder.audit(ended, self._closing_s(60.0)):
            self._restore(trials, lacking)
        recorded = recorder.close(ended, self._closing_s(60.0))
        self._take_links()
        for note in recorder.notes:
            self.progress.note(note)
        if recorder.full and not recorded:
            self.halted = self.halted or recorder.full
        self.progress.phase = "done"
        progress = self.progress
        return Summary(
            self.sweep,
            self.spec,
            at_rest(trials),
            best_trial(trials, progress.mode),
            interrupted,
            recorded,
            time.monotonic() - self.begin,
            *self._totals(),
            progress.first_result_s,
            no_secret(self.uri) if self.uri.startswith("http") else None,
            self.progress.notes,
            self.halted,
            parent.ids if (parent := self.record.parent) else None,
        )

    def _restore(self, trials: Sequence[TrialResult], lacking: Collection[int | None]) -> None:
        """Record again what Optuna knows of trials that neither MLflow nor the spool has."""
        assert self.tracking
        self.tracking.restore([t for t in trials if t.number in lacking and t.state != "running"])
        if None in lacking:
            self.tracking.open()
            if all(t.state != "running" for t in trials):
                self.tracking.close(trials, self._totals(), self.programs)
            else:
                self.tracking.pause()

    def _totals(self) -> tuple[int, int]:
        """Return the lane-steps trained and the steps shared, by every driver of the sweep."""
        return sum(self.progress.lane_steps.values()), sum(self.progress.steps_shared.values())
