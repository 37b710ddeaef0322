"""What a sampler may know when a sweep is extended: what it would know if the sweep had been as long from the start.

Then the search had not been confirmed yet, and of a search in rounds, the last round was whole. So a sampler is asked
in a study in memory that has the trials of the search alone; those of the round count as running there.
"""

from collections.abc import Sequence

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.trial_record import TrialRecord


class Pasts:
    """Studies with what counts of a sweep, while that is less than the sweep has."""

    def __init__(self, record: SweepRecord):
        self.record, self.round = record, record.begun_spec.round_trials
        self._of_round: tuple[int, optuna.Study] | None = None  # the place at which it begins, and its study

    def of(self, place: int) -> optuna.Study | None:
        """Return the study in which the trial of the search at a place is proposed; None for that of the sweep."""
        if not self.record.extensions:
            return None
        begin = place - place % self.round if self.round else place
        if self._of_round and self.round and self._of_round[0] == begin:
            return self._of_round[1]
        trials = self.record.trials()
        search = [trial for trial in trials if trial.confirms is None]
        if len(search) == len(trials) and all(trial.running for trial in search[begin:]):
            return None
        study = _study_of(self.record.study, search, begin)
        self._of_round = begin, study
        return study


def _study_of(study: optuna.Study, search: Sequence[TrialRecord], begin: int) -> optuna.Study:
    """Return a study with these trials, of which those from a place on are running."""
    past = optuna.create_study(storage=InMemoryStorage(), direction=study.direction)
    for trial in search[:begin]:
        past.add_trial(trial.frozen)
    for trial in search[begin:]:
        frozen = trial.frozen
        past.add_trial(create_trial(state=TrialState.RUNNING, params=frozen.params, distributions=frozen.distributions))
    return past
