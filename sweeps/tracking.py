"""What a sweep's records say: each thing heard of a trial as one record, the sweep's own run at its open and close."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps import identity, record, report, results
from sweeps.outcome import Outcome, Report, Score, missing, missing_text
from sweeps.record import Recorder
from sweeps.rerun import best_file
from sweeps.spec import SweepSpec

MLFLOW_STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
FIGURED = 5  # trials whose loss curves are drawn


class Tracking:
    """Hears what happens to the trials of one sweep and has it recorded."""

    def __init__(self, recorder: Recorder, study: Any, spec: SweepSpec, folder: Path):
        self.recorder, self.study, self.spec, self.folder = recorder, study, spec, folder
        self.facts = study.user_attrs

    # --- trials ------------------------------------------------------------------------------------------------------

    def start(self, trial: int, params: Mapping[str, Any], trunk: int | None) -> None:
        """Record that a trial trains, and which trial's trunk it was proposed to share."""
        tags = {"espalier.status": "running", **_paired(trunk)}
        self.recorder.say("start", trial=trial, name=f"trial {trial}", params=params, tags=tags)

    def fork(self, trial: int, trunk: int | None, parted_from: str, step: int) -> None:
        """Record up to which step a trial was trained as one with another."""
        tags = {"espalier.parted_from": parted_from, "espalier.fork_step": str(step), **_paired(trunk)}
        self.recorder.say("tag", trial=trial, tags=tags)

    def report(self, said: Report) -> None:
        """Record a validation and the curve that led to it."""
        points = [(name, said.step, v) for name, v in said.values.items() if name != "train_loss"]
        points += [("train_loss", step, loss) for step, loss in said.curve]
        self.recorder.say("report", trial=said.trial, step=said.step, points=points)

    def score(self, said: Score) -> None:
        """Record what a trial was worth at a rung."""
        points = [(f"rung_{name}", said.step, value) for name, value in said.values.items()]
        # the record knows what is new by its step: a score comes after the report of that step, and before the next
        self.recorder.say("report", trial=said.trial, step=said.step + 0.5, points=points)

    def end(self, outcome: Outcome, made_by: Mapping[str, Any]) -> None:
        """Record how a trial ended, with its whole story; `made_by` names program, why, lanes and device."""
        tags = {
            "espalier.status": outcome.status,
            "espalier.verdict": outcome.verdict,
            "espalier.evidence": outcome.evidence,
        }
        if text := missing_text(missing(outcome.members)):
            tags["espalier.missing"] = text
        made_with = identity.made_with(self.facts, outcome.trial)
        made_of = {kind: made_with[kind] for kind in ("code", "data") if kind in made_with}
        if identity.CHANGES in self.facts:  # else the sweep's own run says it for all
            tags |= {f"espalier.{kind}": value for kind, value in made_of.items()}
        story = {"trial": outcome.trial, **made_by, **made_of, "members": outcome.members}
        self.recorder.say(
            "end",
            trial=outcome.trial,
            name=f"trial {outcome.trial}",
            step=outcome.step,
            values={f"final_{name}": v for name, v in outcome.values.items()},
            tags=tags,
            texts={record.STORY: json.dumps(results.finite(story))},
            status=MLFLOW_STATUS[outcome.status],
        )

    # --- the sweep ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Record the sweep itself: its spec, versions, git state and the fingerprint of its data."""
        spec, facts = self.spec, self.facts
        text = spec.as_yaml()
        tags = {f"espalier.{k}": v for k, v in facts.items() if isinstance(v, str | int | float) and "." not in k}
        tags |= {f"espalier.version.{k}": v for k, v in facts.get("versions", {}).items()}
        tags |= {"espalier.changed": changes} if (changes := identity.history(facts)) else {}
        params = {
            "task": spec.task,
            "optimizer": spec.optimizer.kind,
            "schedule": spec.schedule.kind,
            "steps": spec.budget.steps,
            "batch_size": spec.budget.batch_size,
            "trials": spec.trials,
            "sampler": spec.search.sampler,
            "objective": f"{spec.objective.mode} {spec.objective.metric}",
        }
        self.recorder.say("open", name=self.study.study_name, tags=tags, params=params, texts={"spec.yaml": text})

    def pause(self) -> None:
        """Record that the sweep stops here and may go on."""
        self.recorder.say("pause")

    def close(self, trials: list[results.TrialResult], totals: tuple[int, int], programs: Sequence[str]) -> None:
        """Record the table of trials, the best file and the figures.

        totals: lane-steps trained and shared. programs: each by which some of the trials have trained, and why.
        """
        mode = self.spec.objective.mode
        for t in trials:
            if t.compared:  # what shows only beside others
                tags = {"espalier.verdict": t.verdict, "espalier.evidence": t.evidence}
                self.recorder.say("tag", trial=t.number, tags=tags)
        best = results.best_trial(trials, mode)
        texts = {"trials.csv": report.table_csv(trials)}
        figures = [report.exponent_figure(trials, self.spec, self.folder / "exponent.png")]
        values = {"trials": float(len(trials)), "lane_steps": float(totals[0]), "steps_shared": float(totals[1])}
        if best is not None:
            top = [t for t in results.ranked(trials, mode) if t.state == "complete"][:FIGURED]
            stories = self.recorder.stories([t.number for t in top])
            texts["best.yaml"] = best_file(self.study, best, stories[best.number])
            told = [(t, stories[t.number]) for t in top]
            figures.append(report.curves_figure(told, self.spec, self.folder / "curves.png"))
            if ratios := report.ratios_figure(best, stories[best.number], self.spec, self.folder / "ratios.png"):
                figures.append(ratios)
            if best.value is not None:
                values[f"best_{self.spec.objective.metric}"] = best.value
        tags = {"espalier.best_trial": "none" if best is None else best.number}
        tags |= {"espalier.program": "; ".join(programs)} if programs else {}
        files = [str(figure) for figure in figures]
        self.recorder.say("close", values=values, tags=tags, texts=texts, files=files, status="FINISHED")


def _paired(trunk: int | None) -> dict[str, str]:
    return {} if trunk is None else {"espalier.trunk": str(trunk)}
