"""What was wrong with the runs: how many have each verdict, and what a person must know of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espalier.core.errors import counted
from espalier.core.measures.verdicts import OUT_OF_MEMORY, VERDICTS
from espalier.sweeps.results.trial_result import TrialResult, notes, searched

WELL = ("healthy", "catapult")
"""Verdicts that are no problem."""


@dataclass(frozen=True)
class Health:
    """trials: how many ended. counts: how many have each verdict, from the best to the worst; "failed" has none.

    lines: what a person must know, a sentence each, what matters most first; empty: nothing was wrong.
    """

    trials: int
    counts: Mapping[str, int]
    lines: Sequence[str]

    @property
    def unhealthy(self) -> int:
        """How many are."""
        return sum(number for name, number in self.counts.items() if name not in WELL)

    @property
    def sentence(self) -> str:
        """How many were unhealthy, and in what way.

        >>> Health(9, {"healthy": 6, "hot": 1, "diverged": 2}, []).sentence
        '3 of 9 trials were unhealthy: 2 diverged, 1 hot'
        >>> Health(1, {"healthy": 1}, []).sentence
        'the only trial was healthy'
        """
        if not self.unhealthy:
            return "the only trial was healthy" if self.trials == 1 else f"all {self.trials} trials were healthy"
        wrong = sorted(((n, name) for name, n in self.counts.items() if name not in WELL), key=lambda each: -each[0])
        seen = ", ".join(f"{n} {name}" for n, name in wrong)
        were = "was" if self.unhealthy == 1 else "were"
        return f"{self.unhealthy} of {counted(self.trials, 'trial')} {were} unhealthy: {seen}"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "trials": self.trials,
            "unhealthy": self.unhealthy,
            "counts": dict(self.counts),
            "lines": list(self.lines),
        }


def health_of(trials: Sequence[TrialResult], best: TrialResult | None, own_loop: bool) -> Health:
    """Return the health of a sweep's trials. own_loop: whether a function or a command trains."""
    ended = [t for t in searched(trials) if t.state not in ("running", "interrupted")]
    seen = Counter(t.verdict or ("failed" if t.state == "failed" else "healthy") for t in ended)
    order = (*VERDICTS, OUT_OF_MEMORY)
    names = sorted(seen, key=lambda name: order.index(name) if name in order else len(order))
    lines: list[str] = []
    if best and best.verdict not in (*WELL, ""):
        lines.append(f"the best trial itself is {best.verdict}: {best.evidence}")
    lines += notes(trials, own_loop)
    return Health(len(ended), {name: seen[name] for name in names}, lines)
