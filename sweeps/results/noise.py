"""The noise of another seed, and the trials that cannot be told from the best because of it. Pure functions."""

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from espalier.core.errors import counted
from espalier.sweeps.results.formatting import decimals
from espalier.sweeps.results.trial_result import TrialResult, ranked
from espalier.sweeps.spec.spec import SweepSpec

CONFIDENCE = 0.95
POOLED_SHARE, POOLED_LEAST = 0.25, 5  # of the complete trials: noise grows towards rates that nearly diverge
UNKNOWN = (
    "noise: of another seed is unknown, so nothing can be said of ties; confirm: 3 trains the 3 best trials once more, "
    "replicates: 2 every trial twice"
)


@dataclass(frozen=True)
class Noise:
    """The standard deviation of the objective of one configuration over seeds.

    sd: of a single training. degrees: of freedom of the estimate. source: what it was estimated from.
    """

    sd: float
    degrees: int
    source: str

    def least_difference(self, replicates: int = 1) -> float:
        """Return the difference from which on two trials can be told apart at 95 %.

        Student's two-sided t test of the difference of two single measurements (1908), each the mean of so many
        replicates: t(0.975, degrees) * sd * sqrt(2 / replicates).

        - It takes trials for independent. Those of a sweep share a seed, which makes most differences smaller.
        - It compares one pair, as a person does who weighs a trial against the best. It is not widened for many
          comparisons as Dunnett's test (1955) is: with a few degrees of freedom that would name most of a sweep.
        - Simulated with 96 trials and 3 or 8 confirmations, the truly best trial is the best or a tie in 94-99 % of
          sweeps. There the noise comes out 0-45 % too large, since the best trials were lucky with their seed.

        >>> round(Noise(0.0021, 3, "3 confirmations").least_difference(), 4)
        0.0095
        """
        from scipy.special import stdtrit

        t = float(stdtrit(self.degrees, (1 + CONFIDENCE) / 2))
        return t * self.sd * math.sqrt(2 / replicates)


@dataclass(frozen=True)
class Ties:
    """The complete trials that cannot be told from the best, the best of them first.

    within: how much worse than the best they may be. ranges: of each searched number, the least and the greatest value
    among them and the best; several decay points have a range each.
    """

    best: int
    trials: Sequence[int]
    within: float
    ranges: Mapping[str, tuple[float, float]]


def estimate_noise(trials: Sequence[TrialResult], mode: str, replicates: int = 1) -> Noise | None:
    """Return the noise of another seed; None if no configuration was trained under two seeds.

    It is the pooled variance within configurations: over the replicates of each trial, and over complete trials that
    differ in nothing but their seed, as a confirmation and its trial do. Pooled are the best quarter of the complete
    trials, five at least. A mean says nothing of a normal variance, so this choice does not bias the estimate.

    >>> first, again = (TrialResult(n, "complete", n / 10, {"seed": n}) for n in (0, 1))
    >>> noise = estimate_noise([first, again], "min")
    >>> round(noise.sd, 4), noise.degrees, noise.source
    (0.0707, 1, '2 trials of one configuration')
    """
    searched = [t for t in _complete(trials, mode) if t.confirms is None]
    pooled = searched[: max(POOLED_LEAST, math.ceil(POOLED_SHARE * len(searched)))]
    by_configuration: dict[str, dict[str, TrialResult]] = {}
    for t in _complete(trials, mode):
        by_configuration.setdefault(_configuration(t), {}).setdefault(str(t.params.get("seed")), t)
    groups = [[*by_configuration[name].values()] for name in dict.fromkeys(map(_configuration, pooled))]
    squares = sum(_squares(group, replicates) for group in groups)
    degrees = sum(_degrees(group, replicates) for group in groups)
    return Noise(math.sqrt(squares / degrees), degrees, _source(groups, replicates)) if degrees else None


def noise_of_means(ends: Sequence[tuple[float, float]], replicates: int) -> float | None:
    """Return the standard deviation of the mean of a trial's replicates, by another choice of seeds.

    ends: of complete trials, the value that is minimised, and the standard deviation over its replicates. Pooled are
    those that `estimate_noise` pools; None for fewer than five.

    >>> noise_of_means([(1.0, 0.5)] * 5 + [(9.0, 7.0)] * 3, replicates=4)
    0.25
    """
    best = sorted(ends)[: max(POOLED_LEAST, math.ceil(POOLED_SHARE * len(ends)))]
    if len(best) < POOLED_LEAST:
        return None
    return math.sqrt(statistics.fmean(spread**2 for _, spread in best) / replicates)


