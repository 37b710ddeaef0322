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
from espalier.sweeps.garbage import gc_paused
from espalier.sweeps.guard import ENDED, STOPPED, dismiss_guard, set_messages
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.recording.tracking_uri import tracking_origin
from espalier.sweeps.results import results
from espalier.sweeps.results.overview import found_sweep, tracking_of
from espalier.sweeps.results.summary import Summary
from espalier.sweeps.running import deaths, machine
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.machine import RaySession
from espalier.sweeps.running.preflight import check_spec
from espalier.sweeps.running.progress import Progress, trials_text
from espalier.sweeps.running.retries import Decision, decide
from espalier.sweeps.running.watchdog import Death
from espalier.sweeps.search.outcome import News, Outcome, Report, Score, Start
from espalier.sweeps.search.search import (
    Search,
    create_study,
    delete_study,
    exists,
    load,
    made_by,
    note_change,
    note_link,
    note_made,
    note_parent,
    only_driver,
    open_storage,
    parent_of,
    spec_of,
    trial_results,
)
from espalier.sweeps.spec.space import AUTO
from espalier.sweeps.spec.spec import SweepSpec

WORK = "work."  # a study attribute for each cohort of which a trial has ended: lane-steps trained, steps shared
PROGRAMS = "programs"  # a study attribute: each "program (why)" that a cohort has trained by, the first first
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
    storage = open_storage(home.storage)
    if sweep and exists(storage, sweep):
        study = load(storage, sweep)
        identity.check_same_spec(sweep, study.user_attrs, spec_of(study), spec)
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
    with _gone_unless_begun(home, storage, sweep), _held(home, sweep):  # two processes may begin one id at once
        study = create_study(storage, sweep, spec, facts | identity.git_state(Path.cwd()))
        with homes.told_when_full(CONTINUE.format(sweep)):
            try:
                return _drive(Driver(home, storage, study, begin), watch, session)
            except BadInput:  # what the machine refuses leaves nothing behind
                delete_study(storage, sweep)
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
    storage = open_storage(home.storage)
    study = found_sweep(home, storage, wanted)
    check_reachable(tracking_of(study, home))
    driver = Driver(home, storage, study, begin)
    driver.check_before_training, driver.check_anyway = lambda: _check_unchanged(driver, changed), anyway
    with homes.told_when_full(CONTINUE.format(driver.sweep)), _held(home, driver.sweep), restoring_folder():
        return _drive(driver, watch, session)


def _check_unchanged(driver: "Driver", changed: bool) -> None:
    """Raise BadInput if a sweep cannot go on with the code and the data as they are now; note what has changed."""
    facts = driver.study.user_attrs
    folder = facts.get(identity.FOLDER)
    if folder and Path(folder).is_dir():
        work_in(folder)
    now = check_spec(driver.spec, driver.home) | {"versions": identity.versions()} | identity.git_state(Path.cwd())
    if not changed:
        identity.check_unchanged(driver.sweep, facts, now)
    if identity.differs(facts, now):
        note_change(driver.study, now, lambda cohort: homes.last_checkpoint(driver.folder, cohort))


@contextmanager
def _gone_unless_begun(home: Home, storage: Any, sweep: str) -> Iterator[None]:
    """Leave no folder of a sweep that could not even begin, as on a disk that takes nothing."""
    try:
        yield
    except OSError:
        if not exists(storage, sweep):
            shutil.rmtree(home.sweep(sweep), ignore_errors=True)
        raise


