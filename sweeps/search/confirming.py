"""Confirmations: the best trials once more, each under another seed, after the search has ended.

They are trials of the study like all others, and marked. No sampler hears of them: nothing is proposed after them.
"""

from collections.abc import Sequence

from espalier.sweeps.search.trial_record import TrialRecord
from espalier.sweeps.spec.spec import SweepSpec


def best_to_confirm(spec: SweepSpec, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials to confirm, the best first: as many as the spec says, or as are complete."""
    complete = [trial for trial in trials if trial.confirms is None and trial.value is not None]
    return sorted(complete, key=lambda trial: (spec.objective.sign * (trial.value or 0.0), trial.number))[
        : spec.confirm
    ]


def unconfirmed(spec: SweepSpec, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials to confirm that have no confirmation yet."""
    confirmed = {trial.confirms.trial for trial in trials if trial.confirms}
    return [trial for trial in best_to_confirm(spec, trials) if trial.number not in confirmed]


def confirmations_wanted(spec: SweepSpec, trials: Sequence[TrialRecord], searched: int) -> int:
    """Return how many confirmations a sweep is to have: once its search has ended, no more than trials are complete.

    Those of before an extension count too, also of trials that are no longer among the best. searched: how many trials
    its search is to have.
    """
    there = sum(trial.confirms is not None for trial in trials)
    return there + (len(unconfirmed(spec, trials)) if search_is_over(trials, searched) else spec.confirm)


def all_confirmed(spec: SweepSpec, trials: Sequence[TrialRecord], searched: int) -> bool:
    """Whether the search has ended, and each trial that is to be confirmed has a confirmation."""
    return search_is_over(trials, searched) and not unconfirmed(spec, trials)


def search_is_over(trials: Sequence[TrialRecord], searched: int) -> bool:
    """Whether every trial of the search has ended."""
    search = [trial for trial in trials if trial.confirms is None]
    return len(search) >= searched and not any(trial.running for trial in search)
