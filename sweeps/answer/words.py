"""The answer in sentences, in reading order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from espalier.core.errors import counted
from espalier.sweeps.answer.axes import Axis, doubt_text, place_text, range_text, short, spoken, value_text
from espalier.sweeps.answer.findings import Findings
from espalier.sweeps.answer.valley import Off, Valley
from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.noise import Ties, noise_line
from espalier.sweeps.results.reference_result import reference_lines
from espalier.sweeps.results.trial_result import TrialResult, counts

FAR, NEAR = 10.0, 2.0
"""The factors whose costs are told: of the first sentence, and of the second."""
GOING_ON = ("queued", "starting", "running", "stopping", "interrupted")
"""States of sweeps that may still find a better trial."""
SAME = 2.0
"""The best trial lies elsewhere than the valley's lowest point if they are more than so many standard errors apart, or
if it lies out of the interval of that point."""
BESIDE = 2
"""Other valleys that get a sentence of their own, the most important."""


def sentences_of(told: Findings) -> list[str]:
    """Return the answer in sentences, in reading order; the first is the answer in one sentence."""
    return [*_best(told), *_beside(told), *_doubt(told), *_health(told)]


def brief_of(told: Findings) -> list[str]:
    """Return the sentences without those on health and on what is less important: the end of a terminal's page."""
    return [*_best(told), *_doubt(told)]


def _best(told: Findings) -> Iterator[str]:
    """Yield what the best is, whether it may be doubled, and where trials diverge."""
    best = told.best
    if best is None or best.value is None:
        yield _without_a_best(told)
        return
    yield _first(told, best)
    if told.points.flat:
        count = counted(len(told.points.trials), "complete trial")
        yield f"all {count} have the same {told.spec.objective.metric}: nothing that was searched changes it"
    if valley := told.valley:
        yield from (*_elsewhere(valley, best), *_twice(valley))
    if told.diverging:
        axis, x = told.diverging
        yield f"trials diverge from {spoken(axis)} {place_text(axis, x)} on"


def _beside(told: Findings) -> Iterator[str]:
    """Yield what the valleys of other numbers say, the most important first."""
    others = [valley for valley in told.slices if valley is not told.valley]
    yield from (f"{spoken(valley.axis)}: {'; '.join(_along(valley))}" for valley in others[:BESIDE])


def _doubt(told: Findings) -> Iterator[str]:
    """Yield where the best lies at an edge, what cannot be told from it, and what tuning gained."""
    yield from (edge_line(valley) for valley in told.slices if valley.edge)
    if counts(told.trials).get("complete", 0) > 1:
        yield noise_line(told.noise, told.ties and _as_written(told.ties, told.what.rate))
    if told.best and told.best.value is not None:
        yield from reference_lines(told.references, told.best.value, told.spec.objective.sign)


def _as_written(ties: Ties, rate: Axis | None) -> Ties:
    """Return ties whose ranges have rates for whoever wrote rates."""
    if rate is None or not rate.log or rate.key not in ties.ranges:
        return ties
    low, high = (10.0**end for end in ties.ranges[rate.key])
    others = {name: ends for name, ends in ties.ranges.items() if name != rate.key}
    return replace(ties, ranges={rate.name: (low, high), **others})


def _health(told: Findings) -> Sequence[str]:
    return [told.health.sentence, *told.health.lines] if told.health.trials else []


def _first(told: Findings, best: TrialResult) -> str:
    so_far = "so far: " if told.state in GOING_ON else ""
    where = ", ".join(_values(told, best)) or "the only configuration"
    text = f"{so_far}{where}: {told.spec.objective.metric} {decimals(best.value)} (trial {best.number})"
    return "; ".join([text, *(_along(told.valley) if told.valley else ())])


def _values(told: Findings, best: TrialResult) -> Iterator[str]:
    """Yield what the best trial has of all that was searched, the rate and the decay points first."""
    for axis in sorted(told.what.axes, key=lambda axis: (not axis.rate, axis.key != "decay_points")):
        if (value := axis.value(best.params)) is not None:
            yield _value(axis, value, told.valley if told.valley and told.valley.axis == axis else None)
    for factor in told.what.factors:
        if factor.name in best.params:
            yield params_text(best.params, [factor.name])
    if told.what.seeds:
        yield params_text(best.params, ["seed"])


