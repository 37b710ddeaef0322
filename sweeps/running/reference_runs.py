"""References while they train: their events become records, and what they came to is stored with the sweep."""

from collections.abc import Sequence

from espalier.core.training.events import Ended, Event, Reported, Started
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.references import Reference, is_affordable, reference
from espalier.sweeps.results.reference_result import SKIPPED, ReferenceResult
from espalier.sweeps.running.ledger import Ledger
from espalier.sweeps.running.messages import Turn
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.cohort_plan import CohortPlan
from espalier.sweeps.search.study import SweepRecord


class ReferenceRuns:
    """Takes the turns of references. One that fails is noted, and never fails the sweep."""

    def __init__(self, record: SweepRecord, tracking: Tracking, progress: Progress):
        self.record, self.tracking, self.progress = record, tracking, progress

    def choose(self, references: Sequence[Reference], ledger: Ledger) -> list[Reference]:
        """Return those that are worth their time, now that all trials have been asked for; the others are skipped."""
        plain = any(provenance.program == "plain" for provenance in ledger.provenance.values())
        lane_steps, chosen = self.progress.work.total().lane_steps, list[Reference]()
        asked_for, steps = self.record.spec.references is True, self.record.spec.budget.steps
        for each in references:
            if asked_for or is_affordable(each, steps, lane_steps, plain):
                chosen.append(each)
            else:
                self.record.add_reference(ReferenceResult(each.name, each.title, SKIPPED, None))
        return chosen

    def take_turn(self, plan: CohortPlan, turn: Turn) -> None:
        """Record a turn of a reference."""
        chosen = reference(plan.reference)
        for event in turn.events:
            self._take_event(chosen, plan, event)
        if reason := turn.halt or (turn.error and turn.error.reason):
            self.fail(plan, reason)

    def fail(self, plan: CohortPlan, why: str) -> None:
        """Store that a reference failed."""
        chosen = reference(plan.reference)
        if chosen.name in {result.name for result in self.record.references}:
            return
        self._store(chosen, ReferenceResult(chosen.name, chosen.title, "failed", None, why))

    def _take_event(self, chosen: Reference, plan: CohortPlan, event: Event) -> None:
        match event:
            case Started():
                self.tracking.start_reference(chosen, plan.trials[0].point)
            case Reported():
                self.tracking.report_reference(chosen, event)
            case Ended():
                metric = self.record.spec.objective.metric
                value = event.values.get(metric) if event.status == "complete" else None
                reports = {step: values[metric] for step, values in event.reports if metric in values}
                result = ReferenceResult(
                    chosen.name, chosen.title, event.status, value, event.evidence, chosen.hint, reports
                )
                self.tracking.end_reference(chosen, event)
                self._store(chosen, result)
            case _:
                pass

    def _store(self, chosen: Reference, result: ReferenceResult) -> None:
        self.record.add_reference(result)
        if result.state == "failed":
            self.progress.note(f"the reference {chosen.title} failed: {result.evidence}")
