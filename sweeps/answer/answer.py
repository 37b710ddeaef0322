"""The answer of a sweep: which values to use, how sure that is, what tuning gained, and what was wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from espalier.core.one_thread import one_thread
from espalier.sweeps.answer.axes import Searched
from espalier.sweeps.answer.findings import Findings, Gain
from espalier.sweeps.answer.health import health_of
from espalier.sweeps.answer.options import options_of
from espalier.sweeps.answer.trials import Points
from espalier.sweeps.answer.valley import Valley, valley_of
from espalier.sweeps.answer.words import brief_of, sentences_of
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.noise import Noise, compare_with_best, noise_document
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec

IMPORTANCE_LEAST = 3
"""The importance is told from so many searched hyperparameters on."""


@dataclass(frozen=True)
class Answer(Findings):
    """The answer of a sweep: what its trials show, and that in sentences."""

    @cached_property
    def sentences(self) -> Sequence[str]:
        """The whole answer in reading order."""
        return sentences_of(self)

    @cached_property
    def brief(self) -> Sequence[str]:
        """The sentences without those on health and on valleys of other numbers."""
        return brief_of(self)

    @property
    def sentence(self) -> str:
        """The answer in one sentence, the first."""
        return self.sentences[0]

    @property
    def without_health(self) -> Sequence[str]:
        """The sentences without those on health."""
        health = (self.health.sentence, *self.health.lines)
        return [sentence for sentence in self.sentences if sentence not in health]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def document(self) -> dict[str, object]:
        """Return it as JSON values, null for what is not known."""
        best, metric = self.best, self.spec.objective.metric
        return finite(
            {
                "sentence": self.sentence,
                "sentences": list(self.sentences),
                "state": self.state,
                "metric": metric,
                "mode": self.spec.objective.mode,
                "best": best and {"trial": best.number, "params": dict(best.params), "value": best.value},
                "valley": self.valley and self.valley.document(),
                "slices": [valley.document() for valley in self.slices],
                "options": [options.document() for options in self.options],
                **noise_document(self.noise, self.ties),
                "gain": [vars(gain) for gain in self.gain],
                "importance": dict(self.importance),
                "health": self.health.document(),
            }
        )


@one_thread()
def answer_of(
    spec: SweepSpec,
    trials: Sequence[TrialResult],
    references: Sequence[ReferenceResult] = (),
    state: str = "finished",
) -> Answer:
    """Return the answer of a sweep. trials: all of them. state: running, interrupted, finished ...

    Equal trials have equal answers: its random draws have a fixed seed. It takes less than a second for 2,000 trials.
    """
    points = Points.of(spec, trials)
    noise, ties = compare_with_best(trials, spec)
    importance = _importance(points.what, spec, trials)
    slices = _slices(points, noise, importance)
    rate = next((valley for valley in slices if valley.axis.rate), None)
    valley = rate or (slices[0] if slices and not points.what.rate else None)
    return Answer(
        spec=spec,
        what=points.what,
        state=state,
        trials=trials,
        references=references,
        best=points.best,
        valley=valley,
        slices=slices,
        options=[options_of(factor, trials, spec.objective.mode) for factor in points.what.factors],
        noise=noise,
        ties=ties,
        gain=_gains(references, points.best, spec),
        importance=importance,
        health=health_of(trials, points.best, points.what.rate, spec.is_foreign),
        points=points,
    )


def _slices(points: Points, noise: Noise | None, importance: Mapping[str, float]) -> list[Valley]:
    """Return the valley along each number of which enough was tried."""
    surface = points.surface
    if surface is None:
        return []
    replicates = points.spec.replicates
    known = None if noise is None else noise.sd / replicates**0.5
    slices: list[Valley] = []
    for axis in points.what.axes:
        if along := points.along(axis):
            paths = surface.valleys(points.line(along))
            scatter = surface.noise if known is None else known
            slices.append(valley_of(along, paths, points.spec.objective.sign, scatter, known is not None))
    return sorted(slices, key=lambda valley: (-importance.get(valley.name, 0.0), not valley.axis.rate))


def _gains(references: Sequence[ReferenceResult], best: TrialResult | None, spec: SweepSpec) -> list[Gain]:
    if best is None or best.value is None:
        return []
    sign = spec.objective.sign
    known = [(each, each.value) for each in references if each.value is not None]
    return [Gain(each.name, each.title, value, sign * (value - best.value), each.hint) for each, value in known]


def _importance(what: Searched, spec: SweepSpec, trials: Sequence[TrialResult]) -> Mapping[str, float]:
    """Return the importance of each searched hyperparameter; empty for fewer than three of them."""
    if len(what.names()) < IMPORTANCE_LEAST:
        return {}
    from espalier.sweeps.search.importance import importance_of  # which loads optuna

    return importance_of(spec, trials)
