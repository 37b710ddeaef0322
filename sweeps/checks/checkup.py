"""The check of a spec before it is run: its task, and a forecast of the sweep's time; printed and recorded."""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from espalier.core.checks.checkup import check_up
from espalier.core.checks.findings import Checkup, Finding
from espalier.core.checks.initialisation import lsuv
from espalier.core.checks.timing import evaluation_seconds
from espalier.core.errors import BadInput, counted
from espalier.core.programs import PROGRAMS
from espalier.core.rows import seeded
from espalier.core.task import Task, call, load_data, load_task
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Trial
from espalier.core.training.width import us_per_lane_step
from espalier.sweeps import cohorts as plan
from espalier.sweeps.checks.preflight import SpecChecks
from espalier.sweeps.home import Home
from espalier.sweeps.recording.names import checks_of
from espalier.sweeps.recording.single_run import record_once
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.results import figures as report
from espalier.sweeps.spec.space import AUTO, DecayPoints, extremes
from espalier.sweeps.spec.spec import SweepSpec

START_S = 15.0  # from the command to the first step of a sweep, while processes start
WORKER_BYTES = 450 * 2**20  # memory of a process that has imported torch and Ray


@dataclass(frozen=True)
class Forecast:
    """A forecast of a sweep's time and memory, from a short measurement here."""

    lane_steps: int
    shared: int
    us_per_lane_step: float
    validation_s: float
    program: str
    lanes: int
    cohorts: int
    device: str
    memory_bytes: int

    @property
    def busy_s(self) -> float:
        """Seconds of one core, or of one GPU, for training and validation."""
        return self.lane_steps * self.us_per_lane_step / 1e6 + self.validation_s

    @property
    def wall_s(self) -> float:
        """Seconds from the command to the end of the sweep."""
        return START_S + self.busy_s / self.cohorts

    def sentence(self) -> str:
        """Return the forecast as a sentence."""
        unit = "GPU" if self.device == "cuda" else "core"
        share = self.shared / max(1, self.lane_steps + self.shared)
        return (
            f"{self.lane_steps:,} lane-steps ({share:.0%} of all steps are shared) at {self.us_per_lane_step:.0f} us "
            f"each in {counted(self.lanes, 'lane')} ({self.program}): {self.busy_s / 3600:.3g} {unit}-hours, about "
            f"{duration(self.wall_s)} on {counted(self.cohorts, unit)}; "
            f"{self.memory_bytes / 2**30:.1f} GiB of memory"
        )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def examine(spec: SweepSpec, with_lsuv: bool = False) -> tuple[Checkup, Forecast | None]:
    """Check the task of a spec, with the first of each choice, and forecast the sweep if the task can train.

    Raises BadInput if the spec's task cannot be loaded.
    """
    torch.set_num_threads(1)
    checks = SpecChecks(spec)
    checks.resolve_names()
    point = plan.first_point(spec)
    task = load_task(spec.task, plan.task_options(spec, point))
    structure, hyper = plan.structure(spec, point), plan.hyperparameters(spec, point)
    checkup = check_up(task, structure, hyper, spec.budget.steps, _three(spec), int(point["seed"]))
    findings = list(checkup.findings)
    forecast = None
    if with_lsuv and checkup.layers:
        findings.append(_after_lsuv(task, spec, int(point["seed"])))
    refusals = _refusals(checks, task, checkup)
    findings += refusals
    if checkup.passed and not refusals:
        forecast = foresee(spec)
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        level = "warn" if forecast.memory_bytes > free else "pass"
        more = f"; only {free / 2**30:.1f} GiB are free here" if level == "warn" else ""
        findings.append(Finding(level, "forecast", forecast.sentence() + more))
    return replace(checkup, findings=findings), forecast


def _refusals(checks: SpecChecks, task: Task, checkup: Checkup) -> list[Finding]:
    """Return why `sweep run` would refuse the spec, though its task can train."""
    if checkup.parts is None:
        return []
    why = checks.spec.budget.why_not_on(_device(checks.spec) == "cuda")
    refusals = [Finding("fail", "sweep", why)] if why else []
    for check in (partial(checks.try_task, task, checkup.parts), checks.try_watchers):
        try:
            check()
        except BadInput as error:
            refusals.append(Finding("fail", "sweep", str(error)))
    return refusals


