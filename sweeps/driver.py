"""One sweep from its spec to its closing records: ties the search, Ray Tune, the recorder and the display together."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from core import preflight
from core.errors import BadInput
from core.task import code_fingerprint, load_task
from sweeps import home as homes
from sweeps import machine, plan, record, report, results
from sweeps.display import Progress
from sweeps.home import Home
from sweeps.outcome import Outcome, Report
from sweeps.record import Recorder
from sweeps.rerun import best_file, versions
from sweeps.search import (
    Search,
    create_study,
    delete_study,
    find_sweep,
    open_storage,
    spec_of,
    trial_results,
    trials_wanted,
)
from sweeps.space import extremes
from sweeps.spec import SweepSpec

WORK = "work."  # a study attribute for each cohort that is over: lane-steps trained, steps shared
FIRST_SEND_S = (
    30.0  # importing MLflow takes seconds of a core that the workers' start needs; the first result ends the wait
)
MLFLOW_STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


@dataclass(frozen=True)
class Summary:
    """What is left to say when the driver is done."""

    sweep: str
    spec: SweepSpec
    trials: list[results.TrialResult]
    best: results.TrialResult | None
    interrupted: bool
    recorded: bool
    seconds: float
    lane_steps: int
    steps_shared: int
    first_result_s: float | None

    def document(self) -> dict[str, Any]:
        """Return the JSON document of `sweep run --json`."""
        best = self.best
        return {
            "sweep": self.sweep,
            "trials": len(self.trials),
            "best": best
            and {"trial": best.number, "params": dict(best.params), self.spec.objective.metric: best.value},
            "seconds": round(self.seconds, 3),
            "lane_steps": self.lane_steps,
            "steps_shared": self.steps_shared,
            "states": results.counts(self.trials),
            "interrupted": self.interrupted,
            "recorded": self.recorded,
            "first_result_s": self.first_result_s,
        }

    def closing_lines(self, at: str) -> Iterator[str]:
        """Yield the sentences that end a sweep, and the commands that come next; `at` is what names the home."""
        counted = results.counts(self.trials)
        if self.interrupted:
            ended = len(self.trials) - counted.get("running", 0)
            yield f"interrupted with {ended} trials ended; continue: sweep resume {self.sweep}{at}"
            return
        yield f"{', '.join(f'{n} {state}' for state, n in counted.items())} in {self.seconds:.0f} s; " + self._work()
        if self.best is None:
            low = min((t.params.get("lr_exponent", 0.0) for t in self.trials), default=0.0)
            if counted.get("diverged"):
                lower = f"--set space.lr_exponent='{{low: {low - 3:.3g}, high: {low:.3g}}}'"
                yield f"every trial diverged: search lower exponents, for example {lower}"
            return
        yield (
            f"best: {report.point_text(self.best.params, self.spec)} (trial {self.best.number}, "
            f"{self.spec.objective.metric} {self.best.value:.5f})"
        )
        yield f"browse  sweep ui{at}"
        yield f"pull    sweep best {self.sweep}{at} > best.yaml"
        yield "rerun   sweep rerun best.yaml"

    def _work(self) -> str:
        return f"{self.lane_steps:,} lane-steps trained, {self.steps_shared:,} shared"


def git_state(folder: Path) -> dict[str, str]:
    """Return the commit of the checkout that `folder` is in, and whether it has changes; empty outside one."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10)
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if commit.returncode:
        return {}
    return {"git_commit": commit.stdout.strip(), "git_dirty": str(bool(status.stdout.strip())).lower()}


def checked(spec: SweepSpec, home: Home) -> dict[str, Any]:
    """Refuse what cannot be trained before anything is started; return the facts of the task: fingerprints, sizes."""
    plan.check_names(spec)
    record.check_reachable(spec.tracking_uri or record.default_uri(home.path))
    facts: dict[str, Any] = {}
    for options in _first_options(spec):
        task = load_task(spec.task, options)
        found = preflight.check(task, spec.budget.batch_size, spec.resources.precision)
        preflight.check_metric(spec.objective.metric, found.metrics)
        facts = facts or {
            "data": found.data.fingerprint(),
            "code": code_fingerprint(task),
            "parameters": found.parameters,
            "first_loss": found.first_loss,
        }
    return facts


