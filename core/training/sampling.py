"""The steps at which the update ratios of trials are sampled."""

from collections.abc import Sequence

from espalier.core.measures.ratios import Spacing, between, sample_steps
from espalier.core.training.lane import Lane
from espalier.core.training.trial import Trial


class Sampling:
    """Samples the ratios of `tensors` at `samples` steps of each trial; see measures.ratios.sample_steps."""

    def __init__(self, tensors: Sequence[str], samples: int, spacing: Spacing):
        self.tensors = list(tensors)
        self.samples, self.spacing = samples, spacing

    def steps_of(self, trial: Trial) -> tuple[int, ...]:
        """Return the steps of a trial at which ratios are sampled."""
        return sample_steps(trial.steps, self.samples, self.spacing)

    def due(self, active: Sequence[Lane], steps: int) -> dict[int, list[int]]:
        """Return, for each step of a stretch with samples, the lanes that are sampled there."""
        due: dict[int, list[int]] = {}
        for k, lane in enumerate(active if self.tensors else []):
            if not lane.is_probe:
                marks = {s for trial in lane.trials for s in between(self.steps_of(trial), lane.step, steps)}
                for s in sorted(marks):
                    due.setdefault(s - lane.step, []).append(k)
        return due

    def of_trial(self, lane: Lane, trial: Trial) -> list[list[float]]:
        """Return the ratios at a trial's own sampling steps; its lane may have more."""
        own = set(self.steps_of(trial))
        return [list(sample) for sample in lane.samples if sample[0] in own]
