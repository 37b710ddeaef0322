"""The content of a sweep's records: one for each event of a trial, and those of the sweep's own run."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from espalier.core.training.events import Ended, Reported
from espalier.sweeps import identity
from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.best_file import best_file_text
from espalier.sweeps.code.copies import archive_path
from espalier.sweeps.recording.material import TRAIN_LOSS, material_of, traces_of
from espalier.sweeps.recording.names import (
    BEST_TAG,
    DESCRIPTION_TAG,
    EXTENDED_TAG,
    NAME_CHARACTERS,
    RUN_STATUS,
    RUNG,
    STATUS_TAG,
    STORY,
    VERDICT_TAG,
    decay_name,
    list_trials,
)
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import (
    MetricPoint,
    SweepClosed,
    SweepOpened,
    SweepPaused,
    TrialEnded,
    TrialReported,
    TrialStarted,
    TrialTagged,
)
from espalier.sweeps.recording.report_files import write_report_files
from espalier.sweeps.recording.shown import (
    best_so_far,
    datasets_of,
    description,
    noise_text,
    source_tags,
    ties_text,
    trials_view,
)
from espalier.sweeps.references import Reference
from espalier.sweeps.results.figures import table_csv
from espalier.sweeps.results.formatting import finite, params_text
from espalier.sweeps.results.reference_result import reference_lines
from espalier.sweeps.results.trial_result import TrialResult, best_trial, searched
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.replicates import memory_of, missing_counts, missing_text
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.trial_events import Fork, Outcome, Report, Score, Start, TrialEvent
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

NAMED_TRIALS = 6  # the marker of restored trials
QUIET_METRICS = ("update_ratio_spread", "update_ratio_trend")  # no charts: `trial.json` has them
UNSHOWN = ("created", "tracking", "first_loss", "git_commit")  # facts that MLflow shows by itself, or that are our own


def shown_params(params: Point, in_rates: bool = False) -> dict[str, object]:
    """Return a trial's configuration for MLflow's charts: lists as single numbers, and the peak rate as a rate.

    in_rates: whether the spec has rates, and not their exponents.

    >>> shown_params({"lr_exponent": -0.5, "decay_points": [0.6, 0.8], "hidden": 100})
    {'lr_exponent': -0.5, 'peak_lr': 0.316228, 'decay_point': 0.6, 'decay_point_2': 0.8, 'hidden': 100}
    >>> shown_params({"lr_exponent": -0.5, "hidden": 100}, in_rates=True)
    {'lr': 0.316228, 'hidden': 100}
    """
    shown: dict[str, object] = {}
    for name, value in params.items():
        if name == "decay_points":
            shown |= {decay_name(place): point for place, point in enumerate(value)}
        elif name == "lr_exponent":
            rate = float(f"{10 ** float(value):.6g}")
            shown |= {"lr": rate} if in_rates else {name: value, "peak_lr": rate}
        else:
            shown[name] = value
    return shown


def run_name(number: int, params: Point, spec: SweepSpec) -> str:
    """Return the name of a trial's run: its rate, its decay points, what else was searched, its number.

    >>> from espalier.sweeps.spec.spec import make_spec
    >>> space = {"lr_exponent": {"low": -2, "high": 0}, "decay_points": {"low": 0.4, "high": 0.9}}
    >>> spec = make_spec({"name": "a", "task": "espalier.core.tasks.names:Names", "schedule": "step", "space": space})
    >>> run_name(80, {"lr_exponent": -0.7739, "decay_points": [0.8273]}, spec)
    '0.168 · decay .83 · #80'
    """
    parts = [f"{10 ** float(params['lr_exponent']):.3g}"] if "lr_exponent" in params else []
    if points := params.get("decay_points"):
        parts.append("decay " + " ".join(f"{point:.2f}".removeprefix("0") for point in points))
    others = [name for name, _ in spec.space.domains() if name != "lr_exponent" and not name.startswith("decay_poi")]
    parts += [params_text(params, [name]) for name in others if name in params]
    return " · ".join([*parts, f"#{number}"])[:NAME_CHARACTERS]


def memory_tags(outcome: Outcome) -> dict[str, str]:
    """Return the memory that a trial took, as tags."""
    names = {"main": "espalier.memory_gib", "gpu": "espalier.gpu_memory_gib"}
    taken = memory_of(outcome.replicates)
    return {tag: f"{taken[name] / 2**30:.3f}" for name, tag in names.items() if name in taken}


class Tracking:
    """Records the events of a sweep's trials, and of the sweep itself."""

    def __init__(self, recorder: Recorder, sweep_record: SweepRecord, spec: SweepSpec, folder: Path):
        self.recorder, self.sweep_record, self.spec, self.folder = recorder, sweep_record, spec, folder
        self.facts = sweep_record.facts
        self.in_rates = spec.space.lr is not None  # as its author wrote it
        self.names: dict[int, str] = {}  # the names of trials' runs
        self.params: dict[int, dict[str, object]] = {}  # of trials whose processes log params of their own

    # --- trials ------------------------------------------------------------------------------------------------------

    def take_event(self, event: TrialEvent, provenance: Provenance | None) -> None:
        """Record an event of a trial. provenance: how its cohort trains, if known."""
        match event:
            case Start():
                self.start(event.trial, event.params, event.trunk, event.confirms)
            case Fork():
                self.fork(event)
            case Report():
                self.report(event)
            case Score():
                self.score(event)
            case Outcome():
                self.end(event, provenance)

    def start(self, trial: int, params: Point, trunk: int | None, confirms: int | None = None) -> None:
        """Record the start of a trial. trunk: that it was proposed to share. confirms: the trial that it repeats."""
        tags = {STATUS_TAG: "running", **_paired(trunk)}
        tags |= {} if confirms is None else {"espalier.confirms": str(confirms)}
        again = "" if confirms is None else f" again under seed {params.get('seed')}"
        self.names[trial] = f"{run_name(trial, params, self.spec)}{again}"
        shown = shown_params(params, self.in_rates)
        if self.spec.results.mlflow:  # at the end: a param that is set already would end a script that logs it
            self.params[trial], shown = shown, {}
        self.recorder.record(TrialStarted(trial, self.names[trial], shown, tags))

    def fork(self, fork: Fork) -> None:
        """Record the step up to which a trial shared its training with another."""
        tags = {"espalier.parted_from": str(fork.parted_from), "espalier.fork_step": str(fork.step)}
        self.recorder.record(TrialTagged(fork.trial, tags | _paired(fork.trunk)))

    def report(self, report: Report) -> None:
        """Record a validation and the training curve before it, unless the process has logged them itself."""
        if self.spec.results.mlflow:
            self.recorder.record(TrialReported(report.trial, report.step, []))
            return
        self.recorder.record(TrialReported(report.trial, report.step, _points(report)))

    def score(self, score: Score) -> None:
        """Record a trial's score at a rung."""
        points = [(f"{RUNG}{name}", score.step, value) for name, value in score.values.items()]
        # the spool accepts only later steps: this one is after the report of the rung, and before the next report
        self.recorder.record(TrialReported(score.trial, score.step + 0.5, points))

    def end(self, outcome: Outcome, provenance: Provenance | None) -> None:
        """Record the end of a trial, with its story. provenance: how its cohort trained, if known."""
        tags = {STATUS_TAG: outcome.status, VERDICT_TAG: outcome.verdict, "espalier.evidence": outcome.evidence}
        if text := missing_text(missing_counts(outcome.replicates)):
            tags["espalier.missing"] = text
        tags |= memory_tags(outcome)
        made_by = provenance.to_json() if provenance else {}
        made_with = identity.code_and_versions(self.facts, outcome.trial)
        made_of = {kind: made_with[kind] for kind in ("code", "data") if kind in made_with}
        if identity.CHANGES in self.facts:  # else the sweep's own run has it for all trials
            tags |= {f"espalier.{kind}": value for kind, value in made_of.items()}
        story = {"trial": outcome.trial, **made_by, **made_of, "members": [end.to_json() for end in outcome.replicates]}
        name = self.names.get(outcome.trial, f"trial {outcome.trial}")
        texts = {STORY: json.dumps(finite(story))}
        status = RUN_STATUS[outcome.status]
        if params := self.params.pop(outcome.trial, None):
            self.recorder.record(TrialStarted(outcome.trial, name, params, {}))
        self.recorder.record(TrialEnded(outcome.trial, name, outcome.step, tags, texts, status))

    # --- references --------------------------------------------------------------------------------------------------

    def start_reference(self, reference: Reference, point: Point) -> None:
        """Record that a reference begins."""
        tags = {STATUS_TAG: "running", "espalier.reference": reference.name}
        params = shown_params(point, self.in_rates)
        self.recorder.record(TrialStarted(reference.number, _name_of(reference), params, tags))

    def report_reference(self, reference: Reference, report: Reported) -> None:
        """Record a validation of a reference, and the training curve before it."""
        self.recorder.record(TrialReported(reference.number, report.step, _points(report)))

    def end_reference(self, reference: Reference, end: Ended) -> None:
        """Record the end of a reference."""
        tags = {
            STATUS_TAG: end.status,
            VERDICT_TAG: end.verdict,
            "espalier.evidence": end.evidence,
            "espalier.reference": reference.name,
        }
        name, status = _name_of(reference), RUN_STATUS[end.status]
        self.recorder.record(TrialEnded(reference.number, name, end.step, tags, {}, status))

    # --- restoring -----------------------------------------------------------------------------------------------

    def restore(self, lost: Sequence[TrialResult]) -> None:
        """Record from Optuna the ended trials that are incomplete in both MLflow and the spool."""
        spool = self.recorder.spool
        partly = {t.number for t in lost if t.number in spool.ended}
        for t in lost:
            self._restore_trial(t, t.number in partly)
        if whole := [t.number for t in lost if t.number not in partly]:
            self.recorder.note(
                f"{spool.path}: the records of {list_trials(whole, NAMED_TRIALS)} were lost; "
                f"restored from Optuna without their training curves and {STORY}"
            )
        if partly:
            self.recorder.note(
                f"{spool.path}: records of {list_trials(partly, NAMED_TRIALS)} were lost; restored from Optuna"
            )

    def _restore_trial(self, t: TrialResult, partly: bool) -> None:
        """partly: the spool has its end, so only a part is lost."""
        metric, last = self.spec.objective.metric, max(t.reports, default=0)
        self.start(t.number, t.params, None, t.confirms)
        for step, value in sorted(t.reports.items()):
            self.recorder.record(TrialReported(t.number, step, [(metric, step, value)]))
        tags = {STATUS_TAG: t.state, VERDICT_TAG: t.verdict, "espalier.evidence": t.evidence}
        rest = "the rest may have gaps" if partly else "the rest was lost"
        tags["espalier.restored"] = f"configuration, {metric} and verdict, from Optuna; {rest}"
        if params := self.params.pop(t.number, None):
            self.recorder.record(TrialStarted(t.number, self.names[t.number], params, {}))
        self.recorder.record(TrialEnded(t.number, self.names[t.number], last, tags, {}, RUN_STATUS[t.state]))

    # --- the sweep ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Record the sweep itself: its spec, versions, git state and the fingerprint of its data."""
        spec, facts = self.spec, self.facts
        text = spec.as_yaml()
        known = {k: v for k, v in facts.items() if isinstance(v, str | int | float) and "." not in k}
        tags = {f"espalier.{k}": v for k, v in known.items() if k not in UNSHOWN}
        tags |= source_tags(spec, facts)
        tags |= {f"espalier.version.{k}": v for k, v in facts.get("versions", {}).items()}
        tags |= {"espalier.changed": changes} if (changes := identity.history(facts)) else {}
        kinds: dict[str, object] = {"task": spec.trained}
        if not spec.is_foreign:
            kinds |= {"optimizer": spec.optimizer.kind, "batch_size": spec.budget.batch_size}
        params = {
            **kinds,
            "schedule": spec.schedule.kind,
            "steps": spec.budget.steps,
            "trials": self.sweep_record.begun_spec.trials,  # MLflow has a param once for all
            "sampler": spec.search.sampler,
            "objective": f"{spec.objective.mode} {spec.objective.metric}",
        }
        data = [vars(each) for each in datasets_of(spec, facts)]
        view = trials_view(self.sweep_record.id, self.sweep_record.birth, spec)
        self.recorder.record(SweepOpened(self.sweep_record.id, tags, params, {"spec.yaml": text}, view, data))

    def pause(self) -> None:
        """Record that the sweep is interrupted and may be resumed."""
        self.recorder.record(SweepPaused())

    def close(self, trials: Sequence[TrialResult], totals: tuple[int, int], programs: Sequence[str]) -> None:
        """Record the table of trials, the best file and the figures.

        totals: lane-steps trained and shared. programs: each program that trained some trials, with its reason.
        """
        mode = self.spec.objective.mode
        for t in trials:
            if t.compared:  # verdicts that need a comparison with other trials
                tags = {VERDICT_TAG: t.verdict, "espalier.evidence": t.evidence}
                self.recorder.record(TrialTagged(t.number, tags))
        best, answer = best_trial(trials, mode), answer_of(self.spec, trials, self.sweep_record.references)
        texts = {"trials.csv": table_csv(trials)}
        values = {"trials": float(len(searched(trials)))}
        values |= {"lane_steps": float(totals[0]), "steps_shared": float(totals[1])}
        if best is not None and (story := self.recorder.stories([best.number]).get(best.number)):
            texts["best.yaml"] = best_file_text(self.sweep_record, best, story, self.folder)
        tags = {BEST_TAG: "none" if best is None else best.number}
        tags[DESCRIPTION_TAG] = description(answer, self.sweep_record.id)
        tags |= {"espalier.program": "; ".join(programs)} if programs else {}
        if extensions := self.sweep_record.extensions:
            tags[EXTENDED_TAG] = "; ".join(each.sentence for each in extensions)
        more_values, more_tags = self._compared(answer)
        progress = [(f"best_{self.spec.objective.metric}", *point) for point in best_so_far(trials, mode)]
        report = self._report(trials, answer)
        files = [os.path.relpath(path, self.folder) for path in [*report, *self._archive(best)]]  # folders may move
        values, tags = values | more_values, tags | more_tags
        self.recorder.record(SweepClosed(values, tags, texts, files, "FINISHED", progress))

    def _report(self, trials: Sequence[TrialResult], answer: Answer) -> Sequence[Path]:
        """Write the report and its figures; return their files."""
        traces = traces_of(self.folder, [answer.best.number] if answer.best else [])
        material = material_of(self.sweep_record, "finished", trials, traces, "")
        files, problem = write_report_files(material, answer, self.folder)
        if problem:
            self.recorder.note(problem)
        return files

    def _archive(self, best: TrialResult | None) -> list[Path]:
        """Return the archive of the code that the best trial was trained with."""
        copy = identity.last_period_of(self.facts, best.number).get(identity.COPY) if best else None
        return [archive_path(self.folder, copy)] if copy else []

    def _compared(self, answer: Answer) -> tuple[dict[str, float], dict[str, str]]:
        """Return metrics and tags on the noise of another seed, on ties with the best, and on references."""
        noise, ties, best = answer.noise, answer.ties, answer.best
        references = self.sweep_record.references
        values = {f"reference_{each.name}": each.value for each in references if each.value is not None}
        tags = {"espalier.noise": noise_text(answer)}
        if noise and ties:
            values |= {"noise": noise.sd, "ties": float(len(ties.trials))}
            tags["espalier.ties"] = ties_text(ties.trials)
        if best is not None and best.value is not None:
            lines = reference_lines(references, best.value, self.spec.objective.sign)
            if text := "; ".join(line.removeprefix("references: ") for line in lines):
                tags["espalier.references"] = text
        return values, tags


def _points(report: Report | Reported) -> list[MetricPoint]:
    """Return the points of a report that make charts: a validation, and the training curve before it."""
    values = {name: value for name, value in report.values.items() if name != TRAIN_LOSS and name not in QUIET_METRICS}
    points: list[MetricPoint] = [(name, report.step, value) for name, value in values.items()]
    return points + [(TRAIN_LOSS, step, loss) for step, loss in report.curve]


def _name_of(reference: Reference) -> str:
    return f"reference: {reference.title}"


def _paired(trunk: int | None) -> dict[str, str]:
    return {} if trunk is None else {"espalier.trunk": str(trunk)}