def find_ties(
    trials: Sequence[TrialResult], mode: str, noise: Noise, searched: Collection[str], replicates: int = 1
) -> Ties | None:
    """Return the trials that cannot be told from the best at 95 %; None without a best.

    searched: the names of the searched hyperparameters.
    """
    complete = [t for t in _complete(trials, mode) if t.confirms is None]
    if not complete:
        return None
    best, within = complete[0], noise.least_difference(replicates)
    near = [t for t in complete if abs(_value(t) - _value(best)) <= within]
    return Ties(best.number, tuple(t.number for t in near[1:]), within, _ranges(near, searched))


def compare_with_best(trials: Sequence[TrialResult], spec: SweepSpec) -> tuple[Noise | None, Ties | None]:
    """Return the noise of a sweep, and the ties with its best trial; None for what is unknown."""
    mode, replicates = spec.objective.mode, spec.replicates
    noise = estimate_noise(trials, mode, replicates)
    return noise, noise and find_ties(trials, mode, noise, spec.space.searched(), replicates)


def noise_line(noise: Noise | None, ties: Ties | None) -> str:
    """Return what is known of the noise and of ties, as one sentence.

    >>> ties = Ties(80, (12, 3), 0.0095, {"lr_exponent": (-1.1, -0.8)})
    >>> noise_line(Noise(0.0021, 3, "3 confirmations"), ties).partition(": 2")[2]
    ' trials cannot be told from the best: lr_exponent -1.1 to -0.8'
    """
    if noise is None or ties is None:
        return UNKNOWN
    measured = f"noise: of another seed {decimals(noise.sd)} (from {noise.source}): "
    if not ties.trials:
        return f"{measured}no other trial is as good as the best"
    count = counted(len(ties.trials), "trial")
    ranges = ", ".join(f"{name} {_range(*ends)}" for name, ends in ties.ranges.items())
    return f"{measured}{count} cannot be told from the best: {ranges}".removesuffix(": ")


def noise_document(noise: Noise | None, ties: Ties | None) -> dict[str, object]:
    """Return the noise and the ties as JSON values, null for what is unknown."""
    ranges = ties and {name: list(ends) for name, ends in ties.ranges.items()}
    return {
        "noise": noise and asdict(noise),
        "ties": ties and {"trials": list(ties.trials), "within": ties.within, "ranges": ranges},
    }


def _complete(trials: Sequence[TrialResult], mode: str) -> list[TrialResult]:
    """Return the complete trials, the best first; confirmations are the last."""
    return [t for t in ranked(trials, mode) if t.state == "complete" and t.value is not None]


def _value(trial: TrialResult) -> float:
    assert trial.value is not None
    return trial.value


def _configuration(trial: TrialResult) -> str:
    """Return the configuration of a trial without its seed."""
    return json.dumps({name: value for name, value in trial.params.items() if name != "seed"}, sort_keys=True)


def _squares(group: Sequence[TrialResult], replicates: int) -> float:
    """Return the squared deviations of all trainings of a configuration from their mean."""
    mean = statistics.fmean(map(_value, group))
    return sum(replicates * (_value(t) - mean) ** 2 + (replicates - 1) * (t.spread or 0.0) ** 2 for t in group)


def _degrees(group: Sequence[TrialResult], replicates: int) -> int:
    return len(group) - 1 + sum(replicates - 1 for t in group if t.spread is not None)


def _source(groups: Sequence[Sequence[TrialResult]], replicates: int) -> str:
    confirmations = sum(t.confirms is not None for group in groups for t in group)
    repeated = [len(group) for group in groups if len(group) > 1 and not any(t.confirms is not None for t in group)]
    parts = [f"{counted(len(groups), 'trial')} of {replicates} seeds"] if replicates > 1 else []
    parts += [counted(confirmations, "confirmation")] if confirmations else []
    if repeated:
        many = "one configuration" if len(repeated) == 1 else f"{len(repeated)} configurations"
        parts.append(f"{sum(repeated)} trials of {many}")
    return " and ".join(parts)


def _ranges(trials: Sequence[TrialResult], searched: Collection[str]) -> dict[str, tuple[float, float]]:
    values: dict[str, list[float]] = {}
    for t in trials:
        for name, value in t.params.items():
            if name in searched and name != "seed":
                for place, number in enumerate(value if isinstance(value, list) else [value], 1):
                    if isinstance(number, int | float) and not isinstance(number, bool):
                        values.setdefault(name if place == 1 else f"{name} ({place})", []).append(float(number))
    return {name: (min(numbers), max(numbers)) for name, numbers in values.items()}


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
