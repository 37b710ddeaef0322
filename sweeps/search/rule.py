"""Rebuild the stopping rule from a sweep's storage: all scores and decisions so far."""

import math

from espalier.sweeps.cohorts import rungs
from espalier.sweeps.search.halving import Halving
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.trial_record import RungScore, TrialRecord


def stopping_rule(record: SweepRecord) -> Halving | None:
    """Return the rule of a sweep; None for one without early stopping. A diverged trial ranks worst."""
    if record.spec.stopping is None:
        return None
    sign = record.spec.objective.sign
    rule = Halving(record.spec.stopping, sign)
    for trial in record.trials():
        _replay(rule, trial, rungs(record.spec), sign)
    return rule


def _replay(rule: Halving, trial: TrialRecord, rungs: tuple[int, ...], sign: float) -> None:
    """Add a trial's scores, and the decision on it."""
    scores, reached = trial.scores, max(trial.reports, default=0)
    rule.decided |= {(rung, trial.number): "" for rung in rungs if rung < reached}
    if trial.stop_evidence is not None and scores:  # at the last rung that all its replicates reached
        rule.decided[max(scores), trial.number] = trial.stop_evidence
    if trial.status == "diverged":
        scores = {rung: RungScore(None, trial.leader) for rung in rungs if rung > reached} | scores
    rule.enter(
        (rung, trial.number, math.inf if score.value is None else sign * score.value, score.leader)
        for rung, score in scores.items()
    )