@contextmanager
def _held(home: Home, sweep: str) -> Iterator[None]:
    """Hold a sweep for this process. Raises BadInput if another one drives it, here or through a shared database."""
    with homes.only_driver(home.sweep(sweep), sweep), only_driver(home.storage, sweep):
        yield


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

    def __init__(self, home: Home, storage: Any, study: Any, begin: float):
        self.home, self.storage, self.study, self.begin = home, storage, study, begin
        self.sweep: str = study.study_name
        self.spec = spec_of(study)
        self.folder = home.sweep(self.sweep)
        self.uri = tracking_of(study, home)
        objective = self.spec.objective
        self.progress = Progress(
            self.sweep, self.spec.trials_wanted, self.spec.budget.steps, objective.mode, objective.metric, begin
        )
        self.progress.searched = self.spec.space.searched()
        self.search: Search | None = None
        self.recorder: Recorder | None = None
        self.tracking: Tracking | None = None
        self.made_by = made_by(study)  # by cohort
        self.heard: dict[str, None] = {}  # cohorts, by this driver, the first first
        self.deaths: dict[str, list[Death]] = {}  # of the workers of a cohort since it last got on
        self.resumed_from: dict[str, str | None] = {}
        self.missed: set[str] = set()  # cohorts of which nothing has been heard for long
        self.silent: set[str] = set()  # cohorts that have begun, or begun again, and said nothing yet
        self.halted: str | None = None
        self.leaving = False
        self.interrupt: Interrupt | None = None
        self.programs: list[str] = list(study.user_attrs.get(PROGRAMS, []))
        self.check_before_training: Callable[[], None] = lambda: None
        self.check_anyway = False  # also where nothing is left to train
        self.noted: set[str] = set()  # cohorts whose work an earlier driver noted

    def drive(self, interrupt: Interrupt, session: RaySession) -> Summary:
        """Train what is to be trained and record it."""
        self.interrupt = interrupt
        self.progress.states = {t.number: t.state for t in trial_results(self.study)}
        for name, work in self.study.user_attrs.items():
            if name.startswith(WORK):
                cohort = name.removeprefix(WORK)
                self.progress.lane_steps[cohort], self.progress.steps_shared[cohort] = work
                self.progress.steps_before[cohort] = work[0]
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
            (parent_of(self.study) or (None,))[0],
        )
        self.tracking = Tracking(self.recorder, self.study, self.spec, self.folder)
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
        self.search = Search(
            self.storage,
            self.study,
            self.spec,
            layout.cohorts,
            layout.cohort_trials,
            self._listen,
            lambda cohort: homes.last_checkpoint(self.folder, cohort),
            lambda linked: self._wait_for_links(),
        )
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
            lambda suggestion: told | self._given_out(suggestion),
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

    def _given_out(self, suggestion: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a cohort's worker is told, when it is about to begin."""
        cohort = suggestion["id"]
        deaths.forget(self.folder / homes.WORKERS, cohort)
        self.resumed_from[cohort] = suggestion["resume_from"]
        self.silent.add(cohort)
        self.progress.heard[cohort] = time.monotonic()
        self.progress.cohorts[cohort] = [trial["number"] for trial in suggestion["trials"]]
        return dict(suggestion) | {"made": self.made_by.get(cohort)}

    def _on_lost(self, cohort: str) -> None:
        """A worker has died: end what it was for, and give out the rest again."""
        assert self.search and self.interrupt
        self.missed.discard(cohort)
        self.progress.heard.pop(cohort, None)
        death = deaths.read_death(self.folder / homes.WORKERS, cohort)
        if self.interrupt.asked.is_set():
            self.search.cohort_over(cohort, failed=False)
            return
        if death.halt:
            self._halt(death.why)
            self.search.cohort_over(cohort, failed=False)
            return
        if self.search.checkpoint_of(cohort) != self.resumed_from[cohort]:
            self.deaths.pop(cohort, None)  # it had got on
        self.deaths.setdefault(cohort, []).append(death)
        tries, decision = len(self.deaths[cohort]), decide(self.deaths[cohort])
        if decision.guilty:
            del self.deaths[cohort]
        self._note_death(cohort, death, decision)
        for member, step in decision.guilty.items():
            self.search.fail([TrialId.parse(member).number], f"{death.why}, at step {step}", step)
        if decision.give_up:
            self.search.cohort_over(cohort, failed=True, why=f"its worker died {tries} times: {death.why}")
        else:
            self.search.cohort_again(cohort, decision.suspects)

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
            self.search.cohort_over(cohort, failed=True, why=why)
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
        if cohort in self.search.live and self.search.live[cohort]["resume_from"] is None:
            self._keep_lost(cohort)
        events = [Event.from_json(event) for event in json.loads(result["events"])]
        work = result["lane_steps"], result["steps_shared"]
        progress.lane_steps[cohort], progress.steps_shared[cohort] = work
        if cohort not in self.heard:  # what an earlier driver noted may be newer than the checkpoint
            progress.steps_before.pop(cohort, None)
        # a resumed cohort brings the work of earlier drivers; a worker that died goes on with less than it had said
        progress.steps_before[cohort] = min(work[0], progress.steps_before.get(cohort, work[0]))
        if result["done"] or any(isinstance(event, Ended) for event in events):
            self.study.set_user_attr(f"{WORK}{cohort}", work)  # with the trials that have ended, whatever becomes of it
        if result["glimpse"] and progress.latest is None:
            member, step, loss = result["glimpse"]
            progress.training = TrialId.parse(member).number, step, loss
        self.heard[cohort] = None
        made = {name: result[name] for name in ("program", "why", "lanes", "device")}
        if self.made_by.get(cohort) != made:  # before anything of it is told: what has begun goes on by it
            self.made_by[cohort] = made
            note_made(self.study, cohort, made)
        self._name_programs(cohort)
        progress.nodes.add(result["node"])
        self._take_links()
        self.search.hear(events)

    def _name_programs(self, cohort: str) -> None:
        """Say by which programs cohorts train now, and keep a new one with the study, for whoever closes the sweep."""
        assert self.search
        named = {name: f"{self.made_by[name]['program']} ({self.made_by[name]['why']})" for name in self.heard}
        training = dict.fromkeys(program for name, program in named.items() if name in self.search.live)
        self.progress.program = "; ".join(training) or self.progress.program
        if named[cohort] not in self.programs:
            self.programs.append(named[cohort])
            self.study.set_user_attr(PROGRAMS, self.programs)

    def _keep_lost(self, cohort: str) -> None:
        """Keep the count of what an earlier driver trained of a cohort that begins anew without a checkpoint."""
        if cohort in self.noted:
            earlier, counts = f"{cohort}{LOST}", (self.progress.lane_steps, self.progress.steps_shared)
            for count in counts:
                count[earlier] = count.get(earlier, 0) + count.pop(cohort)
            self.progress.steps_before[earlier] = self.progress.lane_steps[earlier]
            self.study.set_user_attr(f"{WORK}{earlier}", [count[earlier] for count in counts])
            del self.progress.steps_before[cohort]
            self.noted.remove(cohort)

    def _listen(self, said: News) -> None:
        assert self.tracking
        if isinstance(said, Report):
            self._on_report(said)
            self.tracking.report(said)
        elif isinstance(said, Score):
            self.tracking.score(said)
        elif isinstance(said, Outcome):
            self._on_end(said)
            self.tracking.end(said, self._made_by(said.trial))
        elif isinstance(said, Start):
            self.progress.states[said.trial] = "running"
            self.tracking.start(said.trial, said.params, said.trunk)
        else:
            self.tracking.fork(said)

    def _made_by(self, trial: int) -> Mapping[str, Any]:
        """Return what a trial's cohort has said of its program; nothing if it has not been heard."""
        assert self.search
        return self.made_by.get(self.search.handles[trial].user_attrs.get("cohort", ""), {})

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
        if trace := next((member.trace for member in outcome.members if member.trace), ""):
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
        best = results.best_trial(trial_results(self.study), self.progress.mode)
        if best and best.value is not None:
            self.progress.best = (best.number, best.value, best.params)

    # --- what is recorded --------------------------------------------------------------------------------------------

    def _take_links(self) -> None:
        """Keep with the study which runs the recorder has made since this was called last."""
        assert self.recorder
        for link in self.recorder.take_links():
            if self.search:
                self.search.link(link.trial, link.run)
            else:
                note_link(self.study, link.trial, link.run)
        if parent := self.recorder.parent:
            note_parent(self.study, parent.experiment_id, parent.run, parent.experiment)

    def _wait_for_links(self) -> None:
        """Wait a while until trials that have ended have runs: Optuna takes their names only before it is told."""
        assert self.search and self.recorder and self.interrupt
        self.recorder.wait_for_runs(self.search.ended.keys(), LINKS_WAIT_S, self.interrupt.asked)
        self._take_links()

    def _settle(self, interrupted: bool) -> None:
        """Say the last words of the sweep, or of this part of it."""
        self.progress.phase = "recording"
        assert self.recorder and self.tracking
        self.recorder.flush(self._closing_s(30.0))
        self._take_links()
        if self.search:
            self.search.settle(everything=True)
        trials = trial_results(self.study)
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
        trials = trial_results(self.study)
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
            results.at_rest(trials),
            results.best_trial(trials, progress.mode),
            interrupted,
            recorded,
            time.monotonic() - self.begin,
            *self._totals(),
            progress.first_result_s,
            no_secret(self.uri) if self.uri.startswith("http") else None,
            self.progress.notes,
            self.halted,
            parent_of(self.study),
        )

    def _restore(self, trials: Sequence[results.TrialResult], lacking: Collection[int | None]) -> None:
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
