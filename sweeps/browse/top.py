"""The best trials of one sweep, or of several whose objective is the same, as a table and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from espalier.core.errors import BadInput, shown
from espalier.sweeps.results.formatting import decimals, finite, params_text
from espalier.sweeps.results.trial_result import TrialResult, ranked, searched
from espalier.sweeps.spec.spec import SweepSpec

"""The version of the JSON document: what is there keeps its name and meaning, and a change of one raises it."""


@dataclass(frozen=True)
class Searched:
    """A sweep, as far as its best trials go. data: the digest of its data, "" if it is not known."""

    id: str
    spec: SweepSpec
    trials: Sequence[TrialResult]
    data: str = ""

    @property
    def objective(self) -> tuple[str, str]:
        """The metric, and whether less or more of it is better."""
        return self.spec.objective.metric, self.spec.objective.mode

    def matches(self, pattern: str) -> bool:
        """Whether a pattern of the shell stands for its id or its name."""
        return fnmatchcase(self.id, pattern) or fnmatchcase(self.spec.name, pattern)


@dataclass(frozen=True)
class Top:
    """The best complete trials of some sweeps. left_out: sweeps of another objective."""

    objective: tuple[str, str]
    sweeps: Sequence[Searched]
    trials: Sequence[tuple[Searched, TrialResult]]
    left_out: Sequence[Searched] = ()

    def notes(self) -> Iterator[str]:
        """Yield what to know before the numbers are compared."""
        metric, mode = self.objective
        if self.left_out:
            others = ", ".join(f"{each.id} ({' '.join(each.objective[::-1])})" for each in self.left_out)
            yield f"left out, since their objective is not {mode} {metric}: {others}"
        kinds = {each.data: each.id for each in self.sweeps if each.data}
        if len(kinds) > 1:
            yield f"not all were trained on the same data: {', '.join(f'{i} on {d}' for d, i in kinds.items())}"

    def lines(self) -> Iterator[str]:
        """Yield a table, the best trial first."""
        if not self.trials:
            yield "no trial is complete"
            return
        cells = [(each.id, f"trial {t.number}", decimals(t.value), t.verdict) for each, t in self.trials]
        wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for place, ((each, t), (sweep, trial, value, verdict)) in enumerate(zip(self.trials, cells, strict=True), 1):
            params = params_text(t.params, each.spec.space.searched())
            of = f"{sweep:<{wide[0]}}  " if len(self.sweeps) > 1 else ""
            yield f"{place:>3}  {of}{trial:<{wide[1]}}  {value:>{wide[2]}}  {verdict:<{wide[3]}}  {params}".rstrip()

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        rows = [
            {
                "sweep": each.id,
                "trial": t.number,
                "value": t.value,
                "spread": t.spread,
                "verdict": t.verdict,
                "params": dict(t.params),
            }
            for each, t in self.trials
        ]
        metric, mode = self.objective
        left = [{"sweep": each.id, "metric": each.objective[0], "mode": each.objective[1]} for each in self.left_out]
        sweeps = [{"sweep": each.id, "data": each.data or None} for each in self.sweeps]
        head = {"metric": metric, "mode": mode}
        return finite({**head, "sweeps": sweeps, "trials": rows, "left_out": left})


def top_of(sweep: Searched, count: int) -> Top:
    """Return the best trials of a sweep."""
    best = [t for t in ranked(searched(sweep.trials), sweep.spec.objective.mode) if t.value is not None]
    complete = [t for t in best if t.state == "complete"]
    return Top(sweep.objective, [sweep], [(sweep, t) for t in complete[:count]])


def top_across(sweeps: Sequence[Searched], pattern: str, count: int) -> Top:
    """Return the best trials of all sweeps that a pattern stands for, of those with the commonest objective.

    sweeps: the oldest first; of two objectives that are as common, the latest's counts. Raises BadInput for a pattern
    that stands for none.
    """
    chosen = [sweep for sweep in sweeps if sweep.matches(pattern)]
    if not chosen:
        raise BadInput(f"--across {shown(pattern)}: no sweep has such an id or name; `sweep list` names them")
    counts = Counter(sweep.objective for sweep in chosen)
    place = {sweep.objective: k for k, sweep in enumerate(chosen)}
    objective = max(counts, key=lambda each: (counts[each], place[each]))
    same = [sweep for sweep in chosen if sweep.objective == objective]
    sign = 1.0 if objective[1] == "min" else -1.0
    rows = [row for sweep in same for row in top_of(sweep, count).trials]
    rows.sort(key=lambda row: sign * (row[1].value or 0.0))  # of equals the earlier sweep's, which is stable
    return Top(objective, same, rows[:count], [sweep for sweep in chosen if sweep.objective != objective])
