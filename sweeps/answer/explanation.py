"""A sweep explained: why this is the best, why each piece was trained, what was unhealthy, what to try next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from espalier.core.errors import counted
from espalier.sweeps.answer.answer import Answer
from espalier.sweeps.answer.axes import short, value_text
from espalier.sweeps.answer.chosen import HOW, Chosen
from espalier.sweeps.answer.next_steps import Step, next_steps
from espalier.sweeps.results.formatting import decimals, finite, params_text
from espalier.sweeps.results.trial_result import TrialResult, counts_text, ranked

RUNNERS_UP = 3
PIECES = 24
"""Pieces that are told in text, without those of the best trial: the first and the last."""


@dataclass(frozen=True)
class Explanation:
    """chosen: None where the record is elsewhere, as a service's is. option: what commands need to find the sweep."""

    sweep: str
    answer: Answer
    chosen: Sequence[Chosen] | None
    option: str = ""

    @property
    def next_steps(self) -> Sequence[Step]:
        """What to try next, the most urgent first."""
        return next_steps(self.answer, self.sweep, self.option)

    @property
    def how(self) -> str:
        """How the search chose, in a sentence."""
        sampler = self.answer.spec.search.sampler
        return HOW.get(sampler, f"{sampler} proposed every point")

    def document(self) -> dict[str, object]:
        """Return everything as JSON values."""
        chosen = None if self.chosen is None else [each.document() for each in self.chosen]
        return finite(
            {
                "sweep": self.sweep,
                "answer": self.answer.document(),
                "why_best": list(self.why_best()),
                "how": self.how,
                "chosen": chosen,
                "unhealthy": list(self.unhealthy()),
                "next": [step.document() for step in self.next_steps],
            }
        )

    def lines(self) -> Iterator[str]:
        """Yield the page."""
        states = counts_text(self.answer.trials) or "no trial yet"
        yield f"{self.sweep}: {self.answer.state}; {states}"
        yield from _section("the answer", self.answer.sentences)
        yield from _section("why this is the best", self.why_best())
        yield from _section("why each was trained", self.why_chosen())
        yield from _section("what was unhealthy", self.unhealthy())
        yield from _section("what to try next", [step.line for step in self.next_steps])

    # --- sections ----------------------------------------------------------------------------------------------------

    def why_best(self) -> Iterator[str]:
        """Yield the best trial beside those next to it, and beside what was trained again of it."""
        best, metric = self.answer.best, self.answer.spec.objective.metric
        if best is None or best.value is None:
            return
        complete = [t for t in ranked(self.answer.trials, self.answer.spec.objective.mode) if t.state == "complete"]
        own = [t for t in complete if t.confirms is None]
        yield f"trial {best.number} has the best {metric} of {counted(len(own), 'complete trial')}"
        yield from (self._behind(t, best) for t in own[1 : 1 + RUNNERS_UP])
        yield from self._again(best, complete)

    def _behind(self, trial: TrialResult, best: TrialResult) -> str:
        """Return how much worse a trial is, and what is different of it."""
        ties = self.answer.ties
        tie = ", a tie" if ties and trial.number in ties.trials else ""
        apart = abs((trial.value or 0.0) - (best.value or 0.0))
        text = f"trial {trial.number} is {short(apart)} worse ({decimals(trial.value)}{tie})"
        other = ", ".join(self._other(trial, best))
        return f"{text}: {other}" if other else text

    def _other(self, trial: TrialResult, best: TrialResult) -> Iterator[str]:
        """Yield what a trial has otherwise than the best, of what was searched."""
        for axis in self.answer.what.axes:
            value = axis.value(trial.params)
            if value is not None and value != axis.value(best.params):
                yield value_text(axis, value)
        for factor in self.answer.what.factors:
            if factor.index(trial.params) != factor.index(best.params):
                yield params_text(trial.params, [factor.name])

    def _again(self, best: TrialResult, complete: Sequence[TrialResult]) -> Iterator[str]:
        """Yield what its confirmations came to, and if another trial is better over all of its seeds."""
        sign = self.answer.spec.objective.sign
        seeds: dict[int, list[float]] = {}
        for t in complete:
            of = t.number if t.confirms is None else t.confirms
            seeds.setdefault(of, []).append(t.value or 0.0)
        for t in complete:
            if t.confirms == best.number and best.value is not None and t.value is not None:
                worse = sign * (t.value - best.value)
                how = f"{short(abs(worse))} {'worse' if worse >= 0 else 'better'}"
                yield f"trained again under seed {t.params.get('seed')} it came to {decimals(t.value)}, {how}"
        means = {number: sum(values) / len(values) for number, values in seeds.items() if len(values) > 1}
        if means and (first := min(means, key=lambda number: sign * means[number])) != best.number:
            over = len(seeds[first])
            yield f"over its {over} seeds trial {first} is the best, with a mean of {decimals(means[first])}"

    def why_chosen(self) -> Iterator[str]:
        """Yield how the search chose, all pieces of the best trial, and some of the others."""
        yield self.how
        if self.chosen is None:
            yield "the service does not tell why each piece was chosen; the home of the sweep does"
            return
        best = self.answer.best.number if self.answer.best else -1
        yield from (f"the best: {each.line}" for each in self.chosen if each.trial == best)
        others = [each for each in self.chosen if each.trial != best]
        shown = others if len(others) <= PIECES else [*others[: PIECES // 2], *others[-PIECES // 2 :]]
        for k, each in enumerate(shown):
            if k == PIECES // 2 and len(others) > PIECES:
                yield f"... {len(others) - PIECES} more; --json has all"
            yield each.line

    def unhealthy(self) -> Iterator[str]:
        """Yield the unhealthy trials by their verdicts, each with evidence."""
        health = self.answer.health
        yield health.sentence.removeprefix("health: ")
        yield from (group.line(self.answer.rate) for group in health.problems)
        told = [group.line(self.answer.rate) for group in health.problems]
        yield from (line for line in health.lines if line not in told)


def _section(title: str, lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    rows = list(lines)
    if rows:
        yield ""
        yield title
        yield from (f"  {row}" for row in rows)
