"""Does the knob move? Each searched hyperparameter of a function or a command is moved in a short run of its own.

One that changes nothing that the code reports in its first steps is probably never read: a misspelt name, an argument
that goes nowhere. A sweep over it spends its trials on nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from espalier.core.errors import BadInput, brief
from espalier.core.foreign.config import Config
from espalier.core.foreign.folder import Assignment
from espalier.core.loading.references import split_reference
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.schedules.warmup import WARMUP
from espalier.sweeps.checks.short_runs import SECOND, ShortRun, ShortRuns, Values, processes_at_once
from espalier.sweeps.cohorts import middle
from espalier.sweeps.spec.domains import Choice, extremes, same, whole_name
from espalier.sweeps.spec.meaning import is_loss
from espalier.sweeps.spec.space import DecayPoints, Point
from espalier.sweeps.spec.spec import SweepSpec

START_FIRST_S = 20.0  # to a first report at the start of a sweep: Ray starts meanwhile, which takes 5 to 10
START_LEAST_S = 5.0  # for all hyperparameters then; functions are forked, and take a tenth of a second each
START_SHARE = 0.01  # of the sweep's time, if that is more
RATES = 400  # steps at which two schedules are compared
Verdict = Literal["moves", "still", "untold", "scheduled"]


# --- what is moved, and where to --------------------------------------------------------------------------------------


def knobs(spec: SweepSpec) -> list[str]:
    """Return the searched hyperparameters, by the names of domains; a seed is none."""
    return [name for name in dict.fromkeys(whole_name(name) for name, _ in spec.space.domains()) if name != "seed"]


def written(spec: SweepSpec, name: str) -> str:
    """Return the name of a hyperparameter as the spec has it."""
    return "lr" if name == "lr_exponent" and spec.space.lr is not None else name


def of_schedule(spec: SweepSpec) -> set[str]:
    """Return the names of what acts through the rate alone, most of it late."""
    kinds = [SCHEDULES[kind] for kind in {*SCHEDULES, *spec.schedule_kinds()}]
    numbers = {number.name for kind in kinds for number in kind.numbers}
    return {"schedule", "decay_points", WARMUP.name} | numbers


def to_try(spec: SweepSpec) -> list[str]:
    """Return the hyperparameters that short runs are to move."""
    scheduled = of_schedule(spec)
    return [name for name in knobs(spec) if name not in scheduled and written(spec, name) not in spec.acts_later]


def moved(spec: SweepSpec, sampled: Point, name: str) -> list[Point]:
    """Return sampled points at which one hyperparameter has another value: two at most, the nearest of a list first."""
    points = spec.space.decay_points
    if name == "decay_points" and isinstance(points, DecayPoints):
        return [sampled | dict.fromkeys(points.names, end) for end in dict.fromkeys((points.low, points.high))]
    domain = dict(spec.space.domains())[name]
    others = [value for value in extremes(domain) if not same(value, sampled[name])]
    if isinstance(domain, Choice):
        others = others if len(others) < 2 else [others[0], others[-1]]
    return [sampled | {name: value} for value in others]


def where_it_exists(spec: SweepSpec, sampled: Point, name: str) -> Point:
    """Return a sampled point, changed as little as is needed for a hyperparameter to exist there."""
    for sampled_name, among in spec.space.sampled_conditions().items():
        if whole_name(sampled_name) != name:
            continue
        for parent, values in among.items():
            sampled = where_it_exists(spec, sampled, whole_name(parent))
            if values and not any(same(sampled[parent], value) for value in values):
                sampled = sampled | {parent: values[0]}
    return sampled


# --- comparing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A point and what it reports, twice. steady: the metrics that were the same both times, bit for bit.

    slow: whether there was no time for the second run.
    """

    sampled: Point
    run: ShortRun
    again: ShortRun | None
    objective: str
    slow: bool = False

    @property
    def steady(self) -> frozenset[str]:
        """The metrics that both runs agree on."""
        names = {name for _, values in self.run.reports for name in values}
        later = dict(self.again.reports if self.again else self.run.reports)
        return frozenset(
            name
            for name in names
            if all(later[step].get(name) == values.get(name) for step, values in self.run.reports if step in later)
        )

    @property
    def why_not(self) -> str:
        """Why nothing can be told from a comparison with it; "" if something can."""
        if self.run.error:
            return self.run.error
        if not any(step > 0 for step, _ in self.run.reports):
            return "it reported nothing"
        if self.slow:
            return f"its first reports took {self.run.seconds:.3g} s; sweep check takes that time"
        if self.again and self.again.error:
            return f"its second run failed: {self.again.error}"
        names = {name for _, values in self.run.reports for name in values}
        losses = {name for name in names if name == self.objective or is_loss(name)}
        if noisy := sorted(losses - self.steady):
            return f"two runs of one point and one seed differ in {', '.join(noisy)}"
        return "" if losses else f"it reported no {self.objective}, nor any loss"

    def differs(self, name: str, step: int, values: Values) -> bool:
        """Whether a report of a run that moves a hyperparameter is another than here. One of its own name is none."""
        here = dict(self.run.reports).get(step)
        if here is None:
            return step <= self.last
        return any(here.get(metric) != values.get(metric) for metric in self.steady - {name})

    @property
    def last(self) -> int:
        """The last step of which it has a report."""
        return self.run.reports[-1][0] if self.run.reports else 0


