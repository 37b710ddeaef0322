"""A snapshot of one sweep of a home: its spec, its progress, and where its data are."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce

from espalier.core.errors import BadInput, counted
from espalier.core.measures.verdicts import OUT_OF_MEMORY, VERDICTS
from espalier.core.training.memory import Memory
from espalier.sweeps import identity
from espalier.sweeps.address import UI, mlflow_page, no_secret
from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.chosen import Chosen, chosen_of
from espalier.sweeps.best_file import best_file_text
from espalier.sweeps.browse import curves
from espalier.sweeps.browse.trial_table import trial_table
from espalier.sweeps.home import TRIALS, Home
from espalier.sweeps.recording.experiments import Owner
from espalier.sweeps.recording.material import material_of, traces_of
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.stories import read_trial, spooled_story
from espalier.sweeps.recording.tracking_uri import sweep_tracking_uri
from espalier.sweeps.report.material import Material
from espalier.sweeps.results import trial_result as results
from espalier.sweeps.results.checkpoint_disk import CheckpointDisk
from espalier.sweeps.results.coverage import why_fewer
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.noise import compare_with_best, noise_document
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.story import TrialStory
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.driver_lock import driven_sweeps
from espalier.sweeps.search.given import Given
from espalier.sweeps.search.store import SweepStore, find_sweep
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class HomeSweep:
    """One sweep of a home."""

    home: Home
    record: SweepRecord
    spec: SweepSpec
    state: str  # running, interrupted, finished
    trials: Sequence[TrialResult]
    tracking_uri: str
    experiment: str  # the experiment in MLflow
    parent: ParentRun | None = None  # the sweep's own run in MLflow

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.id

    @property
    def page(self) -> str:
        """The address of MLflow's page on the sweep; for a home's store, that of `sweep ui`."""
        server = self.tracking_uri if self.tracking_uri.startswith("http") else UI
        return mlflow_page(server, *(self.parent.ids if self.parent else ()))

    @property
    def references(self) -> Sequence[ReferenceResult]:
        """What its references came to."""
        return self.record.references

    @property
    def chosen(self) -> Sequence[Chosen]:
        """Why each piece was trained, as far as the record knows."""
        return chosen_of(self.record)

    @property
    def checkpoints(self) -> CheckpointDisk | None:
        """What the checkpoints of its trials take on this machine's disk; None if there are none."""
        folder = self.home.sweep(self.id) / TRIALS
        return CheckpointDisk.of(folder, self.spec.resources) if self.spec.is_foreign else None

    @property
    def best(self) -> TrialResult | None:
        """The best complete trial."""
        return results.best_trial(self.trials, self.spec.objective.mode)

    @property
    def lane_steps(self) -> int:
        """How many steps of lanes it has trained."""
        return sum(work.lane_steps for work in self.record.work.values())

    @property
    def digests(self) -> Mapping[str, str]:
        """The digests of the code and the data of its best trial, else of the last: code, data, data.others."""
        best, facts = self.best, self.record.facts
        period = identity.last_period_of(facts, best.number) if best else identity.periods(facts)[-1]
        return {kind: str(period[kind]) for kind in identity.KINDS if kind in period}

    def best_file(self, trial: int | None = None) -> str:
        """Return the best trial, or another complete one, as the text of a best file. Raises BadInput."""
        chosen = self.best if trial is None else self._complete(trial)
        if chosen is None:
            yet = "" if self.state == "finished" else " yet"
            raise BadInput(f"{self.id} has no complete trial{yet}: {results.counts_text(self.trials) or 'none began'}")
        return best_file_text(self.record, chosen, self._story(chosen.number), self.home.sweep(self.id))

    def _complete(self, trial: int) -> TrialResult:
        complete = {t.number: t for t in self.trials if t.state == "complete"}
        if trial not in complete:
            known = ", ".join(map(str, sorted(complete)))
            raise BadInput(f"--trial {trial}: no complete trial of {self.id}; complete are: {known or 'none'}")
        return complete[trial]

    def _story(self, trial: int) -> TrialStory:
        """Return the story of a trial: from MLflow, or if it was deleted there, from the sweep's spool."""
        try:
            check_reachable(self.tracking_uri, reading=True)
            return read_trial(self.tracking_uri, self.id, trial, self.record.birth)
        except BadInput:
            if story := spooled_story(self.home.sweep(self.id), trial):
                return story
            raise

    def points(self, metric: str) -> list[tuple[int, int, float]]:
        """Return (trial, step, value) of every report of a metric, replicates averaged.

        Raises BadInput for a metric that no trial reported, unless it is the objective.
        """
        ended = [trial.number for trial in self.trials if trial.state != "running"]
        owner = Owner(self.id, self.record.birth)
        return curves.points(self.home, self.tracking_uri, owner, ended, metric, self.spec.objective.metric)

    def material(self) -> Material:
        """Return what a report is made of, from the home alone."""
        ratios_of = [self.best.number] if self.best else []
        traces = traces_of(self.home.sweep(self.id), ratios_of)
        return material_of(self.record, self.state, self.trials, traces, self.home.option)

    # --- for `sweep list` and `sweep show` ---------------------------------------------------------------------------

    def row(self) -> Mapping[str, object]:
        """Return its entry in `sweep list --json`."""
        best = self.best
        return {
            "sweep": self.id,
            "state": self.state,
            "ended": sum(t.state not in results.UNFINISHED for t in self.trials),
            "wanted": self.record.searched(),
            "metric": self.spec.objective.metric,
            "best": best and best.value,
            "best_trial": best and best.number,
        }

    def document(self) -> Mapping[str, object]:
        """Return everything as a JSON document."""
        best = self.best
        return finite(
            {
                "sweep": self.id,
                "state": self.state,
                "wanted": self.record.searched(),
                "states": results.counts(self.trials),
                "best": best
                and {"trial": best.number, "params": dict(best.params), self.spec.objective.metric: best.value},
                **noise_document(*compare_with_best(self.trials, self.spec)),
                "references": [reference.to_json() for reference in self.references],
                "tracking_uri": no_secret(self.tracking_uri),
                "mlflow": self.page,
                "experiment": self.experiment,
                "storage": no_secret(self.home.storage),
                "from": self.record.taken and {**self.record.taken.to_json(), "trials": len(self.record.taken.trials)},
                "extensions": [extension.to_json() for extension in self.record.extensions],
                **({"checkpoints": checkpoints.document()} if (checkpoints := self.checkpoints) else {}),
                "trials": [asdict(t) for t in self.trials],
                "spec": self.spec.model_dump(mode="json"),
            }
        )

    def lines(self, top: int) -> Iterator[str]:
        """Yield its state, its best trials as a table, and the evidence of their verdicts."""
        yield from self._head()
        yield from trial_table(self.trials, self.spec, top)
        if self.best:
            yield from answer_of(self.spec, self.trials, self.references, self.state).without_health
        for t in results.ranked(self.trials, self.spec.objective.mode)[:top]:
            if t.evidence:
                yield results.health_line(t.number, t.verdict or t.state, t.evidence)

    def _head(self) -> Iterator[str]:
        states = results.counts_text(self.trials) or "none yet"
        yield f"{self.id}: {self.state}; trials: {states}, of {self.record.searched()}"
        if waiting := sum(1 for _ in Given(self.record, self.record.trials()).added()):
            yield f"  added    {counted(waiting, 'point')} without a trial"
        if self.record.taken:
            yield f"  from     {self.record.taken.sentence}"
        yield from (f"  extended {extension.sentence}" for extension in self.record.extensions)
        yield f"  MLflow   {no_secret(self.tracking_uri)}, experiment {self.experiment}"
        yield f"  page     {self.page}{'' if self.tracking_uri.startswith('http') else ' while `sweep ui` runs'}"
        yield f"  Optuna   {no_secret(self.home.storage)}, study {self.id}"
        if most := reduce(Memory.most, (t.memory for t in self.trials), Memory()):
            yield f"  memory   {most.text} of a trial at most"
        if checkpoints := self.checkpoints:
            yield f"  disk     {checkpoints.sentence}"
        health = Counter(t.verdict for t in self.trials if t.verdict)
        if health:
            known = (name for name in (*VERDICTS, OUT_OF_MEMORY) if name in health)
            yield f"  health   {', '.join(f'{health[name]} {name}' for name in known)}"
        yield from (f"  note: {note}" for note in results.notes(self.trials, self.spec.is_foreign))
        if self.state == "finished" and (why := why_fewer(self.spec, self.trials)):
            yield f"  note: {why}"
        if self.state == "interrupted":
            yield f"  continue: {self.home.resume_command(self.id)}"


def load_sweep(home: Home, record: SweepRecord, driven: Collection[str]) -> HomeSweep:
    """Return a sweep in its present state. driven: the ids of all sweeps that some process drives now."""
    spec, trials = record.spec, record.results()
    ended = sum(t.state != "running" for t in trials)
    state = "running" if record.id in driven else "finished" if ended >= record.wanted() else "interrupted"
    trials = trials if state == "running" else results.at_rest(trials)
    return HomeSweep(
        home, record, spec, state, trials, sweep_tracking_uri(record, home), record.experiment, record.parent
    )


def read_sweep(home: Home, wanted: str) -> HomeSweep:
    """Return one sweep by id or name. Raises BadInput for an unknown one."""
    record = find_sweep(home, SweepStore.open_for_reading(home.storage), wanted)
    return load_sweep(home, record, driven_sweeps(home, [record.id]))
