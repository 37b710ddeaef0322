"""The ledger: what a driver stores in the sweep's study while cohorts train, for its end and for the next driver."""

from collections.abc import Collection, Mapping

from espalier.core.training.events import Ended, Parked
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.running.messages import Turn
from espalier.sweeps.running.work import WorkCount
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.study import SweepRecord, Work


class Ledger:
    """How cohorts train, how much they have trained, and the MLflow runs of trials.

    provenance: of each cohort that has begun. programs: each "program (why)" of any driver, in order of use. runs: of
    trials, known to this driver.
    """

    def __init__(self, record: SweepRecord, work: WorkCount):
        self.record, self.work = record, work
        self.provenance = record.provenance
        self.programs = record.programs
        self.runs: dict[int, str] = {}
        self._trained_here: dict[str, None] = {}  # cohorts by program, in order

    def take_turn(self, cohort: str, turn: Turn, begins_anew: bool) -> None:
        """Store how a cohort trains, and its progress. begins_anew: whether it has no checkpoint to continue from."""
        assert turn.provenance
        if begins_anew and (earlier := self.work.begin_anew(cohort)):
            self.record.set_work(*earlier)
        work = Work(turn.lane_steps, turn.steps_shared)
        self.work.count(cohort, work)
        if turn.done or any(isinstance(event, Ended | Parked) for event in turn.events):
            self.record.set_work(cohort, work)  # stored with the trials that have ended, even if the cohort fails later
        if self.provenance.get(cohort) != turn.provenance:  # before its events: trials that began continue by it
            self.provenance[cohort] = turn.provenance
            self.record.set_provenance(cohort, turn.provenance)
        self._trained_here[cohort] = None
        if (program := _program(turn.provenance)) not in self.programs:
            self.programs.append(program)
            self.record.set_programs(self.programs)

    def programs_of(self, cohorts: Collection[str]) -> str:
        """Return the programs of cohorts that had a turn in this driver."""
        return "; ".join(dict.fromkeys(_program(self.provenance[c]) for c in self._trained_here if c in cohorts))

    def provenance_of(self, cohort: str | None) -> Provenance | None:
        """Return how a cohort trains; None if unknown."""
        return self.provenance.get(cohort or "")

    def take_links(self, recorder: Recorder) -> Mapping[int, str]:
        """Store the recorder's new links; return the runs of trials."""
        self.runs |= {link.trial: link.run for link in recorder.take_links() if link.trial >= 0}  # not of references
        if recorder.parent:
            self.record.set_parent(recorder.parent)
        return self.runs


def _program(provenance: Provenance) -> str:
    return f"{provenance.program} ({provenance.why})"
