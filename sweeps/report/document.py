"""A report as plain data: the answer in sentences, the figures in reading order, the table of trials, the commands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from espalier.core.errors import BadInput, counted, shown
from espalier.core.one_thread import one_thread
from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.report.course import progress_figure, time_figure
from espalier.sweeps.report.curves import curves_figure, ratios_figure
from espalier.sweeps.report.figure import Cell, Figure, Missing, digits_of, rounded
from espalier.sweeps.report.grammar import cell, value_text
from espalier.sweeps.report.material import Material, block_means
from espalier.sweeps.report.rates import map_figure, valley_figure
from espalier.sweeps.report.space import by_choice_figure, choices_figure, importance_figure, parallel_figure
from espalier.sweeps.report.subject import Subject
from espalier.sweeps.results.trial_result import TrialResult, ranked

FIGURES: Mapping[str, Callable[[Subject], Figure | Missing]] = {
    "valley": valley_figure,
    "map": map_figure,
    "curves": curves_figure,
    "ratios": ratios_figure,
    "importance": importance_figure,
    "parallel": parallel_figure,
    "choices": choices_figure,
    "by_choice": by_choice_figure,
    "time": time_figure,
    "progress": progress_figure,
}
"""By name, in reading order."""
STORY_DIGITS = 4  # of the losses in a trial's story
POINTS_MOST, POINTS_LEAST, POINTS = 40, 12, 30_000
"""Points of the curve in a trial's story, at most and at least, and of all of them together in between."""


@dataclass(frozen=True)
class Story:
    """What a page says of a trial when it is chosen. params: in the order of `Document.hyperparameters`."""

    evidence: str
    params: Sequence[str]
    curve: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Document:
    """A report."""

    subject: Subject

    @classmethod
    def of(cls, material: Material, answer: Answer | None = None) -> "Document":
        """Return the report of a sweep. answer: drawn from the same trials, if it is known already."""
        known = material.spec, material.trials, material.references, material.state
        return cls(Subject(material, answer or answer_of(*known)))

    @property
    def material(self) -> Material:
        """What it is made of."""
        return self.subject.material

    @cached_property
    @one_thread()
    def figures(self) -> Sequence[Figure | Missing]:
        """All figures in reading order."""
        return [draw(self.subject) for draw in FIGURES.values()]

    @one_thread()
    def figure(self, name: str) -> Figure | Missing:
        """Return one figure. Raises BadInput, listing the names, for an unknown one."""
        if name not in FIGURES:
            raise BadInput(f"figure {shown(name)}; the figures are: {', '.join(FIGURES)}")
        return FIGURES[name](self.subject)

    @property
    def status(self) -> str:
        """The state of the sweep, how many trials ended how, and what was trained."""
        spec = self.material.spec
        steps = f" of {counted(spec.budget.steps, 'step')}" if not spec.is_foreign else ""
        return f"{self.material.state}; {counted(len(self.subject.trials), 'trial')}{steps}: {self.subject.states()}"

    # --- the table ---------------------------------------------------------------------------------------------------

    @cached_property
    def order(self) -> Sequence[TrialResult]:
        """All trials as the table lists them: the best first."""
        return ranked(self.material.trials, self.material.spec.objective.mode)

    @cached_property
    def _columns(self) -> Sequence[tuple[str, Callable[[TrialResult], Cell]]]:
        """The columns of the table of trials: the title of each, and how it gets its cells."""
        columns: list[tuple[str, Callable[[TrialResult], Cell]]] = [
            ("trial", lambda t: t.number),
            (self.subject.metric, lambda t: t.value),
            ("state", lambda t: t.state),
            ("verdict", lambda t: t.verdict),
        ]
        for axis in sorted(self.subject.searched.axes, key=lambda axis: not axis.rate):
            if axis.exponent:
                columns.append(("rate", lambda t, axis=axis: _power(axis.value(t.params))))
            columns.append((axis.name, lambda t, axis=axis: axis.value(t.params)))
        for factor in self.subject.searched.factors:
            name = factor.name
            columns.append((name, lambda t, name=name: cell(t.params[name]) if name in t.params else None))
        if self.subject.searched.seeds:
            columns.append(("seed", lambda t: cell(t.params.get("seed"))))
        if any(t.duration_s is not None for t in self.order):
            columns.append(("seconds", lambda t: None if t.duration_s is None else round(t.duration_s, 2)))
        if any(t.confirms is not None for t in self.order):
            columns.append(("confirms", lambda t: t.confirms))
        return columns

    def columns(self) -> list[str]:
        """Return the titles of the table of trials; the third and the fourth are the state and the verdict."""
        return [title for title, _ in self._columns]

    def rows(self) -> list[list[Cell]]:
        """Return the cells of the table of trials."""
        return rounded([[of(t) for _, of in self._columns] for t in self.order])

    @cached_property
    def hyperparameters(self) -> Sequence[str]:
        """The names of all hyperparameters that some trial has, searched or not."""
        return list(dict.fromkeys(name for t in self.order for name in t.params))

    def stories(self) -> list[Story]:
        """Return the story of each trial, in the order of the table."""
        most = max(POINTS_LEAST, min(POINTS_MOST, POINTS // max(1, len(self.order))))
        return [self._story(t, most) for t in self.order]

    def _story(self, t: TrialResult, most: int) -> Story:
        params = [value_text(t.params[name]) if name in t.params else "" for name in self.hyperparameters]
        curve = self.subject.trace(t).curve or sorted(t.reports.items())
        means = block_means(curve, most)
        digits = digits_of([loss for _, loss in means], STORY_DIGITS)
        return Story(t.evidence, params, [(step, float(f"{loss:.{digits}g}")) for step, loss in means])

    # --- how to reproduce --------------------------------------------------------------------------------------------

    def commands(self) -> list[tuple[str, str]]:
        """Return what a person may want to do next, each with its command."""
        sweep, option, best = self.material.id, self.material.option, self.subject.best
        if best is None:
            return [("look at its trials", f"sweep show {sweep}{option}")]
        return [
            ("pull the best configuration", f"sweep best {sweep}{option} > best.yaml"),
            ("train it again, and compare every number", "sweep rerun best.yaml"),
            ("look at its trials", f"sweep show {sweep}{option}"),
        ]


def _power(exponent: float | None) -> float | None:
    return None if exponent is None else float(f"{10.0**exponent:.4g}")
