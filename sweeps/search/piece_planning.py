"""Plan the pieces of a search by pieces: which cohort trains each.

A cohort takes on piece after piece, of any trial with its structure whose earlier pieces its own program has trained:
another program would differ in the last bits.
"""

from collections.abc import Collection, Mapping, Sequence

from espalier.sweeps.cohorts import structural_key
from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial, Provenance
from espalier.sweeps.search.pieces import PieceSearch
from espalier.sweeps.search.planning import Plans
from espalier.sweeps.search.time_budget import TimeBudget
from espalier.sweeps.search.trial_record import TrialRecord


class PiecePlanner(Plans):
    """Gives each piece to a cohort. The cohort of a trial's last piece is stored in Optuna."""

    def __init__(
        self,
        asker: Asker,
        trials: Sequence[TrialRecord],
        provenance: Mapping[str, Provenance],
        closed: bool = False,
        time: TimeBudget | None = None,
    ):
        """provenance: how each cohort trains, as far as it is known; the mapping grows.

        closed, time: see PieceSearch.
        """
        self.asker, self.spec, self.provenance = asker, asker.spec, provenance
        self.pieces = PieceSearch(asker, trials, closed, time)
        self.cohorts = {trial.number: trial.cohort for trial in trials if trial.cohort}  # of the last piece of each
        self.ids = {*provenance, *self.cohorts.values()}

    @property
    def all_asked(self) -> bool:
        """Whether nothing trains, and nothing is left that would be trained."""
        return self.pieces.over

    @property
    def round_is_open(self) -> bool:
        """Pieces are asked for one by one."""
        return False

    @property
    def in_rounds(self) -> bool:
        """Pieces are asked for one by one."""
        return False

    @property
    def wanted(self) -> int:
        """How many trials there are to be; of a budget in trainings one more than there are, while it lasts."""
        return self.asker.asked if self.all_asked else self.spec.trials_until_over(self.asker.asked)

    def ask(self) -> list[CohortPlan]:
        """Ask for the next piece; return it as a cohort."""
        trial = self.pieces.ask()
        return [self._alone(trial)] if trial else []

    def more(self, plan: CohortPlan, trunks: int) -> tuple[list[PlannedTrial], list[CohortPlan]]:
        """Ask for pieces for so many lanes of a cohort; return those that it takes on, and other cohorts."""
        added: list[PlannedTrial] = []
        while len(added) < trunks and (trial := self.pieces.ask()):
            if not self._suits(plan, trial):
                return added, [self._alone(trial)]
            self._join(plan.id, [trial])
            added.append(trial)
        return added, []

    def resume(self, trials: Sequence[TrialRecord], checkpoints: Mapping[str, str]) -> list[CohortPlan]:
        """Return the cohorts of the pieces that had not ended; they go on from the last states of their trials."""
        cohorts: dict[str, list[PlannedTrial]] = {}
        for trial in trials:
            if trial.number in self.pieces.training:
                cohort = trial.cohort or self._new_id(trial.number)
                cohorts.setdefault(cohort, []).append(self.pieces.planned(trial.number))
            elif trial.confirms and trial.running:
                self.asker.adopt(trial)
                again = PlannedTrial(trial.number, self.asker.point_of(trial.number), trial.confirms.trial)
                cohorts.setdefault(trial.cohort or self._new_id(trial.number), []).append(again)
        for cohort, planned in cohorts.items():
            self._join(cohort, planned)
        return [CohortPlan(cohort, tuple(planned)) for cohort, planned in cohorts.items()]

    def again(self, plan: CohortPlan) -> list[PlannedTrial]:
        """Return those trials of a cohort that train in it, each with its last piece."""
        own = [trial for trial in plan.trials if self.cohorts.get(trial.number) == plan.id]
        return [trial for trial in own if trial.confirms is not None or trial.number in self.pieces.training]

    def replan(self, plan: CohortPlan, unbegun: Collection[int]) -> list[CohortPlan]:
        """Return cohorts of those pieces of a cohort that are not over, though the cohort is."""
        unended = (trial for trial in self.again(plan) if trial.confirms is None or trial.number in unbegun)
        return [self._alone(trial) for trial in unended]

    def confirm(self, trials: Sequence[TrialRecord]) -> list[CohortPlan]:
        """Return a cohort for each of these trials that trains it once more, under another seed."""
        plans: list[CohortPlan] = []
        for record in trials:
            trial = self.asker.confirm(record)
            again = PlannedTrial(trial.number, self.asker.point_of(trial.number), record.number)
            plans.append(self._alone(again))
        return plans

    def close(self) -> None:
        """Ask for no more pieces."""
        self.pieces.closed = True

    def _suits(self, plan: CohortPlan, trial: PlannedTrial) -> bool:
        """Whether a cohort can take on a piece."""
        if structural_key(self.spec, plan.trials[0].point) != structural_key(self.spec, trial.point):
            return False
        before = self._before(trial)
        program = self._program(before)
        return not before or before == plan.id or (program is not None and program == self._program(plan.id))

    def _before(self, trial: PlannedTrial) -> str:
        """Return the cohort that trained what a piece goes on from; "" for one that begins anew."""
        piece = trial.piece
        return self.cohorts.get(piece.source, "") if piece and piece.begin else ""

    def _program(self, cohort: str) -> tuple[str, str] | None:
        provenance = self.provenance.get(cohort)
        return provenance and (provenance.program, provenance.device)

    def _alone(self, trial: PlannedTrial) -> CohortPlan:
        """Return a cohort of one piece, which trains as those before it did."""
        key = structural_key(self.spec, trial.point)
        like = self._before(trial) or next(
            (
                cohort
                for number, cohort in self.cohorts.items()
                if cohort in self.provenance and structural_key(self.spec, self.asker.point_of(number)) == key
            ),
            "",
        )
        plan = CohortPlan(self._new_id(trial.number), (trial,), like=like)
        self._join(plan.id, plan.trials)
        return plan

    def _new_id(self, number: int) -> str:
        """Return a name that no cohort of the sweep has had."""
        names = (f"cohort-{number}{'' if k == 1 else f'-{k}'}" for k in range(1, len(self.ids) + 2))
        name = next(name for name in names if name not in self.ids)
        self.ids.add(name)
        return name

    def _join(self, cohort: str, trials: Sequence[PlannedTrial]) -> None:
        """Write of trials which cohort they are in."""
        for trial in trials:
            self.cohorts[trial.number] = cohort
            self.asker.trials[trial.number].set_cohort(cohort)