@dataclass(frozen=True)
class Moved:
    """What came of moving one hyperparameter.

    verdict: still, if nothing changed; untold, if nobody can tell; scheduled, if it acts through the rate and was not
    tried. sentence: the evidence.
    """

    name: str
    verdict: Verdict
    sentence: str


@dataclass
class Knobs:
    """The searched hyperparameters of a spec, moved one by one. most_s: that a run may take, given the first one."""

    spec: SweepSpec
    runs: ShortRuns
    most_s: Callable[[Base], float] = lambda _: math.inf
    bases: dict[str, Base] = field(default_factory=dict[str, Base])

    def base(self, sampled: Point) -> Base:
        """Return a point with what it reports, from two runs of it; from one if it did not get so far."""
        key = repr(self.runs.assignment(sampled))
        if key not in self.bases:
            base = Base(sampled, self.runs.run(sampled), None, self.spec.objective.metric)
            if not base.why_not:
                slow = base.run.seconds > self.most_s(base)
                base = replace(base, again=None if slow else self.runs.run(sampled), slow=slow)
            self.bases[key] = base
        return self.bases[key]

    @property
    def first(self) -> Base:
        """The first point."""
        return self.base(middle(self.spec))

    def tried(self, names: Sequence[str]) -> Iterator[Moved]:
        """Move hyperparameters one by one."""
        for name in names:
            yield self.move(name) if self.runs.left_s else Moved(name, "untold", "not tried: it would take too long")

    def move(self, name: str) -> Moved:
        """Move one hyperparameter, to two other values at most."""
        base = self.base(where_it_exists(self.spec, middle(self.spec), name))
        if why := base.why_not:
            return Moved(name, "untold", f"nothing can be told: {why}")
        for sampled in moved(self.spec, base.sampled, name):
            run = self.runs.run(
                sampled, lambda step, values: step >= SECOND or base.differs(written(self.spec, name), step, values)
            )
            change = self._change(name, base, sampled)
            if run.error:
                return Moved(name, "untold" if run.late else "moves", f"{change}: {run.error}")
            for step, values in run.reports:
                if base.differs(written(self.spec, name), step, values):
                    return Moved(name, "moves", f"{change}: {_difference(base, step, values)}")
        return Moved(name, "still", f"it changes nothing in the first {base.last:,} steps")

    def _change(self, name: str, base: Base, sampled: Point) -> str:
        before, after = (self.runs.assignment(point).values for point in (base.sampled, sampled))
        short = "lr" if name == "lr_exponent" else name
        return f"{_shown(before.get(short))} -> {_shown(after.get(short))}"

    def scheduled(self, name: str) -> Moved:
        """Compare the rates of two values of a hyperparameter that acts through them."""
        sampled = where_it_exists(self.spec, middle(self.spec), name)
        before = self.runs.assignment(sampled)
        if not before.schedule:
            return Moved(name, "scheduled", "there is no rate for it; not tried")
        for point in moved(self.spec, sampled, name):
            if (step := _parting(before, self.runs.assignment(point))) is not None:
                return Moved(name, "scheduled", f"config.lr_at differs from step {step:,} on; not tried")
        return Moved(name, "scheduled", "config.lr_at has the same rates without it; not tried")


