"""A sweep and what came of it, for Python: tables, curves, its best trial."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.arguments import checked, number, path, text, truth, whole
from espalier.core.errors import BadInput
from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.answer.valley import Valley
from espalier.sweeps.origins.origin import Origin, StoredSweep
from espalier.sweeps.results.formatting import decimals
from espalier.sweeps.results.noise import Noise, Ties
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult, best_trial, counts, ranked
from espalier.sweeps.search.extension import More
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    import altair
    import pandas

    from espalier.sweeps.report.document import Document

ADDRESS = text("the address of a Ray cluster, as HOST:PORT, or None", optional=True)
SHOWN = 10  # trials in a notebook's table


@dataclass(frozen=True)
class BestTrial:
    """The best complete trial of a sweep, and all that trains it again."""

    number: int
    value: float
    params: Point
    verdict: str
    evidence: str
    text: str = field(repr=False)
    """A best file: what `sweep rerun` takes."""

    @checked(path=path("the path of a file"))
    def save(self, path: str | PathLike[str]) -> Path:
        """Write a best file, which `rerun` and `sweep rerun` take. Return its path.

        Raises BadInput if it cannot be written.
        """
        place = Path(path)
        try:
            place.write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{place}: cannot be written ({error.strerror}); name another file") from error
        return place


@dataclass(frozen=True, repr=False)
class Result:
    """A sweep and what came of it, as it was when it was opened."""

    id: str
    spec: SweepSpec
    state: str
    """running, interrupted or finished; of a service also queued, stopped or failed"""
    trials: Sequence[TrialResult]
    page: str
    """MLflow's page on it; at home while `sweep ui` runs"""
    origin: Origin = field(repr=False)
    """Where it is kept: a home or a service"""
    read_from: StoredSweep | None = field(default=None, repr=False)
    """The sweep as it was read there; None: this process drove it, and has not read it yet"""
    summary: Summary | None = None
    """How the run went, if this process drove it"""

    @classmethod
    def read(cls, origin: Origin, sweep: str) -> "Result":
        """Read a sweep by its id, or by its name the latest. Raises BadInput for an unknown one."""
        return cls.of(origin.read(sweep), origin)

    @classmethod
    def of(cls, stored: StoredSweep, origin: Origin) -> "Result":
        """Return a sweep as it was when it was read."""
        return cls(stored.id, stored.spec, stored.state, stored.trials, stored.page, origin, stored)

    @classmethod
    def of_run(cls, summary: Summary, origin: Origin) -> "Result":
        """Return a sweep as its driver left it."""
        state, trials = "interrupted" if summary.interrupted else "finished", tuple(summary.trials)
        return cls(summary.sweep, summary.spec, state, trials, summary.page(), origin, summary=summary)

    @cached_property
    def kept(self) -> StoredSweep:
        """The sweep in its home or service, which has its best file and its curves. Read once."""
        return self.read_from or self.origin.read(self.id)

    @property
    def notes(self) -> Sequence[str]:
        """What went wrong on the way, or was damaged and mended, a sentence each; of a run of this process."""
        return (*self.summary.notes, *self.summary.without_a_best()) if self.summary else ()

    @property
    def recorded(self) -> bool | None:
        """Whether MLflow has everything; None: this process did not run it."""
        return self.summary.recorded if self.summary else None

    @cached_property
    def best(self) -> BestTrial | None:
        """The best complete trial; None if there is none."""
        best = best_trial(self.trials, self.spec.objective.mode)
        if best is None or best.value is None:
            return None
        text = self.kept.best_file(best.number)
        return BestTrial(best.number, best.value, dict(best.params), best.verdict, best.evidence, text)

    @property
    def references(self) -> Sequence[ReferenceResult]:
        """What an untuned run gets here (`references: true`): each with its title, value, state and reports."""
        return tuple(self.summary.references if self.summary else self.kept.references)

    @property
    def noise(self) -> Noise | None:
        """The noise of another seed: the standard deviation of the objective of one configuration; None if unknown.

        It is known from replicates, from confirmations (`confirm: 3`), or where the seed was searched.
        """
        return self.answer.noise

    @property
    def ties(self) -> Ties | None:
        """The trials that cannot be told from the best at 95 %, given that noise; None if it is unknown."""
        return self.answer.ties

    @cached_property
    def answer(self) -> Answer:
        """The answer in sentences and numbers: which values to use, how sure that is, what was wrong.

        `print(result.answer)` prints the sentences.
        """
        return answer_of(self.spec, self.trials, self.references, self.state)

    @property
    def valley(self) -> Valley | None:
        """The objective along the learning rate, with a 95 % band, and what it costs to be off.

        None for fewer than four complete trials. `result.answer.slices` has one for each other number.
        """
        return self.answer.valley

    @checked(path=path("the path of a file, or None for report-ID.html", optional=True))
    def report(self, path: str | PathLike[str] | None = None) -> Path:
        """Write the report as one HTML file that needs no network (default: report-ID.html here). Return its path.

        Raises BadInput if it cannot be written.
        """
        from espalier.sweeps.report.writing import write_report

        return write_report(self._document, path)

    @checked(name=text("the name of a figure"))
    def figure(self, name: str) -> "altair.LayerChart":
        """Return a figure of the report as an Altair chart, its data in it.

        name: valley, map, curves, ratios, importance, parallel, choices, by_choice, time or progress.

        Raises BadInput for another name, or if there is no data for it.
        """
        from espalier.sweeps.report.for_python import chart_of

        return chart_of(self._document, name)

    @checked(name=text("the name of a figure"))
    def figure_data(self, name: str) -> "dict[str, pandas.DataFrame]":
        """Return the data of a figure by its tables (of the valley `trials`, `fit` ...), with the figure's words.

        name: see `figure`. Raises BadInput as `figure` does.
        """
        import pandas

        from espalier.sweeps.report.for_python import drawn

        return {
            table: pandas.DataFrame(cells.rows, columns=[column.title for column in cells.columns])
            for table, cells in drawn(self._document, name).tables.items()
        }

    @cached_property
    def _document(self) -> "Document":
        from espalier.sweeps.report.document import Document

        return Document.of(self.kept.material(), self.answer)

    @property
    def importance(self) -> "pandas.Series":
        """How much each searched hyperparameter decided which trials are the best; the shares add up to 1.

        By PED-ANOVA, the greatest first. Empty for fewer than three hyperparameters or ten complete trials.
        """
        import pandas

        shares = pandas.Series(dict(self.answer.importance), name="importance", dtype="float64")
        return shares.rename_axis("hyperparameter")

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """A row a trial, by number: its state, the objective, its hyperparameters, its rate, its verdict and why.

        Columns and their types depend on the spec alone. Numbers are float64, and NaN where there is none; whole
        numbers are Int64.
        """
        from espalier.frames import trials_frame

        return trials_frame(self.trials, self.spec)

    @cached_property
    def verdicts(self) -> "pandas.Series":
        """The verdict on each trial that has one, by number."""
        import pandas

        verdicts = {t.number: t.verdict for t in sorted(self.trials, key=lambda t: t.number) if t.verdict}
        return pandas.Series(verdicts, name="verdict", dtype="object").rename_axis("trial")

    @checked(metric=text("the name of a metric, or None for the objective", optional=True))
    def curves(self, metric: str | None = None) -> "pandas.DataFrame":
        """Return what the trials reported of a metric (default: the objective): columns trial, step and value.

        `train_curve` is the training loss in fine steps. Replicates are averaged. Without a report of the objective
        it is empty. Raises BadInput for a metric that no trial reported.
        """
        import pandas

        objective, reported = self.spec.objective.metric, [t for t in self.trials if t.reports]
        if (metric or objective) == objective and reported:
            points = [(t.number, step, value) for t in reported for step, value in sorted(t.reports.items())]
        else:
            points = self.kept.points(metric or objective)
        frame = pandas.DataFrame(points, columns=["trial", "step", "value"])
        return frame.astype({"trial": "int64", "step": "int64", "value": "float64"})

    @checked(
        changed=truth(),
        address=text("the address of a Ray cluster, as HOST:PORT, or None", optional=True),
        progress=truth(),
    )
    def resume(self, *, changed: bool = False, address: str | None = None, progress: bool = True) -> "Result":
        """Go on with a sweep that was stopped; return it as it is then. changed: although code or data changed."""
        summary = self.origin.resume(self.id, changed, address, progress)
        return Result.read(self.origin, self.id) if summary is None else finished(summary, self.origin)

    @checked(
        trials=whole(1, optional=True),
        trainings=number(0, above=True, optional=True),
        hours=number(0, above=True, optional=True),
        gpu_hours=number(0, above=True, optional=True),
        changed=truth(),
        address=ADDRESS,
        progress=truth(),
    )
    def extend(
        self,
        *,
        trials: int | None = None,
        trainings: float | None = None,
        hours: float | None = None,
        gpu_hours: float | None = None,
        changed: bool = False,
        address: str | None = None,
        progress: bool = True,
    ) -> "Result":
        """Give it so much more to train, in the unit of its budget; return it as it is then. Its trials so far stay.

        A service queues it, and it trains there. changed: although code or data changed. Raises BadInput, before
        anything is trained, where that cannot be.
        """
        more = More(trials, trainings, hours, gpu_hours)
        summary = self.origin.extend(self.id, more, changed, address, progress)
        return Result.read(self.origin, self.id) if summary is None else finished(summary, self.origin)

    @checked(out=path("a folder or a zip that is not there yet, or None for ID.zip", optional=True))
    def export(self, out: str | PathLike[str] | None = None) -> Path:
        """Write it into a new folder, or a zip where the name ends so, which opens elsewhere; return its path.

        Raises BadInput while it runs, and for a place that is taken.
        """
        return Path(self.origin.export(self.id, out).path)

    @checked(records=truth())
    def delete(self, *, records: bool = False) -> None:
        """Remove it from its home, with its checkpoints; records: also its runs in MLflow.

        Raises BadInput if a process drives it, or if a service has it.
        """
        self.origin.delete(self.id, records)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        counted = ", ".join(f"{n} {state}" for state, n in counts(self.trials).items()) or "no trial yet"
        best, metric = best_trial(self.trials, self.spec.objective.mode), self.spec.objective.metric
        ending = f"; best {metric} {decimals(best.value)} (trial {best.number})" if best else ""
        whole = "" if self.spec.open_ended else f", of {self.spec.trials_wanted}"
        return f"{self.id}: {self.state}; {counted}{whole}{ending}"

    def _repr_html_(self) -> str:
        from html import escape

        order = [t.number for t in ranked(self.trials, self.spec.objective.mode)]
        shown = self.table.loc[order[:SHOWN]].drop(columns=["evidence", "duration_s"])
        return f"<p>{escape(str(self))}</p>{shown.to_html()}"


def finished(summary: Summary, origin: Origin) -> Result:
    """Return what a run came to. Prints on stderr why it cannot go on, or why no trial is complete."""
    if summary.halted:
        print(f"halted: {summary.halted}", file=sys.stderr)
    for line in summary.without_a_best():
        print(f"note: {line}", file=sys.stderr)
    return Result.of_run(summary, origin)
