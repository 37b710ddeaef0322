"""What to try next, by what the answer says: each step with its reason and the option or command that does it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from espalier.core.errors import counted
from espalier.sweeps.answer.answer import Answer
from espalier.sweeps.answer.axes import Axis, doubt_text, place_text, short, spoken
from espalier.sweeps.answer.health import FAILED, WELL, Group
from espalier.sweeps.answer.valley import Valley
from espalier.sweeps.answer.words import GOING_ON, widened
from espalier.sweeps.results.coverage import covered
from espalier.sweeps.results.trial_result import UNFINISHED

OFTEN = 0.25
"""The share of trials with one verdict from which on the range is to be moved."""
LEARNT_NOTHING = ("stuck", "collapsed", "diverged")
"""Verdicts of trials that learnt nothing that lasted."""
WHOLE = 0.8
"""Of a range so much must have been tried before it is said to matter nothing."""


@dataclass(frozen=True)
class Step:
    """Something to do. why: what was seen. do: an option of `sweep run`, or a command; "" where it is none."""

    why: str
    do: str = ""

    @property
    def line(self) -> str:
        """Return it as a sentence."""
        return f"{self.why}: {self.do}" if self.do else self.why

    def document(self) -> dict[str, str]:
        """Return it as JSON values."""
        return asdict(self)


def next_steps(answer: Answer, sweep: str, option: str = "") -> list[Step]:
    """Return what to try next, the most urgent first; that the answer can be used, where nothing is to be done.

    sweep: its id. option: what commands need to find it, after a space: " --home DIR", or "".
    """
    steps = list(_steps(answer, f"{sweep}{option}"))
    if answer.best is None:
        return steps
    return steps or [Step("nothing stands against it; use it", f"sweep best {sweep}{option} > best.yaml")]


def _steps(answer: Answer, sweep: str) -> Iterator[Step]:
    """sweep: its id, and what commands need to find it."""
    yield from _unfinished(answer, sweep)
    yield from _failed(answer)
    yield from _unhealthy_best(answer)
    yield from _better_reference(answer)
    yield from _edges(answer)
    yield from _rates(answer)
    yield from _doubt(answer, sweep)
    yield from _unknown_noise(answer)
    yield from _idle(answer)


def _unfinished(answer: Answer, sweep: str) -> Iterator[Step]:
    """Yield to go on where the sweep has been interrupted."""
    if answer.state == "interrupted":
        ended = sum(t.state not in UNFINISHED for t in answer.trials)
        yield Step(f"it was interrupted with {counted(ended, 'trial')} ended: go on", f"sweep resume {sweep}")


def _failed(answer: Answer) -> Iterator[Step]:
    for group in answer.health.problems:
        if group.verdict == FAILED:
            yield Step(f"mend what failed: {group.line(None)}")


def _unhealthy_best(answer: Answer) -> Iterator[Step]:
    """Yield not to trust a best trial that is unhealthy itself, and that a flat objective tells nothing."""
    best = answer.best
    if best and best.verdict and best.verdict not in WELL:
        then = (
            "none is to be used yet"
            if best.verdict in LEARNT_NOTHING
            else "look at its update ratios before you use it"
        )
        yield Step(f"the best trial itself is {best.verdict}, {then}: {best.evidence}")
    if answer.points.flat:
        metric = answer.spec.objective.metric
        yield Step(f"every complete trial has the same {metric}: look whether it depends on what is searched")


def _better_reference(answer: Answer) -> Iterator[Step]:
    worse = [gain for gain in answer.gain if gain.gain < 0]
    if worse:
        first = min(worse, key=lambda gain: gain.gain)
        yield Step(f"{first.title}, untuned, is {short(-first.gain)} better than the best trial: sweep it", first.hint)


def _edges(answer: Answer) -> Iterator[Step]:
    for valley in answer.slices:
        if valley.edge and valley.wider:
            why = f"the best {spoken(valley.axis)} lies at the {valley.edge} end of its range: widen it"
            yield Step(why, widened(valley.axis, valley.wider))


def _rates(answer: Answer) -> Iterator[Step]:
    """Yield to move the range of the rate away from where many trials were unhealthy."""
    axis = answer.rate
    if axis is None:
        return
    for group in answer.health.problems:
        if not group.rates or len(group.numbers) < OFTEN * answer.health.trials:
            continue
        share = f"{len(group.numbers)} of {answer.health.trials} trials are {group.verdict}"
        if ends := _moved(answer, axis, group):
            which = "lower" if group.verdict in ("diverged", "hot", "collapsed") else "higher"
            yield Step(f"{share}: search {which} rates", widened(axis, ends))


def _moved(answer: Answer, axis: Axis, group: Group) -> tuple[float, float] | None:
    """Return a range of rates without those of a group; None where the verdict says nothing of the rate."""
    low, high = axis.ends
    first, last = (axis.coordinate(rate) for rate in group.rates or (axis.low, axis.high))
    if group.verdict in ("diverged", "hot", "collapsed"):
        valley = answer.valley
        if answer.best is None:
            return axis.at(first - (high - low)), axis.at(first)
        cut = valley.diverged_from if valley and group.verdict == "diverged" and valley.axis.rate else None
        top = first if cut is None else axis.coordinate(cut)
        return (axis.at(low), axis.at(top)) if low < top < high and _keeps_best(answer, axis, low, top) else None
    if group.verdict in ("frozen", "stuck") and low < last < high and _keeps_best(answer, axis, last, high):
        return axis.at(last), axis.at(high)
    return None


def _keeps_best(answer: Answer, axis: Axis, low: float, high: float) -> bool:
    value = axis.value(answer.best.params) if answer.best else None
    return value is None or low < axis.coordinate(value) < high


def _doubt(answer: Answer, sweep: str) -> Iterator[Step]:
    """Yield to train more, where the best place is known less well than it matters, and more can be trained."""
    valley = answer.valley
    if answer.state in GOING_ON or covered(answer.spec, answer.trials):
        return
    if valley is None:
        complete = sum(t.state == "complete" for t in answer.trials)
        if complete and answer.what.axes:
            few = f"{counted(complete, 'complete trial')} {'is' if complete == 1 else 'are'} too few for a valley"
            yield Step(f"{few}: train more", _extend(answer, sweep))
        return
    if valley.edge:
        return
    if not valley.settled:
        known = doubt_text(valley.axis, valley.best_x, valley.se)
        why = f"the best {spoken(valley.axis)} is known to {known} only, less well than it matters: train more"
        yield Step(why, _extend(answer, sweep))


def _extend(answer: Answer, sweep: str) -> str:
    """Return the command that trains half as much more."""
    budget = answer.spec.budget
    if budget.trainings is not None:
        return f"sweep extend {sweep} --trainings {max(2, round(budget.trainings / 2))}"
    for hours, option in ((budget.hours, "hours"), (budget.gpu_hours, "gpu-hours")):
        if hours is not None:
            return f"sweep extend {sweep} --{option} {hours / 2:.2g}"
    return f"sweep extend {sweep} --trials {max(8, answer.spec.trials // 2)}"


def _unknown_noise(answer: Answer) -> Iterator[Step]:
    if answer.noise is None and sum(t.state == "complete" for t in answer.trials) > 1:
        yield Step("the noise of another seed is unknown: train the best again under other seeds", "--set confirm=3")


def _idle(answer: Answer) -> Iterator[Step]:
    """Yield to leave out what changes nothing."""
    for valley in answer.slices:
        if not valley.axis.rate and _is_idle(valley):
            fixed = place_text(valley.axis, valley.best_x)
            yield Step(
                f"{spoken(valley.axis)} changes nothing beyond the noise: leave it at {fixed}, search without it"
            )


def _is_idle(valley: Valley) -> bool:
    low, high = valley.axis.ends
    tried = valley.axis.coordinate(valley.xs[-1]) - valley.axis.coordinate(valley.xs[0])
    apart = max(valley.mean) - min(valley.mean)
    wide = max(high - low for low, high in zip(valley.low, valley.high, strict=True))
    return tried >= WHOLE * (high - low) and apart <= valley.noise and wide <= 4 * valley.noise
