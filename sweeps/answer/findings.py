"""What the trials of a sweep show, before it is put in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espalier.sweeps.answer.axes import Axis, Searched
from espalier.sweeps.answer.health import Health
from espalier.sweeps.answer.options import Options
from espalier.sweeps.answer.trials import Points
from espalier.sweeps.answer.valley import Valley
from espalier.sweeps.results.noise import Noise, Ties
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class Gain:
    """What tuning gained over an untuned run. value: of the reference, gain: how much worse it is than the best trial.

    A gain below 0 says that the reference is better than every trial. hint: how a sweep trains by it.
    """

    name: str
    title: str
    value: float
    gain: float
    hint: str = ""


@dataclass(frozen=True)
class Findings:
    """What is not known is None or empty.

    spec, state, trials, references: as they were given. what: was searched, numbers along axes, and choices.
    best: the best complete trial.
    slices: the valley along each numeric hyperparameter that was searched, the most important first; a valley needs
    four trials at three places, which are complete or were scored on their way. valley: that of the learning rate, or
    where none was searched the first slice.
    options: of each searched choice that is no number, its values side by side, each at its own best.
    noise, ties: of another seed; see `sweeps.results.noise`.
    gain: over each reference that has a value. importance: of each searched hyperparameter, the shares add up to 1, the
    greatest first; empty for fewer than three.
    points: what the valleys were drawn from, with the surface of all numbers and choices together.
    """

    spec: SweepSpec
    what: Searched
    state: str
    trials: Sequence[TrialResult]
    references: Sequence[ReferenceResult]
    best: TrialResult | None
    valley: Valley | None
    slices: Sequence[Valley]
    options: Sequence[Options]
    noise: Noise | None
    ties: Ties | None
    gain: Sequence[Gain]
    importance: Mapping[str, float]
    health: Health
    points: Points = field(repr=False, compare=False)

    @property
    def rate(self) -> Axis | None:
        """The axis of the learning rate; None where it was not searched."""
        return self.what.rate

    @property
    def diverging(self) -> tuple[Axis, float] | None:
        """The axis of the rate, and from which rate on half of all trials or more diverged; None if none did."""
        return self.points.diverging

    def slice_of(self, name: str) -> Valley | None:
        """Return the valley along a hyperparameter; None where it has none."""
        return next((valley for valley in self.slices if valley.name == name), None)
