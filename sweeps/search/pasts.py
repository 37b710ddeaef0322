"""What a sampler of whole trials is to know when it proposes a trial, where that is not just what its sweep has.

When a sweep is extended it is what a sweep of that length would know. Then the search had not been confirmed yet, and
of a search in rounds, the last round was whole. When a sweep has taken something from another, every other one of its
first trunks is proposed as if these ends were its own: no more, since the other sweep may mislead. So a sampler is
asked in a study in memory that has these trials alone; those of the round count as running there.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from espalier.sweeps.samplers.codec import Codec
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.taken import Taken, log_gaps
from espalier.sweeps.search.trial_record import TrialRecord, sampled_params, storable
from espalier.sweeps.spec.space import Point

HINTED = 10
"""Trunks that are proposed in the presence of another sweep's ends: as many as TPE else draws at random."""


class Pasts:
    """Studies with what counts for a proposal, where that is another thing than what the sweep has."""

    def __init__(self, record: SweepRecord, domains: Mapping[str, BaseDistribution]):
        """domains: what is searched."""
        self.record, self.domains = record, domains
        self.round, self.branches = record.begun_spec.round_trials, record.spec.branches
        self._last: tuple[tuple[int, bool], optuna.Study] | None = None  # of a round: its begin, whether it has hints

    def of(self, place: int) -> optuna.Study | None:
        """Return the study in which the trial of the search at a place is proposed; None for that of the sweep."""
        trunk = place // self.branches
        taken = self.record.taken if trunk % 2 == 0 and trunk < 2 * HINTED else None
        if not self.record.extensions and taken is None:
            return None
        begin = place - place % self.round if self.round else place
        key = begin, taken is not None
        if self._last and self.round and self._last[0] == key:
            return self._last[1]
        trials = self.record.trials()
        search = [trial for trial in trials if trial.confirms is None]
        if taken is None and len(search) == len(trials) and all(trial.running for trial in search[begin:]):
            return None
        study = self._study(search, begin, taken)
        self._last = key, study
        return study

    def _study(self, search: Sequence[TrialRecord], begin: int, taken: Taken | None) -> optuna.Study:
        """Return a study with a search's trials, of which those from a place on are running, and what was taken."""
        direction = self.record.study.direction
        past = optuna.create_study(storage=InMemoryStorage(), direction=direction)
        ended = [trial.frozen for trial in search[:begin]]
        past.add_trials(self._beside(ended, taken) if taken else ended)
        for trial in search[begin:]:
            params, domains = trial.frozen.params, trial.frozen.distributions
            past.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=domains))
        return past

    def _beside(self, ended: Sequence[FrozenTrial], taken: Taken) -> list[FrozenTrial]:
        """Return trials and what was taken, with values that can be compared: each on the scale of its own sweep."""
        sign = self.record.spec.objective.sign
        complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        own = log_gaps([sign * float(trial.value or 0.0) for trial in complete]) if complete else []
        theirs = log_gaps([sign * value for _, value in taken.trials])
        points = filled(self.record, self.domains, taken)
        return [
            *(trial for trial in ended if trial.state != TrialState.COMPLETE),
            *(_complete(trial.params, trial.distributions, sign * y) for trial, y in zip(complete, own, strict=True)),
            *(
                _complete(point, {name: self.domains[name] for name in point}, sign * y)
                for point, y in zip(points, theirs, strict=True)
            ),
        ]


def filled(record: SweepRecord, domains: Mapping[str, BaseDistribution], taken: Taken) -> list[Point]:
    """Return the points that were taken, as Optuna has them; what the other sweep had not is drawn at random.

    So nothing is learnt of it.
    """
    spec = record.spec
    conditions = {
        name: {on: [storable(value) for value in values] for on, values in among.items()}
        for name, among in spec.space.sampled_conditions().items()
    }
    codec, dice = Codec(domains, conditions=conditions), np.random.default_rng([spec.search.seed, len(taken.trials)])
    points: list[Point] = []
    for point, _ in taken.trials:
        known = {name: storable(value) for name, value in point.items()}
        drawn = codec.params(codec.space.point(dice.random(codec.space.dimensions)))
        whole = drawn | known
        params = sampled_params(whole)
        points.append({name: value for name, value in whole.items() if spec.space.exists(name, params)})
    return points


def _complete(params: Point, domains: Mapping[str, BaseDistribution], value: float) -> FrozenTrial:
    return create_trial(state=TrialState.COMPLETE, params=params, distributions=dict(domains), value=value)
