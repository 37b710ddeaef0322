"""The driver without Ray: cohorts say what a test has them say; what it shows and records of them is looked at."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient

from espalier.core import checkpoint
from espalier.core.errors import BadInput
from espalier.core.training.events import Event
from espalier.sweeps import home as homes
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.deletion import delete_sweep
from espalier.sweeps.home import COHORT_FILE, Home
from espalier.sweeps.recording.names import STORY, SWEEP_TAG, TRIAL_TAG, VIEW_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import SweepPaused, TrialEnded
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.running import driver
from espalier.sweeps.running.loop import Loop
from espalier.sweeps.running.messages import TaskError, Turn
from espalier.sweeps.running.progress import Progress, facts, lane_steps_a_second, seconds_left
from espalier.sweeps.search.cohort_plan import CohortPlan, Provenance
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.full_disk import no_file_beyond, size_of
from tests.sweeps.made import life, report, spec_with

SWEEP = "warm-20260101-abcd"


class Killed(BaseException):
    """What ends a driver where a test has it die."""


class TwoCores:
    """A session with a Ray that nobody needs."""

    def resources(self, given_up: Any = None) -> tuple[float, float]:
        return 2.0, 0.0

    def start(self) -> None: ...

    def leave(self) -> None: ...

    def end(self) -> None: ...


class Stage:
    """A sweep of six trials in two cohorts, and one driver after another that hears what a play says."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch):
        self.home, self.monkeypatch = Home(home), monkeypatch
        self.recorders: list[Recorder] = []
        self.summary: Summary | None = None  # of the last driver that came to an end
        SweepStore.open(self.home.storage).create(SWEEP, spec_with(), {"created": "2026-01-01"})

        def recorder(*arguments: Any) -> Recorder:
            self.recorders.append(Recorder(*arguments))
            return self.recorders[-1]

        monkeypatch.setattr(driver, "Recorder", recorder)

    def perform(self, play: Callable[[Loop], Any]) -> Progress:
        """Drive the sweep while Ray Tune is a play; return what the display knew in the end."""
        shown: list[Progress] = []

        self.monkeypatch.setattr("espalier.sweeps.running.tune.run_tune", lambda loop, *_: play(loop))
        session: Any = TwoCores()
        with suppress(Killed):
            self.summary = driver.resume(
                SWEEP, self.home, lambda progress: nullcontext(shown.append(progress)), session
            )
        self.recorders[-1].close()
        return shown[0]

    def keep_checkpoint(self, cohort: str) -> None:
        """Leave a checkpoint of a cohort, as a worker does."""
        place = self.home.next_tune(SWEEP) / cohort / "checkpoint_000000"
        place.mkdir(parents=True)
        checkpoint.save(place / COHORT_FILE, {})

    def stories(self) -> dict[int, dict[str, Any]]:
        """The trial.json of each trial that was recorded."""
        spool = Spool(self.home.sweep(SWEEP))
        spool.close()
        return {end.trial: json.loads(end.texts[STORY]) for end in spool.records(TrialEnded)}

    def tags(self) -> dict[str, str]:
        """The tags of the sweep's own run."""
        client = MlflowClient(tracking_uri=default_uri(self.home.path))
        experiment = client.get_experiment_by_name("warm")
        assert experiment
        runs = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{SWEEP}'")
        (parent,) = [run for run in runs if TRIAL_TAG not in run.data.tags]
        return parent.data.tags