def _first_options(spec: SweepSpec) -> list[dict[str, Any]]:
    """The first, and the last, value of each of the task's own domains, to see that both ends can be built."""
    own = {name: extremes(domain) for name, domain in spec.space.own().items()}
    first, last = ({name: values[end] for name, values in own.items()} for end in (0, -1))
    return [dict(spec.task_options) | end for end in ([first] if first == last else [first, last])]


def start(spec: SweepSpec, home: Home, watch: Callable[[Progress], Any], address: str | None = None) -> Summary:
    """Run a new sweep. Raises BadInput before anything is trained if it cannot run."""
    begin = time.monotonic()
    machine.check_address(address)
    facts = checked(spec, home)
    sweep = homes.new_id(spec.name)
    storage = open_storage(home.storage)
    facts |= {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions()}
    study = create_study(storage, sweep, spec, facts | git_state(Path.cwd()))
    try:
        return _drive(Driver(home, storage, study, begin), watch, address)
    except BadInput:  # what the machine refuses leaves nothing behind
        delete_study(storage, sweep)
        shutil.rmtree(home.sweep(sweep), ignore_errors=True)
        raise


def resume(wanted: str, home: Home, watch: Callable[[Progress], Any], address: str | None = None) -> Summary:
    """Continue an interrupted sweep, or send what an ended one could not record."""
    begin = time.monotonic()
    machine.check_address(address)
    storage = open_storage(home.storage)
    study = find_sweep(storage, wanted)
    record.check_reachable(spec_of(study).tracking_uri or record.default_uri(home.path))
    return _drive(Driver(home, storage, study, begin), watch, address)


class Interrupt:
    """Turns SIGINT and SIGTERM into a wish that the driver obeys at the next report; a second one ends the process."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    @contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Handle the signals while the block runs (in the main thread; elsewhere signals stay as they are)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.take_signals()
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_signals(self) -> None:
        """Handle SIGINT and SIGTERM from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self.asked.is_set():
            os._exit(128 + number)
        self.asked.set()
        print("\nstopping: checkpoints are being written (once more to stop at once)", file=sys.stderr, flush=True)


def _drive(driver: "Driver", watch: Callable[[Progress], Any], address: str | None) -> Summary:
    with homes.only_driver(driver.folder, driver.sweep), Interrupt().listening() as interrupt, watch(driver.progress):
        return driver.drive(interrupt, address)


