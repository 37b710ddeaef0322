"""What a driver writes into the sweep's study while cohorts train: for its own end, and for the next driver."""

from collections.abc import Collection, Mapping

from espalier.core.training.events import Ended
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.running.messages import Turn
from espalier.sweeps.running.work import WorkCount
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.study import SweepRecord, Work


class Ledger:
    """How cohorts train and how much, and which MLflow runs there are.

    provenance: of each cohort that has begun. programs: each "program (why)" of any driver, the first first.
    runs: of trials, learnt by this driver.
    """

    def __init__(self, record: SweepRecord, work: WorkCount):
        self.record, self.work = record, work
        self.provenance = record.provenance
        self.programs = record.programs
        self.runs: dict[int, str] = {}
        self._trained_here: dict[str, None] = {}  # cohorts, the first first

    def take_turn(self, cohort: str, turn: Turn, begins_anew: bool) -> None:
        """Write how a cohort trains, and how far it is. begins_anew: whether it has no checkpoint to go on from."""
        assert turn.provenance
        if begins_anew and (earlier := self.work.begin_anew(cohort)):
            self.record.set_work(*earlier)
        work = Work(turn.lane_steps, turn.steps_shared)
        self.work.count(cohort, work)
        if turn.done or any(isinstance(event, Ended) for event in turn.events):
            self.record.set_work(cohort, work)  # with the trials that have ended, whatever becomes of it
        if self.provenance.get(cohort) != turn.provenance:  # before its events: what has begun goes on by it
            self.provenance[cohort] = turn.provenance
            self.record.set_provenance(cohort, turn.provenance)
        self._trained_here[cohort] = None
        if (program := _program(turn.provenance)) not in self.programs:
            self.programs.append(program)
            self.record.set_programs(self.programs)

    def programs_of(self, cohorts: Collection[str]) -> str:
        """Return by which programs some cohorts train, those that have had a turn here."""
        return "; ".join(dict.fromkeys(_program(self.provenance[c]) for c in self._trained_here if c in cohorts))

    def provenance_of(self, cohort: str | None) -> Provenance | None:
        """Return how a cohort trains; None if that is not known."""
        return self.provenance.get(cohort or "")

    def take_links(self, recorder: Recorder) -> Mapping[int, str]:
        """Take what the recorder has learnt; return the runs of trials."""
        self.runs |= {link.trial: link.run for link in recorder.take_links()}
        if recorder.parent:
            self.record.set_parent(recorder.parent)
        return self.runs


def _program(provenance: Provenance) -> str:
    return f"{provenance.program} ({provenance.why})"
