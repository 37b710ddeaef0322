"""The rows of a sweep's table, one for each trial; the best one, and counts. Pure functions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from espalier.core.errors import counted
from espalier.core.training.memory import UNKNOWN, Memory
from espalier.sweeps.spec.space import Point

UNFINISHED = ("running", "interrupted")  # states of trials that have not ended


@dataclass(frozen=True)
class TrialResult:
    """One row of a sweep's table."""

    number: int
    state: str  # running, complete, diverged, stopped, failed
    value: float | None
    params: Point
    spread: float | None = None
    verdict: str = ""
    evidence: str = ""
    duration_s: float | None = None
    reports: Mapping[int, float] = field(default_factory=dict[int, float])
    scores: Mapping[int, float] = field(default_factory=dict[int, float])
    """the objective that it would have had at each rung, by step, where a search stops or parks trials"""
    ended: float | None = None  # seconds since 1970
    mlflow_run: str = ""  # the id of its MLflow run, once it exists
    to_beat: float | None = None  # the baseline: the objective of a constant guess, or of its untrained model
    compared: bool = False  # whether its verdict comes from a comparison with others
    missing: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """metrics that were no number: in n of m reports"""
    memory: Memory = UNKNOWN
    """the most that its process took, where it is one"""
    confirms: int | None = None
    """the trial whose configuration it trains again under another seed; None for a trial of the search"""


def best_trial(trials: Sequence[TrialResult], mode: str) -> TrialResult | None:
    """Return the complete trial with the best value, the earlier of two equals; None if there is none.

    A confirmation is never the best: it has the configuration of one that was searched.
    """
    complete = [t for t in searched(trials) if t.state == "complete" and t.value is not None]
    sign = 1 if mode == "min" else -1
    return min(complete, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)


def ranked(trials: Sequence[TrialResult], mode: str) -> list[TrialResult]:
    """Return complete trials, the best first, then the others by number, then confirmations in the same order."""
    sign = 1 if mode == "min" else -1

    def place(t: TrialResult) -> tuple[bool, bool, float, int]:
        complete = t.state == "complete"
        return t.confirms is not None, not complete, sign * (t.value or 0.0) if complete else 0.0, t.number

    return sorted(trials, key=place)


ONE_BATCH_WITHOUT = (
    "a validation averages its batches, and one of them had no value; see sweep check, or set the task's "
    "evaluation_batch_size to None"
)


def searched(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials of the search, without confirmations."""
    return [t for t in trials if t.confirms is None]


def notes(trials: Sequence[TrialResult], own_loop: bool = False) -> list[str]:
    """Return notes on all trials together: metrics that were NaN or infinite, and confirmations that did not complete.

    own_loop: whether a function or a command trains, which computes its metrics itself.

    >>> trials = [TrialResult(n, "complete", 1.0, {}, missing={"valid_auc": (2, 10)}) for n in range(3)]
    >>> notes(trials)[0].partition(":")[0]
    'valid_auc was no number in reports of 3 trials'
    >>> notes(trials, own_loop=True)
    ['valid_auc was no number in reports of 3 trials']
    """
    trials_of = Counter(name for trial in trials for name in trial.missing)
    why = "" if own_loop else f": {ONE_BATCH_WITHOUT}"
    missing = [f"{name} was no number in reports of {counted(n, 'trial')}{why}" for name, n in trials_of.items()]
    refuted = [t for t in trials if t.confirms is not None and t.state not in ("complete", *UNFINISHED)]
    return missing + [
        f"trial {t.confirms} {t.state} under another seed: {t.evidence} (trial {t.number})" for t in refuted
    ]


def at_rest(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials of a sweep that no process drives: those that Optuna calls running were interrupted.

    >>> [trial.state for trial in at_rest([TrialResult(0, "running", None, {}), TrialResult(1, "failed", None, {})])]
    ['interrupted', 'failed']
    """
    return [replace(trial, state="interrupted") if trial.state == "running" else trial for trial in trials]


def health_line(number: int, verdict: str, evidence: str) -> str:
    """Return the verdict on a trial and its evidence as a line, which says the verdict once.

    >>> health_line(2, "diverged", "diverged at step 8"), health_line(3, "hot", "its ratio is -1")
    ('trial 2 diverged at step 8', 'trial 3 hot: its ratio is -1')
    """
    return f"trial {number} {evidence if evidence.startswith(f'{verdict} ') else f'{verdict}: {evidence}'}"


def spans(trials: Sequence[TrialResult]) -> list[tuple[float, float]]:
    """Return when each ended trial began and ended, in seconds since 1970, in order."""
    known = ((t.ended, t.duration_s) for t in trials)
    return sorted((ended - seconds, ended) for ended, seconds in known if ended is not None and seconds is not None)


def under_way_s(trials: Sequence[TrialResult]) -> float:
    """Return for how long at least one trial was under way: times in which none was do not count.

    >>> trial = TrialResult(0, "complete", 1.0, {}, duration_s=5.0, ended=15.0)
    >>> under_way_s([trial, replace(trial, ended=17.0)]), under_way_s([trial, replace(trial, ended=700.0)])
    (7.0, 10.0)
    """
    busy_s, until = 0.0, -math.inf
    for begin, end in spans(trials):
        busy_s += max(0.0, end - max(begin, until))
        until = max(until, end)
    return busy_s


def counts(trials: Sequence[TrialResult]) -> dict[str, int]:
    """Return how many trials of the search are in each state.

    >>> counts([TrialResult(0, "complete", 1.0, {}), TrialResult(1, "running", None, {})])
    {'complete': 1, 'running': 1}
    """
    return dict(sorted(Counter(trial.state for trial in searched(trials)).items()))


def counts_text(trials: Sequence[TrialResult]) -> str:
    """Return how many trials are in each state, in words; "" for none.

    >>> counts_text([TrialResult(0, "complete", 1.0, {}), TrialResult(1, "running", None, {})])
    '1 complete, 1 running'
    """
    return ", ".join(f"{number} {state}" for state, number in counts(trials).items())
