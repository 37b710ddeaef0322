"""`sweep check` of a function or a command: what it reports, its time, and whether each hyperparameter acts."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from espalier.core.checks.findings import Checkup, Finding
from espalier.core.foreign.capacity import machine_bytes
from espalier.core.foreign.programs import found_program, with_own_programs
from espalier.core.training.memory import UNKNOWN, Memory
from espalier.sweeps.checks import checkup
from espalier.sweeps.checks.knobs import (
    Base,
    Knobs,
    Moved,
    code_name,
    knobs,
    refusal,
    to_try,
    trainings,
    trial_seconds,
    written,
)
from espalier.sweeps.checks.short_runs import ShortRuns, processes_at_once
from espalier.sweeps.process_checks import check_processes
from espalier.sweeps.results.memory_need import MemoryNeed
from espalier.sweeps.spec.spec import SweepSpec

FIRST_S = 600.0  # to the first reports of a run: who asks for a check waits for it
ALL_S = 3600.0
REPORTS_SHOWN = 3


@dataclass(frozen=True)
class ProcessForecast:
    """A forecast of the time of a sweep of processes, by a short run here.

    trial_s: a whole trial. start_s: of that, to its first step. step_s: a step, with its share of reports.
    trials: whole trainings, less what stopping saves. at_once: how many train at once.
    """

    trial_s: float
    start_s: float
    step_s: float
    trials: float
    at_once: int

    @property
    def wall_s(self) -> float:
        """Seconds from the command to the end of the sweep."""
        return checkup.START_S + self.trial_s * max(1.0, self.trials / self.at_once)

    def sentence(self) -> str:
        """Return the forecast as a sentence."""
        return (
            f"a trial takes {_seconds(self.trial_s)}, of which {_seconds(self.start_s)} are its start; "
            f"{self.trials:,.4g} whole trainings, {self.at_once:,} at once: about {checkup.duration(self.wall_s)}"
        )


@dataclass(frozen=True)
class ProcessCheck:
    """The result of a check. moved: by hyperparameter as the spec has it."""

    checkup: Checkup
    moved: Mapping[str, Moved]
    forecast: ProcessForecast | None
    memory: Memory = UNKNOWN

    def document(self) -> dict[str, object]:
        """Return everything as a JSON document."""
        moved = {name: {"verdict": each.verdict, "said": each.sentence} for name, each in self.moved.items()}
        forecast = self.forecast and vars(self.forecast) | {"wall_s": self.forecast.wall_s}
        more = {"hyperparameters": moved, "forecast": forecast, "memory": vars(self.memory) if self.memory else None}
        return checkup.document(self.checkup, None) | more


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else checkup.duration(seconds)


def examine_processes(spec: SweepSpec) -> ProcessCheck:
    """Run a function or a command for a few steps, again, and once or twice for each hyperparameter.

    Raises BadInput for one that cannot be started.
    """
    check_processes(spec)
    with ShortRuns(spec, FIRST_S, ALL_S) as runs:
        tried = Knobs(spec, runs)
        first = tried.first
        findings = [*_of_program(spec), *_of_first(spec, first)]
        if first.run.error or not first.run.reports:
            return ProcessCheck(Checkup(findings), {}, None)
        moved = {written(spec, each.name): each for each in _each(spec, tried)}
    findings += [_finding(spec, each, first.last) for each in moved.values()]
    findings += [Finding("pass", name, "not tried: acts_later names it") for name in spec.acts_later]
    forecast = _foresee(spec, first)
    findings.append(Finding("pass", "forecast", forecast.sentence()))
    findings += _of_memory(spec, first, forecast)
    return ProcessCheck(Checkup(findings), moved, forecast, _memory(first))


def _of_program(spec: SweepSpec) -> Iterator[Finding]:
    """Yield what the first word of a command is, where a shell would take another program."""
    word = spec.command[0] if spec.command else ""
    own, here = found_program(word, with_own_programs(os.environ)), shutil.which(word)
    if own != here:
        instead = f"your shell would take {here}" if here else "your shell has none"
        yield Finding("pass", "program", f"{word} is {own}, of the environment in which the sweep runs; {instead}")


def _of_first(spec: SweepSpec, first: Base) -> Iterator[Finding]:
    """Yield what the first point came to."""
    run, metric = first.run, spec.objective.metric
    if run.error or not run.reports:
        yield Finding("fail", "run", f"{code_name(spec)}: {run.error or 'it ended without a report'}")
        return
    shown = [f"step {step:,}: {_values(values)}" for step, values in run.reports[:REPORTS_SHOWN]]
    yield Finding("pass", "run", f"{code_name(spec)} with {_values(_point(spec, first))} reported {'; '.join(shown)}")
    if metric in {name for _, values in run.reports for name in values}:
        yield Finding("pass", "objective", f"it reports {metric}")
    else:
        yield Finding("fail", "objective", f"it reported no {metric} in the first {first.last:,} steps")
    yield Finding("pass", "time", f"the first report after {run.first_s or 0:.2g} s, with imports; {_speed(first)}")
    if first.why_not:
        yield Finding("warn", "repeatable", first.why_not)
    else:
        yield Finding("pass", "repeatable", "a second run of the same point reported the same, bit for bit")
    if spec.share == "checkpoints" and not run.saved:
        wanted = "save into report.checkpoint where report.due says so, before the report"
        yield Finding("fail", "share", f"share: checkpoints, but it saved none; {wanted}")


def _point(spec: SweepSpec, first: Base) -> Mapping[str, object]:
    from espalier.sweeps.assignments import values

    return values(spec, spec.space.resolve(first.sampled))


def _values(values: Mapping[str, object]) -> str:
    shown = (f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
    return ", ".join(shown)


def _speed(first: Base) -> str:
    run = first.again or first.run
    return f"{run.step_s * 1e3:.3g} ms a step after that" if run.step_s else "steps too quick to be measured here"


def _each(spec: SweepSpec, tried: Knobs) -> Iterator[Moved]:
    names = to_try(spec)
    yield from tried.tried(names)
    for name in knobs(spec):
        if name not in names and written(spec, name) not in spec.acts_later:
            yield tried.scheduled(name)


def _finding(spec: SweepSpec, moved: Moved, steps: int) -> Finding:
    name = written(spec, moved.name)
    if moved.verdict == "still":
        return Finding("fail", name, refusal(spec, [moved.name], steps).partition(": ")[2])
    return Finding("warn" if moved.verdict == "untold" else "pass", name, moved.sentence)


def _memory(first: Base) -> Memory:
    return first.run.memory.most(first.again.memory if first.again else Memory())


def _of_memory(spec: SweepSpec, first: Base, forecast: ProcessForecast) -> Iterator[Finding]:
    """Yield what trials take of memory, and what there is too little of."""
    if memory := _memory(first):
        need = MemoryNeed(memory, forecast.at_once, machine_bytes(), spec.resources)
        shortages = list(need.shortages())
        yield from (Finding("warn", "memory", shortage) for shortage in shortages)
        yield from [] if shortages else [Finding("pass", "memory", need.sentence)]


def _foresee(spec: SweepSpec, first: Base) -> ProcessForecast:
    run = first.again or first.run
    trials = trainings(spec) * spec.replicates * checkup.share_left(spec)
    at_once = processes_at_once(spec)
    seconds = trial_seconds(spec, first)
    if (limit := spec.budget.seconds) is not None:
        trials = limit / seconds * (at_once if spec.budget.hours is not None else 1)
    return ProcessForecast(seconds, run.start_s, run.step_s, trials, at_once)