@pytest.fixture
def stage(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A sweep that has not begun, in a home whose store has its tables."""
    (tmp_path / "home").mkdir()
    shutil.copy(empty_store, tmp_path / "home" / "mlflow.db")
    return Stage(tmp_path / "home", monkeypatch)


MANY_LANES = Provenance("vmap", "many lanes", 2, "cpu")
NATIVE = Provenance("native", "40,000 steps of trials ahead", 2, "cpu")
BROKEN = TaskError("ValueError: no", "a trace")


def turn(*events: Event, steps: int = 0, provenance: Provenance = MANY_LANES, error: TaskError | None = None) -> Turn:
    """Return what a cohort's worker reports after a turn."""
    return Turn("here", error is not None, events, provenance, lane_steps=steps, error=error)


def lives(cohort: CohortPlan) -> list[Event]:
    """Return all events of a cohort whose trials complete."""
    return [event for trial in cohort.trials for event in life(trial.number, 2.0 + trial.number)]


def cohorts(loop: Loop) -> tuple[CohortPlan, CohortPlan]:
    first, second = loop.next_cohort(), loop.next_cohort()
    assert first and second
    return first.plan, second.plan


def train_all(loop: Loop) -> None:
    while (assignment := loop.next_cohort()) is not None:
        loop.take_turn(assignment.plan.id, turn(*lives(assignment.plan)))
        loop.end_cohort(assignment.plan.id)


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["optuna.journal", f"sweeps/{SWEEP}/spool.jsonl", f"sweeps/{SWEEP}/errors"])
def test_a_driver_whose_disk_is_full_says_so_and_the_next_one_goes_on(file: str, stage: Stage) -> None:
    def fails(loop: Loop) -> None:
        first, second = cohorts(loop)
        loop.take_turn(first.id, turn(*lives(first)))
        loop.end_cohort(first.id)
        journal, spool = stage.home.path / "optuna.journal", stage.recorders[-1].spool
        while file.endswith("spool.jsonl") and size_of(spool.path) < size_of(journal) + 9_000:
            stage.recorders[-1].record(SweepPaused())
        error = TaskError("ValueError: no", "a trace" * 90_000) if file.endswith("errors") else None
        limit = 100_000 if error else max(size_of(journal), size_of(spool.path))
        with no_file_beyond(limit + 40):
            loop.take_turn(second.id, turn(*lives(second), error=error))

    with pytest.raises(BadInput) as caught:
        stage.perform(fails)
    stage.recorders[-1].close()
    said = str(caught.value)
    assert said.startswith(str(stage.home.path / file)), said
    assert said.endswith(f": File too large; make room, then continue: sweep resume {SWEEP}")

    stage.perform(train_all)
    assert stage.summary and stage.summary.recorded
    assert [(t.state, t.value) for t in stage.summary.trials] == [("complete", 2.0 + n) for n in range(6)]


# --- an error that nobody foresaw -------------------------------------------------------------------------------------


def test_an_error_of_the_driver_is_one_line_and_the_next_driver_goes_on(stage: Stage) -> None:
    stage.home = replace(stage.home, named="my home")

    def fails(loop: Loop) -> None:
        first, _ = cohorts(loop)
        loop.take_turn(first.id, turn(*lives(first)))
        loop.end_cohort(first.id)
        raise KeyError("cohort-7")

    with pytest.raises(BadInput) as caught:
        stage.perform(fails)
    stage.recorders[-1].close()
    file = stage.home.sweep(SWEEP) / "errors" / "driver.txt"
    line = str(caught.value)
    assert line.startswith(f"{SWEEP} stopped at KeyError: 'cohort-7'") and str(file) in line, line
    assert line.endswith(f"; continue: sweep resume {SWEEP} --home 'my home'")
    assert "raise KeyError" in file.read_text()
    stage.perform(train_all)
    assert stage.summary and [t.state for t in stage.summary.trials] == ["complete"] * 6


# --- an id that is used again -----------------------------------------------------------------------------------------


def test_a_sweep_with_the_id_of_a_deleted_one_leaves_its_runs_alone(stage: Stage) -> None:
    stage.perform(train_all)
    client = MlflowClient(tracking_uri=default_uri(stage.home.path))

    def records() -> dict[str, tuple[str, dict[str, str]]]:
        return {run.info.run_id: (run.info.status, run.data.tags) for run in client.search_runs(["1"])}

    earlier = records()
    delete_sweep(stage.home, SWEEP)
    facts = {"created": "2026-01-02", "birth": "b2"}
    SweepStore.open(stage.home.storage).create(SWEEP, spec_with(trials=2), facts)
    stage.perform(train_all)
    assert stage.summary and stage.summary.recorded and len(stage.summary.trials) == 2
    later = records()
    assert {run: later[run] for run in earlier} == earlier and len(later) == len(earlier) + 3
    assert {t.mlflow_run for t in stage.summary.trials} <= later.keys() - earlier.keys()
    view = client.get_experiment("1").tags[f"{VIEW_TAG}{SWEEP}"]
    assert "`espalier.birth` = 'b2'" in view