class Driver:
    """Holds the parts of one running sweep."""

    def __init__(self, home: Home, storage: Any, study: Any, begin: float):
        self.home, self.storage, self.study, self.begin = home, storage, study, begin
        self.sweep: str = study.study_name
        self.spec = spec_of(study)
        self.folder = home.sweep(self.sweep)
        self.uri = self.spec.tracking_uri or record.default_uri(home.path)
        objective = self.spec.objective
        self.progress = Progress(
            self.sweep, trials_wanted(self.spec), self.spec.budget.steps, objective.mode, objective.metric, begin
        )
        self.search: Search | None = None
        self.recorder: Recorder | None = None
        self.made_by: dict[str, str] = {}

    def drive(self, interrupt: Interrupt, address: str | None) -> Summary:
        """Train what is to be trained and record it."""
        self.progress.states = {t.number: t.state for t in trial_results(self.study)}
        for name, work in self.study.user_attrs.items():
            if name.startswith(WORK):
                cohort = name.removeprefix(WORK)
                self.progress.lane_steps[cohort], self.progress.steps_shared[cohort] = work
                self.progress.steps_before[cohort] = work[0]
        self.progress.share_before = 1 - self.progress.left() / self.progress.wanted
        self._note_best()
        self.recorder = Recorder(self.uri, self.sweep, self.spec.name, self.folder, self._on_run, FIRST_SEND_S)
        unfinished = self.progress.left() > 0
        if unfinished or not any(self.recorder.spool.said("close")):  # else there is only the spool to be sent
            self._open_records()
            if unfinished:
                self._train(interrupt, address)
            self._settle(interrupt.asked.is_set())
        return self._finish(interrupt.asked.is_set())

    def _train(self, interrupt: Interrupt, address: str | None) -> None:
        self.progress.phase = "starting Ray"
        os.environ.update(machine.QUIET)
        with ThreadPoolExecutor(1) as pool:  # Tune is imported while Ray's processes start; they die with the thread
            importing = pool.submit(import_module, "sweeps.run")  # that starts them, so that is this one
            layout = machine.shape(self.spec, *machine.ray_resources(address))
            runs = importing.result()
        interrupt.take_signals()  # ray.init has taken SIGTERM for itself
        self.progress.phase = "starting workers"
        self.search = Search(
            self.storage,
            self.study,
            self.spec,
            layout.cohorts,
            layout.cohort_trials,
            self._listen,
            lambda cohort: homes.last_checkpoint(self.folder, cohort),
        )
        told = {
            "spec": self.spec.model_dump(mode="json"),
            "lanes": layout.lanes,
            "threads": max(1, int(layout.cpus)),
            "device": "cuda" if layout.gpus else "cpu",
        }
        place = self.home.next_tune(self.sweep)
        runs.run_tune(
            self.search, lambda suggestion: told | suggestion, layout, place, interrupt.asked, self._on_result
        )

    # --- what the cohorts say ----------------------------------------------------------------------------------------

    def _on_result(self, cohort: str, result: Mapping[str, Any]) -> None:
        progress = self.progress
        progress.phase = "training"
        if progress.training_begin is None:
            progress.training_begin = time.monotonic()
        work = result["lane_steps"], result["steps_shared"]
        progress.lane_steps[cohort], progress.steps_shared[cohort] = work
        progress.steps_before.setdefault(cohort, work[0])  # a resumed cohort brings the work of earlier drivers
        if result["done"]:
            self.study.set_user_attr(f"{WORK}{cohort}", work)
        progress.program = f"{result['program']} ({result['why']})"
        self.made_by = {"program": result["program"], "device": result["device"]}
        progress.nodes.add(result["node"])
        assert self.search
        self.search.hear(json.loads(result["events"]))

    def _listen(self, said: Report | Outcome | Mapping[str, Any]) -> None:
        if isinstance(said, Report):
            self._on_report(said)
        elif isinstance(said, Outcome):
            self._on_end(said)
        elif said["kind"] == "start":
            self.progress.states[said["number"]] = "running"
            tags = {"espalier.status": "running"}
            self._say(
                "start",
                trial=said["number"],
                name=f"trial {said['number']}",
                params=said["params"],
                tags=tags,
                again=True,
            )
        elif said["kind"] == "fork":
            self._say(
                "tag",
                trial=said["number"],
                tags={"espalier.trunk": said["trunk"], "espalier.fork_step": str(said["step"])},
            )

    def _on_report(self, report: Report) -> None:
        progress = self.progress
        if progress.first_result_s is None:
            assert self.recorder
            self.recorder.wake()
            progress.first_result_s = round(time.monotonic() - self.begin, 3)
        value = report.values.get(progress.metric)
        progress.steps_done[report.trial] = report.step
        if value is not None:
            progress.latest = (report.trial, report.step, value)
        points = [(name, report.step, v) for name, v in report.values.items() if name != "train_loss"]
        points += [("train_loss", step, loss) for step, loss in report.curve]
        self._say("report", trial=report.trial, step=report.step, points=points)

    def _on_end(self, outcome: Outcome) -> None:
        self.progress.states[outcome.trial] = outcome.status
        value = outcome.values.get(self.progress.metric)
        if outcome.status == "complete" and value is not None:
            assert self.search
            self._offer(outcome.trial, value, self.search.point_of(outcome.trial))
        tags = {
            "espalier.status": outcome.status,
            "espalier.verdict": outcome.verdict,
            "espalier.evidence": outcome.evidence,
        }
        story = {"trial": outcome.trial, **self.made_by, "members": outcome.members}
        values = {f"final_{name}": v for name, v in outcome.values.items()}
        self._say(
            "end",
            trial=outcome.trial,
            name=f"trial {outcome.trial}",
            step=outcome.step,
            values=values,
            tags=tags,
            texts={record.STORY: json.dumps(_finite(story))},
            status=MLFLOW_STATUS[outcome.status],
        )

    def _offer(self, trial: int, value: float, point: Mapping[str, Any]) -> None:
        best, sign = self.progress.best, 1 if self.progress.mode == "min" else -1
        if best is None or sign * value < sign * best[1]:
            self.progress.best = (trial, value, point)

    def _note_best(self) -> None:
        best = results.best_trial(trial_results(self.study), self.progress.mode)
        if best and best.value is not None:
            self.progress.best = (best.number, best.value, best.params)

    # --- what is recorded --------------------------------------------------------------------------------------------

    def _say(self, op: str, **fields: Any) -> None:
        assert self.recorder
        self.recorder.say(op, **fields)

    def _on_run(self, trial: int, run: str) -> None:
        if self.search:
            self.search.link(trial, run)

    def _open_records(self) -> None:
        import yaml

        facts = self.study.user_attrs
        spec_text = yaml.safe_dump(self.spec.model_dump(mode="json"), sort_keys=False)
        tags = {f"espalier.{k}": v for k, v in facts.items() if isinstance(v, str | int | float)}
        tags |= {f"espalier.version.{k}": v for k, v in facts.get("versions", {}).items()}
        spec = self.spec
        params = {
            "task": spec.task,
            "optimizer": spec.optimizer.kind,
            "schedule": spec.schedule.kind,
            "steps": spec.budget.steps,
            "batch_size": spec.budget.batch_size,
            "trials": spec.trials,
            "sampler": spec.search.sampler,
            "objective": f"{spec.objective.mode} {spec.objective.metric}",
        }
        self._say("open", name=self.sweep, tags=tags, params=params, texts={"spec.yaml": spec_text})

    def _settle(self, interrupted: bool) -> None:
        """Say the last words of the sweep, or of this part of it."""
        self.progress.phase = "recording"
        assert self.recorder
        self.recorder.flush()
        if self.search:
            self.search.settle(everything=True)
        trials = trial_results(self.study)
        if interrupted or any(t.state == "running" for t in trials):
            self._say("pause")
        else:
            self._close_records(trials)

    def _finish(self, interrupted: bool) -> Summary:
        self.progress.phase = "recording"
        assert self.recorder
        trials = trial_results(self.study)
        recorded = self.recorder.close()
        self.progress.phase = "done"
        progress = self.progress
        return Summary(
            self.sweep,
            self.spec,
            trials,
            results.best_trial(trials, progress.mode),
            interrupted,
            recorded,
            time.monotonic() - self.begin,
            sum(progress.lane_steps.values()),
            sum(progress.steps_shared.values()),
            progress.first_result_s,
        )

    def _close_records(self, trials: list[results.TrialResult]) -> None:
        best = results.best_trial(trials, self.progress.mode)
        texts = {"trials.csv": report.table_csv(trials)}
        assert self.recorder
        figures = [report.exponent_figure(trials, self.spec, self.folder / "exponent.png")]
        if best is not None:
            top = [t for t in results.ranked(trials, self.progress.mode) if t.state == "complete"][:5]
            stories = self.recorder.stories([t.number for t in top])
            texts["best.yaml"] = best_file(self.study, best, stories[best.number])
            told = [(t, stories[t.number]) for t in top]
            figures.append(report.curves_figure(told, self.spec, self.folder / "curves.png"))
        values = {
            "trials": float(len(trials)),
            "lane_steps": float(sum(self.progress.lane_steps.values())),
            "steps_shared": float(sum(self.progress.steps_shared.values())),
        }
        if best is not None and best.value is not None:
            values[f"best_{self.spec.objective.metric}"] = best.value
        tags = {
            "espalier.best_trial": "none" if best is None else best.number,
            "espalier.program": self.progress.program,
        }
        self._say("close", values=values, tags=tags, texts=texts, files=[str(f) for f in figures], status="FINISHED")


def _finite(value: Any) -> Any:
    """Return a value with NaN and infinities as null, which JSON has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