def _three(spec: SweepSpec) -> list[float]:
    """Return a low, a middle and a high exponent of the space."""
    domain = spec.space.lr_exponent
    ends = [-4.0, 0.0] if domain == AUTO else [float(value) for value in extremes(domain)]
    low, high = min(ends), max(ends)
    return sorted({low, (low + high) / 2, high})


def _after_lsuv(task: Task, spec: SweepSpec, seed: int) -> Finding:
    with seeded(seed):
        model = task.model()
    data = load_data(task)
    batch = tuple(tensor[: max(spec.budget.batch_size, 256)] for tensor in data.train)
    ended = lsuv(model.eval(), lambda m: call(task.loss, m, batch))
    if not ended:
        return Finding("warn", "LSUV", "the model has no product or convolution whose weight could be scaled")
    outputs = ", ".join(f"{name} {mean:+.1e} / {std:.4f}" for name, (mean, std) in ended.items())
    well = all(abs(std - 1) < 1e-2 for _, std in ended.values())
    return Finding("pass" if well else "warn", "LSUV", f"mean / std of each layer's outputs after it: {outputs}")


def foresee(spec: SweepSpec) -> Forecast:
    """Measure some steps and a validation as the sweep would run them, and extrapolate."""
    from espalier.sweeps.engine import program_for
    from espalier.sweeps.search.cohort_plan import PlannedTrial

    point = plan.first_point(spec)
    options, structure = plan.task_options(spec, point), plan.structure(spec, point)
    task = load_task(spec.task, options)
    data = load_data(task)
    wanted = spec.resources
    device = _device(spec)
    units = torch.cuda.device_count() if device == "cuda" else os.cpu_count() or 1
    trials = spec.trials_wanted
    most = max(1, min(64, trials * spec.replicates)) if wanted.lanes == "auto" else wanted.lanes
    sample = [PlannedTrial(n, point) for n in range(max(1, min(trials, most)))]
    chosen = program_for(spec, sample, most, device)
    program, lanes = chosen.program, chosen.lanes
    if program == "compiled":  # its compilation would be measured
        program = "vmap"
    instance = PROGRAMS[program](task, structure.optimizer, getattr(torch, structure.dtype))
    width = 1 if instance.min_width == 1 else lanes
    timed = [Trial(str(k), 0, 10**9, Hyperparameters(lr=1e-12 * (k + 1)), reports=1) for k in range(width)]
    us = us_per_lane_step(Cohort(CohortSetup(task, data, structure, timed, width, instance, device, ratio_samples=0)))
    share = shared_share(spec)
    whole = spec.trainings if spec.search.by_pieces else trials
    steps = round(whole * spec.replicates * spec.budget.steps)
    left = share_left(spec)
    trained = round(steps * (1 - share) * left)
    validation = evaluation_seconds(instance, data.to(device, getattr(torch, structure.dtype)))
    reports = whole * spec.replicates * min(spec.budget.reports, spec.budget.steps) * left
    cohorts = units if wanted.cohorts == "auto" else min(units, wanted.cohorts)
    if (seconds := spec.budget.seconds) is not None:
        whole_s = trained * us / 1e6 + reports * validation
        fits = seconds * (cohorts if spec.budget.hours is not None else 1) / whole_s
        steps, trained, reports = round(steps * fits), round(trained * fits), reports * fits
    rows = sum(t.numel() * t.element_size() for t in instance.fresh_row(0).values())
    splits = sum(t.numel() * t.element_size() for t in (*data.train, *data.valid))
    memory = cohorts * (WORKER_BYTES + splits + 6 * rows * (width + 1))
    return Forecast(
        trained, round(steps * left) - trained, us, reports * validation, program, width, cohorts, device, memory
    )


def _device(spec: SweepSpec) -> str:
    return "cuda" if torch.cuda.is_available() and spec.resources.gpus != 0 else "cpu"