def _difference(base: Base, step: int, values: Values) -> str:
    here = dict(base.run.reports).get(step)
    if here is None:
        return f"another report at step {step:,}"
    names = sorted(base.steady, key=lambda name: (name != base.objective, name))
    name = next(name for name in names if here.get(name) != values.get(name))
    return f"{name} {_shown(here.get(name))} -> {_shown(values.get(name))} at step {step:,}"


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else brief(str(value), 40)


def _parting(one: Assignment, other: Assignment) -> int | None:
    """Return the first of some steps at which the rates of two assignments differ."""
    first, second = (Config(each.values, each.schedule, each.seed, each.steps) for each in (one, other))
    count = min(RATES, one.steps)
    steps = (k * one.steps // count for k in range(count))
    return next((step for step in steps if first.lr_at(step) != second.lr_at(step)), None)


# --- at the start of a sweep -----------------------------------------------------------------------------------------


def try_knobs(spec: SweepSpec) -> list[str]:
    """Move the hyperparameters of a function or a command at the start of a sweep, as far as little time allows.

    Return a note if that was not possible. Raises BadInput for those that change nothing.
    """
    if not (names := to_try(spec)):
        return []
    with ShortRuns(spec, START_FIRST_S, 2 * START_FIRST_S) as runs:
        tried = Knobs(spec, runs, lambda base: max(START_FIRST_S / 2, START_SHARE * sweep_seconds(spec, base)))
        first = tried.first
        if why := first.why_not:
            return [f"whether {code_name(spec)} reads each hyperparameter was not tried: {why}"]
        runs.all_s += max(START_LEAST_S, START_SHARE * sweep_seconds(spec, first)) - runs.left_s
        results = list(tried.tried(names))
    if still := [trial.name for trial in results if trial.verdict == "still"]:
        raise BadInput(refusal(spec, still, first.last))
    late = [written(spec, trial.name) for trial in results if trial.verdict == "untold"]
    return [f"whether {code_name(spec)} reads {_listed(late)} was not tried, to save time: sweep check does"] * bool(
        late
    )


def refusal(spec: SweepSpec, names: Sequence[str], steps: int) -> str:
    """Return one sentence on hyperparameters that change nothing."""
    fields = [written(spec, name) for name in names]
    changes, them, act = ("it changes", "it", "it acts") if len(fields) == 1 else ("they change", "them", "they act")
    return (
        f"{', '.join(f'space.{name}' for name in fields)}: {changes} nothing in the first {steps:,} steps: "
        f"{code_name(spec)} may not read {them}; write acts_later: [{', '.join(fields)}] if {act} later"
    )


def sweep_seconds(spec: SweepSpec, base: Base) -> float:
    """Return how long a sweep takes here, by the time that its first point took."""
    if spec.budget.seconds is not None:
        return spec.budget.seconds
    return trial_seconds(spec, base) * trainings(spec) * spec.replicates / processes_at_once(spec)


def trial_seconds(spec: SweepSpec, base: Base) -> float:
    """Return how long a trial takes, from its start to its end."""
    run = base.again or base.run  # which had its imports done, where trials are forked
    return run.start_s + spec.budget.steps * run.step_s


def trainings(spec: SweepSpec) -> float:
    """Return how many whole trainings a sweep takes, without what stopping saves."""
    return spec.trainings if spec.search.by_pieces else spec.trials_wanted


def code_name(spec: SweepSpec) -> str:
    """Return the file or the program that trains, in messages."""
    if spec.function:
        source, _ = split_reference(spec.function)
        return Path(source).name
    scripts = [Path(word).name for word in spec.command if word.endswith((".py", ".sh"))]
    return scripts[0] if scripts else Path(spec.command[0]).name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:4])} and {len(names) - 4} more"