def _value(axis: Axis, value: float, valley: Valley | None) -> str:
    """Return a value with its name, and where the valley is lowest, as far as one can tell the two apart."""
    if valley is None:
        return value_text(axis, value)
    apart = abs(axis.coordinate(value) - axis.coordinate(valley.best_x))
    if apart <= SAME * valley.se and valley.interval[0] <= value <= valley.interval[1]:
        return value_text(axis, value, valley.se)
    text, lowest = value_text(axis, value), f"the best {doubt_text(axis, valley.best_x, valley.se)}"
    return f"{text[:-1]}; {lowest})" if text.endswith(")") else f"{text} ({lowest})"


def _along(valley: Valley) -> Iterator[str]:
    """Yield what the valley says: what is within noise, what it costs to be far off."""
    noise = "noise" if valley.noise_known else "the scatter of the trials"
    if valley.settled:
        within = range_text(valley.axis, *valley.within)
        which = f"anything from {within}" if " to " in within else f"only {within}"
        yield f"{which} is within {noise} ({short(valley.noise, 1)})"
    elif valley.valleys:
        where = " or ".join(place_text(valley.axis, place) for place in valley.valleys)
        yield f"as far as is known the best lies in one of {len(valley.valleys)} valleys, near {where}"
    else:
        interval = range_text(valley.axis, *valley.interval)
        yield f"the best lies anywhere from {interval}" if " to " in interval else f"the best is {interval}"
    yield from _far_off(valley)


def _far_off(valley: Valley) -> Iterator[str]:
    """Yield what it costs to be far off on either side, ten times at most."""
    offs = [off for too_high in (True, False) if (off := _farthest(valley, too_high))]
    foreseen = [off for off in offs if off.foreseen]
    costs: list[str] = []
    for off in offs:
        first = not any("costs" in cost for cost in costs)
        alone = off.foreseen and len(foreseen) == 1
        costs.append(f"{off.text} {_costs(off, first)}{f', {_from([off])}' if alone else ''}")
    if costs:
        yield ", ".join(costs) + (f", both {_from(foreseen)}" if len(foreseen) > 1 else "")


def _costs(off: Off, first: bool) -> str:
    if off.diverges:
        return "diverges"
    if off.cost is None:
        return _behind(off)
    costs = "costs " if first else ""
    return f"{costs}about {short(off.cost)} {_band(off)}" if off.foreseen else f"{costs}{short(off.cost)}"


def _band(off: Off) -> str:
    return f"({short(off.low or 0.0)} to {short(off.high or 0.0)})"


def _from(offs: Sequence[Off]) -> str:
    """Return what costs are foreseen from."""
    ends = [end for off in offs for end in off.left or ()]
    low, high = f"{100 * min(ends):.3g}", f"{100 * max(ends):.3g}"
    shares = low if low == high else f"{low} to {high}"
    return f"foreseen from {counted(sum(off.foreseen for off in offs), 'trial')} left at {shares} % of a training"


def _behind(off: Off) -> str:
    """Return how far behind a trial was there that was not trained to its end."""
    behind = f"{short(off.behind)} behind" if off.behind else "the best so far"
    return f"was {behind} when it was left at {100 * (off.share or 0.0):.3g} % of a training"


def _farthest(valley: Valley, too_high: bool) -> Off | None:
    """Return how far off one can be on one side so that the cost is known, ten times at most."""
    offs = [off for off in valley.off if off.too_high == too_high]
    known = [off for off in offs if off.cost is not None] or [off for off in offs if not off.diverges]
    return next(iter(known or offs), None)


