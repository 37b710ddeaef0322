"""The summary at the end of a sweep's driver."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from espalier.core.errors import counted
from espalier.sweeps.address import UI, mlflow_page, trials_page
from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.home import Home
from espalier.sweeps.results import trial_result as results
from espalier.sweeps.results.checkpoint_disk import CheckpointDisk
from espalier.sweeps.results.noise import compare_with_best, noise_document
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.spec.spec import SweepSpec

FAILURES = 3  # how many reasons of failed trials are shown, the most frequent first


@dataclass(frozen=True)
class Summary:
    """How a sweep ended or was interrupted. seconds: of the last driver."""

    sweep: str
    spec: SweepSpec
    trials: list[results.TrialResult]
    best: results.TrialResult | None
    interrupted: bool
    recorded: bool
    seconds: float
    lane_steps: int
    steps_shared: int
    first_result_s: float | None
    server: str | None = None  # MLflow's address, if not the home's store
    notes: Sequence[str] = ()  # problems and repairs on the way, a sentence each
    halted: str | None = None  # why it was interrupted, if not by request: what the user has to fix
    parent: ParentRun | None = None  # the sweep's own run in MLflow
    references: Sequence[ReferenceResult] = ()
    checkpoints: CheckpointDisk | None = None

    @cached_property
    def answer(self) -> Answer:
        """Which values to use, how sure that is, what was wrong."""
        state = "interrupted" if self.interrupted else "finished"
        return answer_of(self.spec, self.trials, self.references, state)

    def document(self) -> dict[str, object]:
        """Return the JSON document of `sweep run --json`."""
        best = self.best
        return {
            "sweep": self.sweep,
            "trials": len(results.searched(self.trials)),
            "confirmations": sum(t.confirms is not None for t in self.trials),
            "best": best
            and {"trial": best.number, "params": dict(best.params), self.spec.objective.metric: best.value},
            "answer": list(self.answer.sentences),
            "seconds": round(self.seconds, 3),
            **noise_document(*compare_with_best(self.trials, self.spec)),
            "references": [reference.to_json() for reference in self.references],
            "lane_steps": self.lane_steps,
            "steps_shared": self.steps_shared,
            "states": results.counts(self.trials),
            "interrupted": self.interrupted,
            "recorded": self.recorded,
            "notes": list(self.notes),
            **({"checkpoints": self.checkpoints.document()} if self.checkpoints else {}),
            "halted": self.halted,
            "first_result_s": self.first_result_s,
            "mlflow": self.page() if self.server else None,
        }

    def closing_lines(self, home: Home) -> Iterator[str]:
        """Yield the closing sentences, and the commands that come next. home: where the sweep is."""
        states = results.counts(self.trials)
        if self.halted:
            yield f"halted: {self.halted}"
        if self.interrupted:
            ended = sum(n for state, n in states.items() if state not in results.UNFINISHED)
            yield f"interrupted with {counted(ended, 'trial')} ended"
            yield f"continue: {home.resume_command(self.sweep)}"
            return
        if confirmations := sum(t.confirms is not None for t in self.trials):
            states["confirmation" if confirmations == 1 else "confirmations"] = confirmations
        yield f"{', '.join(f'{n} {state}' for state, n in states.items())} in {self.seconds:.0f} s; " + self._work()
        yield from [self.checkpoints.sentence] if self.checkpoints else []
        yield from self._failures()
        yield from (f"note: {note}" for note in results.notes(self.trials, self.spec.is_foreign))
        if self.best is None:
            yield from self._without_a_best(home)
            return
        first, *others = self.answer.brief
        yield f"best: {first}"
        yield from others
        yield f"browse  {self.page() if self.server else f'sweep ui{home.option}, then {self.page()}'}"
        if self.parent:
            yield f"table   {trials_page(self.server or UI, self.parent.experiment_id, self.sweep)}"
        yield f"report  sweep report {self.sweep}{home.option} --open"
        yield f"pull    sweep best {self.sweep}{home.option} > best.yaml"
        yield "rerun   sweep rerun best.yaml"

    def without_a_best(self) -> list[str]:
        """Return that no trial is complete, and why; empty if one is, or if the sweep was interrupted."""
        if self.best is not None or self.interrupted or not self.trials:
            return []
        return [f"no trial is complete: {results.counts_text(self.trials)}", *self._failures()]

    def _failures(self) -> Iterator[str]:
        """Yield the most frequent reasons of failed trials."""
        failed = Counter(t.evidence for t in self._in("failed") if t.evidence)
        for evidence, number in failed.most_common(FAILURES):
            yield f"failed: {evidence} ({counted(number, 'trial')})"

    def page(self) -> str:
        """Return the address of MLflow's page on the sweep; for a home's store, that of `sweep ui`."""
        return mlflow_page(self.server or UI, *(self.parent.ids if self.parent else ()))

    def _without_a_best(self, home: Home) -> Iterator[str]:
        """Yield why no trial is complete, and what to do about it."""
        diverged, stopped, total = self._in("diverged"), self._in("stopped"), len(self.trials)
        exponents = [t.params.get("lr_exponent", 0.0) for t in diverged]
        if diverged and len(diverged) == total:
            low = min(exponents)
            lower = f"--set space.lr_exponent='{{low: {low - 3:.3g}, high: {low:.3g}}}'"
            yield f"every trial diverged: search lower exponents, for example {lower}"
            if total > 1 and len(set(exponents)) > 1 and len({t.evidence for t in diverged}) == 1:
                yield f"{diverged[0].evidence}, whatever the rate: if lower ones do too, look for NaN in the data"
        elif diverged:
            many = counted(len(diverged), "trial")
            yield f"diverged: exponents {min(exponents):.3g} to {max(exponents):.3g} ({many})"
        if stopped:
            whole = f"all {total} trials were stopped" if total > 1 else "the only trial was stopped"
            yield f"{whole if len(stopped) == total else 'stopped'}: {_commonest(stopped)}"
            yield f"look at their health: sweep show {self.sweep}{home.option}; {self._less_strictly()}"

    def _less_strictly(self) -> str:
        if self.spec.budget.time_text:
            return f"if the time was too short, {self.spec.budget.time_text}, give it more"
        if self.spec.stopping is None:
            return "it was a watcher of the spec's that stopped them"
        return "to stop later: --set stopping.rungs='[0.5]' or never: --set stopping=null"

    def _in(self, state: str) -> list[results.TrialResult]:
        return [t for t in self.trials if t.state == state]

    def _work(self) -> str:
        return f"{self.lane_steps:,} lane-steps trained, {self.steps_shared:,} shared"


def _commonest(trials: list[results.TrialResult]) -> str:
    """Return the most frequent reason, ignoring numbers in it, in the words of its first trial."""
    alike: dict[str, list[results.TrialResult]] = {}
    for t in trials:
        alike.setdefault(re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", t.evidence), []).append(t)
    first, *others = max(alike.values(), key=len)
    like = f", and {len(others)} like it" if others else ""
    return f"{first.evidence} (trial {first.number}{like})"
