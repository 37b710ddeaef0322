"""The answer in sentences."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from espalier.core.errors import counted
from espalier.sweeps.answer.axes import Axis, Searched
from espalier.sweeps.answer.health import Health
from espalier.sweeps.answer.valley import Off, Valley
from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.noise import Noise, Ties, noise_line
from espalier.sweeps.results.reference_result import ReferenceResult, reference_lines
from espalier.sweeps.results.trial_result import TrialResult, counts
from espalier.sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class Told:
    """What the sentences are made of; see Answer."""

    spec: SweepSpec
    state: str
    trials: Sequence[TrialResult]
    best: TrialResult | None
    valley: Valley | None
    slices: Sequence[Valley]
    noise: Noise | None
    ties: Ties | None
    references: Sequence[ReferenceResult]
    health: Health


def short(value: float, digits: int = 2) -> str:
    """Return a cost or a distance, briefly.

    >>> short(0.3021), short(0.0021, 1), short(12.4), short(-0.052), short(0.0), short(3.2e-7)
    ('.3', '.002', '12', '-.052', '0', '3.2e-07')
    """
    text = f"{value:.{digits}g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def rate_text(axis: Axis, value: float, se: float | None) -> str:
    """Return the value of a number, with its standard error where it is known.

    >>> rate_text(Axis("lr_exponent", "lr_exponent", -3, 0, rate=True), -0.774, 0.081)
    'rate 0.168 (10^-0.77 ± .08)'
    >>> rate_text(Axis("lr", "lr_exponent", 1e-3, 1, True, True), 0.01, None)
    'lr 0.01'
    """
    if axis.name.startswith("decay_point"):
        return f"decay at {100 * value:.3g} %" + (f" ± {100 * se:.2g}" if se is not None else "")
    name = "rate" if axis.exponent else axis.name
    rate = 10.0**value if axis.exponent else value
    if not axis.decades:
        return f"{name} {value:.4g}" + (f" ± {short(se, 1)}" if se is not None else "")
    if se is None:
        return f"{name} {rate:.3g}" + (f" (10^{math.log10(rate):.2f})" if axis.exponent else "")
    return f"{name} {rate:.3g} ({_power(math.log10(rate), se)} ± {short(se, 1)})"


def _power(exponent: float, se: float = 0.01) -> str:
    """Return a power of ten with as many decimals as its standard error lets one read."""
    places = max(1, min(3, 1 - math.floor(math.log10(se)) - 1 if se > 0 else 2))
    return f"10^{exponent:.{max(places, 2)}f}"


def sentences_of(told: Told) -> list[str]:
    """Return the answer in sentences, in reading order."""
    if told.best is None or told.best.value is None:
        return [_without_a_best(told), *_health(told)]
    lines = [_first(told, told.best)]
    lines += [f"{_capital(_beside(valley))}" for valley in told.slices if valley is not told.valley][:2]
    lines += [_edge(valley) for valley in told.slices if valley.edge]
    if counts(told.trials).get("complete", 0) > 1:
        lines.append(noise_line(told.noise, told.ties))
    lines += reference_lines(told.references, told.best.value, told.spec.objective.sign)
    return [*lines, *_health(told)]


def _first(told: Told, best: TrialResult) -> str:
    where = ", ".join(_values(told, best))
    so_far = "" if told.state == "finished" else "so far: "
    text = f"{so_far}{where}: {told.spec.objective.metric} {decimals(best.value)} (trial {best.number})"
    return "; ".join([text, *_along(told.valley)]) if told.valley else text


def _values(told: Told, best: TrialResult) -> Iterator[str]:
    """Yield the best trial's searched hyperparameters, the rate and the decay points first."""
    axes = Searched.of(told.spec.space).axes
    slices = {valley.name: valley for valley in told.slices}
    for axis in sorted(axes, key=lambda axis: (not axis.rate, not axis.name.startswith("decay_point"))):
        if (value := axis.value(best.params)) is not None:
            valley = slices.get(axis.name)
            yield rate_text(axis, value, valley.se if valley and axis.rate else None)
    for factor in Searched.of(told.spec.space).factors:
        if factor.name in best.params:
            yield params_text(best.params, [factor.name])


def _along(valley: Valley) -> Iterator[str]:
    """Yield what the valley says: what is within noise, what it costs to be off."""
    noise = "noise" if valley.noise_known else "the scatter of trials"
    yield f"anything {_range(valley.axis, valley.within)} is within {noise} ({short(valley.noise, 1)})"
    offs = [off for off in valley.off if off.factor in (FAR, 1 / FAR, None)]
    if not any(off.too_high for off in offs):
        offs += [off for off in valley.off if off.too_high][:1]
    if said := [_cost(off, first=k == 0) for k, off in enumerate(offs)]:
        yield ", ".join(said)


FAR = 10.0


def _cost(off: Off, first: bool) -> str:
    if off.diverges:
        return f"{off.text} diverges"
    return f"{off.text}{' costs' if first else ''} {short(off.cost or 0.0)}"


def _range(axis: Axis, ends: tuple[float, float]) -> str:
    if axis.decades:
        low, high = (end if axis.exponent else math.log10(end) for end in ends)
        return f"from 10^{low:.2g} to 10^{high:.2g}"
    if axis.name.startswith("decay_point"):
        return f"from {100 * ends[0]:.0f} to {100 * ends[1]:.0f} %"
    return f"from {ends[0]:.3g} to {ends[1]:.3g}"


def _beside(valley: Valley) -> str:
    return f"{valley.name}: {'; '.join(_along(valley))}"


def _edge(valley: Valley) -> str:
    assert valley.wider
    low, high = (f"{end:.4g}" for end in valley.wider)
    return (
        f"the best {valley.name} lies at the {valley.edge} end of its range: widen it, "
        f"--set space.{valley.name}='{{low: {low}, high: {high}{', log: true' if valley.log else ''}}}'"
    )


def _health(told: Told) -> list[str]:
    return [told.health.sentence, *told.health.lines] if told.trials else []


def _without_a_best(told: Told) -> str:
    if not told.trials:
        return "no trial has ended yet"
    states = ", ".join(f"{n} {state}" for state, n in counts(told.trials).items())
    return f"no trial of {counted(len(told.trials), 'trial')} is complete: {states}"


def _capital(text: str) -> str:
    return text[:1] + text[1:]