def shared_share(spec: SweepSpec) -> float:
    """Return the share of all steps that branches are expected to share with their trunks.

    Of b points drawn uniformly between low and high, all but the last leave the trunk. The i-th smallest is, on
    average, at low + (high - low) * i / (b + 1). The steps up to there are trained once instead of twice.
    """
    points, b = spec.space.decay_points, spec.space.branches
    if b < 2 or spec.search.by_pieces or not isinstance(points, DecayPoints) or spec.search.sampler == "grid":
        return 0.0
    low, high = points.low, points.high
    return math.fsum(low + (high - low) * i / (b + 1) for i in range(1, b)) / b


def share_left(spec: SweepSpec) -> float:
    """Return the share of all steps that remains to be trained under successive halving."""
    if spec.stopping is None or spec.search.by_pieces:
        return 1.0
    left, before, alive = 0.0, 0.0, 1.0
    for rung in (*spec.stopping.rungs, 1.0):
        left += alive * (rung - before)
        before, alive = rung, alive / spec.stopping.reduction
    return left


MARKS = {"pass": "pass", "warn": "WARN", "fail": "FAIL"}


def lines(checkup: Checkup) -> list[str]:
    """Return the page: passed checks, warnings and failures in plain sentences; then the layers."""
    page = [f"{MARKS[f.level]}  {f.what}: {f.sentence}" for f in checkup.findings]
    if checkup.layers:
        page.append("")
        page.append(f"{'layer':<34} {'mean':>9} {'std':>9} {'near 0':>7} {'satur.':>7} {'dead':>6} {'grad std':>9}")
        for layer in checkup.layers:
            name = f"{layer.name} ({layer.kind})"
            page.append(
                f"{name:<34} {layer.mean:>9.3g} {layer.std:>9.3g} {layer.near_zero:>7.0%} "
                f"{_share(layer.saturated):>7} {_share(layer.dead):>6} {layer.grad_std:>9.2g}"
            )
    counts = {level: sum(f.level == level for f in checkup.findings) for level in MARKS}
    page += ["", f"{counts['pass']} passed, {counts['warn']} to look at, {counts['fail']} failed"]
    return page


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def document(checkup: Checkup, forecast: Forecast | None) -> dict[str, object]:
    """Return everything as a JSON document."""
    return {
        "passed": checkup.passed,
        "findings": [{"level": f.level, "what": f.what, "said": f.sentence} for f in checkup.findings],
        "layers": [asdict(layer) for layer in checkup.layers],
        "ratios": {str(exponent): dict(ratios) for exponent, ratios in checkup.ratios.items()},
        "forecast": asdict(forecast) | {"core_or_gpu_hours": forecast.busy_s / 3600, "wall_s": forecast.wall_s}
        if forecast
        else None,
    }


def record_check(spec: SweepSpec, checkup: Checkup, forecast: Forecast | None, home: Home) -> str:
    """Record a check with its figure in MLflow, in an experiment of its own; return the run's id."""
    return record_page(spec, checkup, document(checkup, forecast), home)


def record_page(spec: SweepSpec, checkup: Checkup, document: Mapping[str, object], home: Home) -> str:
    """Record the page of a check and its document; return the run's id."""
    texts = {
        "check.txt": "\n".join(lines(checkup)),
        "check.json": json.dumps(document, indent=2),
        "spec.yaml": spec.as_yaml(),
    }
    series = {f"findings_{level}": [(0, float(sum(f.level == level for f in checkup.findings)))] for level in MARKS}
    with tempfile.TemporaryDirectory() as folder:
        figures = _figures(checkup, spec.name, Path(folder))
        return record_once(
            resolve_tracking_uri(spec.tracking_uri, home.path),
            checks_of(spec.name),
            "check",
            {"espalier.kind": "check", "espalier.passed": str(checkup.passed).lower()},
            series,
            texts,
            figures,
        )


def _figures(checkup: Checkup, name: str, folder: Path) -> Sequence[Path]:
    return [report.check_figure(checkup, name, folder / "check.png")] if checkup.layers else []