def test_runs_of_trials_that_a_journal_lacks_do_not_end_its_sweep(stage: Stage) -> None:
    record = SweepStore.open(stage.home.storage).load(SWEEP)
    record.set_late_runs({7: "a run"})
    assert record.trials() == []


# --- two that begin one sweep -----------------------------------------------------------------------------------------


def test_who_comes_second_takes_nothing_from_who_is_making_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first has made the study and not yet written its spec into it, when the second would make it too."""
    home, spec = Home.at(str(tmp_path)), spec_with()
    session: Any = TwoCores()
    with ExitStack() as first:

        def while_it_looks(*_: Any) -> dict[str, Any]:
            first.enter_context(DriverLock(home, SWEEP))
            optuna.create_study(storage=SweepStore.open(home.storage).storage, study_name=SWEEP)
            return {}

        monkeypatch.setattr(driver, "check_spec", while_it_looks)
        with pytest.raises(BadInput, match=f"sweep {SWEEP} is being driven by process"):
            driver.start(spec, home, lambda _: nullcontext(), session, SWEEP)
        assert [s.study_name for s in SweepStore.open(home.storage).storage.get_all_studies()] == [SWEEP]
        assert home.sweep(SWEEP).is_dir()


# --- programs ---------------------------------------------------------------------------------------------------------


def by_two_programs(loop: Loop) -> list[str]:
    """Train one cohort by machine code and one by vmap; return what the display says after each turn."""
    shown: list[str] = []
    first, second = cohorts(loop)
    for cohort, said in (
        (first, turn(provenance=NATIVE)),
        (second, turn()),
        (first, turn(*lives(first), provenance=NATIVE)),
        (second, turn(*lives(second))),
    ):
        loop.take_turn(cohort.id, said)
        shown.append(dict(facts(loop.progress))["program"])
        if said.events:
            loop.end_cohort(cohort.id)
    return shown


def test_every_program_of_a_sweep_is_named_with_its_reason(stage: Stage) -> None:
    shown: list[str] = []
    stage.perform(lambda loop: shown.extend(by_two_programs(loop)))
    native, vmap = "native (40,000 steps of trials ahead)", "vmap (many lanes)"
    assert shown == [native, f"{native}; {vmap}", f"{native}; {vmap}", vmap], "the display names what trains"
    assert stage.tags()["espalier.program"] == f"{native}; {vmap}"
    chosen = [(story["program"], story["why"], story["lanes"], story["device"]) for story in stage.stories().values()]
    assert sorted(chosen) == [("native", NATIVE.why, 2, "cpu")] * 3 + [("vmap", "many lanes", 2, "cpu")] * 3


def test_trials_of_a_cohort_that_is_lost_have_the_program_of_their_own_cohort(stage: Stage) -> None:
    def play(loop: Loop) -> None:
        first, second = cohorts(loop)
        loop.take_turn(first.id, turn(provenance=NATIVE))
        loop.take_turn(second.id, turn(*lives(second)))
        loop.end_cohort(second.id)
        loop.take_turn(first.id, turn(provenance=NATIVE, error=BROKEN))

    stage.perform(play)
    programs = {number: story["program"] for number, story in stage.stories().items()}
    assert programs == {0: "native", 1: "native", 2: "native", 3: "vmap", 4: "vmap", 5: "vmap"}


def test_a_driver_that_dies_before_the_close_leaves_the_programs_to_the_next(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("espalier.sweeps.recording.tracking.Tracking.close", dies)
        stage.perform(by_two_programs)
    assert "espalier.program" not in stage.tags()
    stage.perform(by_two_programs)  # which is not played: nothing is left to be trained
    assert stage.tags()["espalier.program"] == "native (40,000 steps of trials ahead); vmap (many lanes)"


def test_an_unknown_program_is_not_written_over_a_known_one(stage: Stage) -> None:
    stage.perform(by_two_programs)
    known = stage.tags()["espalier.program"]
    SweepStore.open(stage.home.storage).find(SWEEP).set_programs([])  # as before there were any
    (stage.home.sweep(SWEEP) / "spool.jsonl").unlink()  # another machine's, on which the sweep is closed again
    (stage.home.sweep(SWEEP) / "spool.sent").unlink()
    stage.perform(by_two_programs)
    assert stage.tags()["espalier.program"] == known


# --- an interrupt while workers start ---------------------------------------------------------------------------------

WORKER = """
import sys
import time
from pathlib import Path
from espalier.sweeps.running import deaths, watchdog
print("ready", flush=True)
cohort = input()
watchdog.Watchdog(Path(sys.argv[1]), deaths.own_name(Path(sys.argv[1]), cohort))
time.sleep(600)
"""


@pytest.fixture
def start_worker(stage: Stage) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts a process which begins as a cohort's worker when it is given the cohort's name."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(stage.home.sweep(SWEEP) / homes.WORKERS)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout and started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_workers_that_begin_after_an_interrupt_are_killed_though_nobody_waits_for_them(
    stage: Stage, start_worker: Callable[[], subprocess.Popen[str]]
) -> None:
    soon, late, second = (start_worker() for _ in range(3))

    def begin(process: subprocess.Popen[str], cohort: str) -> None:
        assert process.stdin
        process.stdin.write(f"{cohort}\n")
        process.stdin.flush()

    def play(loop: Loop) -> None:
        first, other = cohorts(loop)
        loop.interrupt.asked.set()
        begin(soon, first.id)
        while not loop.check():
            time.sleep(0.02)
        begin(late, other.id)
        begin(second, first.id)  # as Tune begins a second one for a cohort: its note has a name of its own
        for process in (soon, late, second):
            assert process.wait(60) == -signal.SIGKILL

    stage.perform(play)
    assert stage.summary and stage.summary.interrupted


def test_after_an_interrupt_workers_of_any_machine_are_asked_to_begin_no_cohort(stage: Stage) -> None:
    """Until the next driver: it asks for itself."""
    files: list[Path] = []

    def play(loop: Loop) -> None:
        cohorts(loop)
        files.append(Path(loop.settings.stop_file))
        assert not loop.check() and not files[-1].exists()
        loop.interrupt.asked.set()
        loop.check()
        assert files[-1].exists()

    stage.perform(play)
    stage.perform(play)
    assert files[0] != files[1]


# --- how fast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False], ids=["a checkpoint", "no checkpoint"])
def test_the_speed_after_a_kill_counts_from_what_each_cohort_says_first(stage: Stage, kept: bool) -> None:
    def until_the_kill(loop: Loop) -> None:
        for cohort in cohorts(loop):
            if kept:
                stage.keep_checkpoint(cohort.id)
            loop.take_turn(cohort.id, turn(steps=100))
            loop.take_turn(cohort.id, turn(*life(cohort.trials[0].number, 2.0), steps=900))
        raise Killed

    def after_it(loop: Loop) -> None:
        first, second = cohorts(loop)
        loop.take_turn(first.id, turn(steps=400))  # what the checkpoint has, and a turn
        loop.take_turn(second.id, turn(steps=300))
        assert lane_steps_a_second(loop.progress) == 0
        assert seconds_left(loop.progress) is None, "nothing is known yet"
        number = first.trials[-1].number
        loop.take_turn(first.id, turn(report(f"{number}/0", 10, 2.0), steps=500))
        assert lane_steps_a_second(loop.progress) > 0
        left = seconds_left(loop.progress)
        assert left is not None and left >= 0
        assert "-" not in dict(facts(loop.progress))["speed"].partition(" ")[0]

    stage.perform(until_the_kill)
    progress = stage.perform(after_it)
    assert progress.work.total().lane_steps == 500 + 300 + (0 if kept else 1800)


def test_a_worker_that_goes_on_from_an_old_checkpoint_makes_no_speed_negative(stage: Stage) -> None:
    def play(loop: Loop) -> None:
        first, _ = cohorts(loop)
        loop.take_turn(first.id, turn(steps=400))
        loop.take_turn(first.id, turn(steps=100))
        assert lane_steps_a_second(loop.progress) == 0
        loop.take_turn(first.id, turn(steps=200))
        assert lane_steps_a_second(loop.progress) > 0

    stage.perform(play)