def _elsewhere(valley: Valley, best: TrialResult) -> Iterator[str]:
    """Yield that the best trial does not lie where the valley through all trials is lowest."""
    x = valley.x_of(best.params)
    if x is None or valley.within[0] <= x <= valley.within[1]:
        return
    here, there = valley.at(x), valley.at(valley.best_x)
    gain = abs(here[0] - there[0]) if here and there else 0.0
    yield (
        f"the valley through all trials is best at {value_text(valley.axis, valley.best_x, valley.se)}, "
        f"{short(gain)} better than at the best trial's"
    )


def _twice(valley: Valley) -> Iterator[str]:
    """Yield whether the rate may be doubled, or halved."""
    if not valley.axis.decades:
        return
    name = spoken(valley.axis)
    parts: list[str] = []
    for words, factor in ((f"twice the {name}", NEAR), (f"half the {name}", 1 / NEAR)):
        off = next((off for off in valley.off if off.factor and math.isclose(off.factor, factor)), None)
        if off is None:
            parts.append(f"{words} was not {_untried(valley, factor)}")
        elif off.diverges:
            parts.append(f"{words} diverges")
        elif off.cost is None:
            parts.append(f"{words} {_behind(off)}")
        else:
            about = "about " if off.foreseen else ""
            parts.append(f"{words} costs {about}{short(off.cost)} {_beside_noise(off, valley)}")
    yield "; ".join(parts)


def _untried(valley: Valley, factor: float) -> str:
    """Return what was not done so many times above the best trial's value."""
    place = valley.axis.coordinate(valley.chosen_x) + math.log10(factor)
    low, high = (valley.axis.coordinate(end) for end in valley.begun or (valley.chosen_x, valley.chosen_x))
    return "trained to the end, only begun" if low <= place <= high else "tried"


def _beside_noise(off: Off, valley: Valley) -> str:
    """Return the band of a cost, and how it compares with the noise."""
    low, high = off.low or 0.0, off.high or 0.0
    noise = "noise" if valley.noise_known else "scatter"
    if high <= valley.noise:
        text = f"{_band(off)}, within {noise}"
    else:
        text = f"{_band(off)}, {'more than the' if low > valley.noise else 'perhaps within'} {noise}"
    return f"{text}, {_from([off])}" if off.foreseen else text


def edge_line(valley: Valley) -> str:
    """Return that the best lies at an end of the range, and how to widen it. valley: one with an edge."""
    name = spoken(valley.axis)
    way = f"widen it: {widened(valley.axis, valley.wider)}" if valley.wider else "widen it"
    return f"the best {name} lies at the {valley.edge} end of its range, and may lie beyond: {way}"


def widened(axis: Axis, ends: tuple[float, float]) -> str:
    """Return the options that search another range.

    >>> widened(Axis("lr", "lr_exponent", 1e-4, 1e-2, True, True), (1e-5, 1e-2))
    "--set space.lr='{low: 1e-05, high: 0.01, log: true}'"
    >>> widened(Axis("decay_point", "decay_points", 0.4, 0.8, place=0), (0.4, 0.9))
    '--set space.decay_points.high=0.9'
    >>> widened(Axis("hidden", "hidden", 50, 200, values=(50, 100, 200)), (50, 300))
    "--set space.hidden='[50, 100, 200, 300]'"
    """
    low, high = (f"{end:.4g}" for end in ends)
    name = "decay_points" if axis.key == "decay_points" else axis.name
    if axis.rate:
        return f"--set space.{name}='{{low: {low}, high: {high}{', log: true' if axis.log else ''}}}'"
    if axis.values:
        listed = ", ".join(f"{value:.4g}" for value in sorted({*axis.values, *ends}))
        return f"--set space.{name}='[{listed}]'"
    changed = [
        (end, text) for end, text, was in (("low", low, axis.low), ("high", high, axis.high)) if text != f"{was:.4g}"
    ]
    return " ".join(f"--set space.{name}.{end}={text}" for end, text in changed)


def _without_a_best(told: Findings) -> str:
    if not told.health.trials:
        return "no trial has ended yet"
    states = ", ".join(f"{n} {state}" for state, n in counts(told.trials).items())
    return f"no trial is complete: {states}"
