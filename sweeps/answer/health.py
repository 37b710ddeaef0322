"""What was wrong with the runs: how many have each verdict, and what a person must know of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from espalier.core.errors import counted
from espalier.core.measures.verdicts import OUT_OF_MEMORY, VERDICTS
from espalier.sweeps.answer.axes import Axis, range_text, spoken
from espalier.sweeps.results.trial_result import UNFINISHED, TrialResult, notes, searched

WELL = ("healthy", "catapult")
"""Verdicts that are no problem."""
FAILED = "failed"
"""In the place of a verdict: the trial ended by an error."""
UNJUDGED = "not judged"
"""In the place of a verdict: of a function or a command that reports no ratios, as a rule."""
OFTEN = 0.25
"""The share of trials from which on a verdict of theirs is something that a person must know."""


@dataclass(frozen=True)
class Group:
    """The trials with one verdict. numbers: of the trials. rates: the least and the greatest rate of them.

    rates are in the unit of the axis of the learning rate, None where none was searched. evidence: of the first trial.
    """

    verdict: str
    numbers: Sequence[int]
    rates: tuple[float, float] | None
    evidence: str

    def line(self, axis: Axis | None) -> str:
        """Return it as a sentence. axis: of the learning rate.

        >>> Group("hot", [4, 7], None, "the median ratio is -0.8").line(None)
        '2 trials hot: the median ratio is -0.8 (trial 4)'
        """
        where = f" at {spoken(axis)} {range_text(axis, *self.rates)}" if axis and self.rates else ""
        why = f": {self.evidence} (trial {self.numbers[0]})" if self.evidence else ""
        return f"{counted(len(self.numbers), 'trial')} {self.verdict}{where}{why}"


@dataclass(frozen=True)
class Health:
    """trials: how many ended. groups: by verdict, from the best to the worst; "failed" and "not judged" have none.

    lines: what a person must know, a sentence each, what matters most first; empty: nothing was wrong.
    """

    trials: int
    groups: Sequence[Group]
    lines: Sequence[str]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many trials have each verdict, from the best to the worst."""
        return {group.verdict: len(group.numbers) for group in self.groups}

    @property
    def problems(self) -> Sequence[Group]:
        """The groups of unhealthy trials, the largest first."""
        bad = [group for group in self.groups if group.verdict not in (*WELL, UNJUDGED)]
        return sorted(bad, key=lambda group: -len(group.numbers))

    @property
    def unhealthy(self) -> int:
        """How many are."""
        return sum(len(group.numbers) for group in self.problems)

    @property
    def sentence(self) -> str:
        """How many were unhealthy, and in what way.

        >>> groups = [Group("healthy", [0, 1], None, ""), Group("hot", [3], None, "")]
        >>> Health(3, groups, []).sentence, Health(2, groups[:1], []).sentence
        ('health: 1 of 3 trials was unhealthy (1 hot)', 'health: all 2 trials were healthy')
        """
        judged = self.trials - self.counts.get(UNJUDGED, 0)
        if self.unhealthy:
            seen = ", ".join(f"{len(group.numbers)} {group.verdict}" for group in self.problems)
            were = "was" if self.unhealthy == 1 else "were"
            return f"health: {self.unhealthy} of {counted(self.trials, 'trial')} {were} unhealthy ({seen})"
        if not judged:
            return f"health: nothing is known of it, no trial of {self.trials} has a verdict"
        if judged == 1:
            return (
                "health: the only trial was healthy" if self.trials == 1 else "health: the one that was judged is well"
            )
        return f"health: all {judged:,} trials{'' if judged == self.trials else ' with a verdict'} were healthy"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "trials": self.trials,
            "unhealthy": self.unhealthy,
            "sentence": self.sentence,
            "groups": [asdict(group) for group in self.groups],
            "lines": list(self.lines),
        }


def health_of(trials: Sequence[TrialResult], best: TrialResult | None, rate: Axis | None, own_loop: bool) -> Health:
    """Return the health of a sweep's trials. rate: the axis of the learning rate. own_loop: see `notes`."""
    ended = [t for t in searched(trials) if t.state not in UNFINISHED]
    by_verdict: dict[str, list[TrialResult]] = {}
    for t in ended:
        by_verdict.setdefault(_verdict(t), []).append(t)
    order = ("", UNJUDGED, *VERDICTS, OUT_OF_MEMORY, FAILED)
    names = sorted(by_verdict, key=lambda name: order.index(name) if name in order else len(order))
    groups = [_group(name, by_verdict[name], rate) for name in names]
    health = Health(len(ended), groups, [])
    return Health(len(ended), groups, [*_must_know(health, best, rate), *notes(trials, own_loop)])


def _verdict(trial: TrialResult) -> str:
    if trial.verdict:
        return trial.verdict
    return trial.state if trial.state in (FAILED, "diverged") else UNJUDGED


def _group(verdict: str, trials: Sequence[TrialResult], axis: Axis | None) -> Group:
    rates = [rate for t in trials if axis and (rate := axis.value(t.params)) is not None]
    ends = (min(rates), max(rates)) if rates else None
    return Group(verdict, [t.number for t in trials], ends, next((t.evidence for t in trials if t.evidence), ""))


def _must_know(health: Health, best: TrialResult | None, rate: Axis | None) -> list[str]:
    """Return a sentence on the best trial if it is unhealthy, and one on each verdict that many trials have."""
    lines: list[str] = []
    if best and _verdict(best) not in (*WELL, UNJUDGED):
        lines.append(f"the best trial itself is {best.verdict}: {best.evidence}")
    many = [g for g in health.problems if len(g.numbers) >= OFTEN * health.trials or g.verdict == FAILED]
    return lines + [group.line(rate) for group in many]
