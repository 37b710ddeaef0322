"""A search by pieces of trainings: the model of sweeps.thaw proposes them, and each is a part of a trial of Optuna's.

A trunk is a trial without decay points until a branch goes on from where it was parked: that completes the trial. Any
other branch is a trial of its own. A trunk that is never continued ends as stopped.
"""

import math
from collections.abc import Iterable, Mapping

from espalier.core.training.events import Compared, Event, Repeated
from espalier.sweeps.results.noise import noise_of_means
from espalier.sweeps.search import attributes
from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.cohort_plan import Piece, PlannedTrial
from espalier.sweeps.search.extension import Extension
from espalier.sweeps.search.piece_space import PieceSpace
from espalier.sweeps.search.time_budget import TIME_UP, TimeBudget
from espalier.sweeps.search.trial_events import Outcome
from espalier.sweeps.search.trial_record import PieceJson, TrialRecord
from espalier.sweeps.thaw.pieces import BranchPiece, TrunkPiece
from espalier.sweeps.thaw.pieces import Piece as Proposal
from espalier.sweeps.thaw.thaw import Thaw

LAG = 4  # of a repeatable search: each piece is proposed from the results of all but the last so many before it


class PieceSearch:
    """Asks the model for pieces, gives each to a trial, and tells the model what they came to."""

    def __init__(
        self, asker: Asker, trials: Iterable[TrialRecord], closed: bool = False, time: TimeBudget | None = None
    ):
        """trials: those that earlier processes have asked for. closed: whether these have ended the search.

        time: where it limits the search.
        """
        self.asker, self.spec = asker, asker.spec
        self.layout = PieceSpace(self.spec, asker.domains)
        lag = LAG if self.spec.search.repeatable else None
        self.time = time
        wanted = self.spec.trials if self.spec.counts_trials else None
        places = [self.layout.places(point) for point in asker.given.first.values()]
        space, trainings = self.layout.space, self.spec.trainings
        hints = self.layout.hints(asker.record.taken.trials) if asker.record.taken else []
        self.model = Thaw(space, trainings, self.spec.search.seed, self.layout.rungs, lag, wanted, places, hints)
        self.trunks: list[int] = []  # the trial of each trunk
        self.pieces: dict[int, list[PieceJson]] = {}  # by trial
        self.training: dict[int, Proposal] = {}  # by trial
        self.more: dict[int, dict[tuple[str, type[Event]], float]] = {}  # by trial and replicate: beside its piece
        self.scores: dict[int, float | None] = {}  # of trunks that have come to their rung and are about to be parked
        self.waits = False  # whether nothing is proposed before another result
        self.closed = closed  # whether nothing is proposed any more
        self.settled = False  # whether that is since nothing left is expected to be better
        self.order = 0
        self.ends: list[tuple[float, float]] = []  # of complete trials: the value to be minimised, and its spread
        self.past: set[int] = set()  # trials that had ended when the sweep was extended
        self.extensions = [each for each in asker.record.extensions if each.finished]
        self._replay(trials)

    @property
    def over(self) -> bool:
        """Whether nothing trains, and nothing is worth what it costs, or can be paid."""
        return (self.waits or self.closed) and not self.training

    # --- pieces ------------------------------------------------------------------------------------------------------

    def ask(self) -> PlannedTrial | None:
        """Return the next piece; None if there is none before another result, or none at all."""
        if not self.closed and self.spec.budget.until == "settled" and self.model.settled(self._noise):
            self.closed = self.settled = True
        self._allow()
        proposal, key = self._added()
        if proposal is None:
            proposal = None if self.waits or self.closed else self.model.ask()
        if proposal is None:
            self.waits = True
            return None
        number = self._trial_of(proposal, key)
        self.training[number] = proposal
        self.more.pop(number, None)
        return self.planned(number)

    def _added(self) -> tuple[Proposal | None, str]:
        """Begin a trunk at the next point that was added; return its piece, if there is one, and its key."""
        for key, point in self.asker.given.added() if not self.closed else ():
            if piece := self.model.begin(self.layout.places(point)):
                self.asker.given.use(key)
                return piece, key
        return None, ""

    @property
    def _noise(self) -> float | None:
        """The noise of an end, where replicates show it."""
        return noise_of_means(self.ends, self.spec.replicates)

    def _allow(self) -> None:
        """Tell the model what the time that is left allows, as far as it is known."""
        if self.time is None:
            return
        costs = {n: proposal.cost + self.pieces[n][-1].get("again", 0.0) for n, proposal in self.training.items()}
        left = self.time.left(costs)
        self.closed = self.closed or self.time.over
        if math.isfinite(left):
            self.model.allow(left, self.time.reach)

    def _trial_of(self, proposal: Proposal, key: str = "") -> int:
        """Return the trial that a piece is a part of: its trunk's, or a new one. key: of an added point."""
        begins = isinstance(proposal, TrunkPiece) and proposal.trunk == len(self.trunks)
        goes_on = not begins and (isinstance(proposal, TrunkPiece) or self._continues(proposal))
        number = self.asker.next_number if begins else self.trunks[proposal.trunk]
        if begins or not goes_on or number in self.past:
            return self._new_trial(proposal, number, goes_on, {attributes.FIRST: key} if key else {})
        self.pieces[number].append(self._entry(proposal, number))
        self.asker.trials[number].set_pieces(self.pieces[number])
        if isinstance(proposal, BranchPiece):
            self.asker.decide(number, self.layout.decay_params(proposal.decay))
        return number

    def _new_trial(self, proposal: Proposal, trunk: int, goes_on: bool, added: Mapping[str, object]) -> int:
        """Return a new trial of a piece. trunk: the trial of its trunk.

        goes_on: whether it takes that trial's place, which has ended. added: more attributes.
        """
        params, number = self.layout.params(proposal.point), self.asker.next_number
        if isinstance(proposal, BranchPiece):
            params |= self.layout.decay_params(proposal.decay)
        entry = self._entry(proposal, number if goes_on else trunk)
        if goes_on:
            entry["of"] = trunk
        self.asker.begin(params, {attributes.PIECES: [entry], **added})
        self.pieces[number], self.asker.trunks[number] = [entry], entry["trunk"]
        self._place(number, entry)
        return number

    def _place(self, number: int, entry: PieceJson) -> None:
        """Take a trial as that of the trunk which its first piece begins, or goes on with in an ended one's place."""
        if (before := entry.get("of")) is not None:
            trunk = self.trunks.index(before)
            self.trunks[trunk] = number
            self.model.trunks.begin_again(trunk)
        elif entry["trunk"] == number:
            self.trunks.append(number)

    def _continues(self, branch: BranchPiece) -> bool:
        """Whether a branch goes on from where its trunk was parked, for the first time."""
        trunk = self.trunks[branch.trunk]
        parked = max(piece.get("end", 0.0) for piece in self.pieces[trunk])
        undecided = not any("decay" in piece for piece in self.pieces[trunk])
        return undecided and branch.begin >= parked - 1e-9

    def _entry(self, proposal: Proposal, trunk: int) -> PieceJson:
        self.order += 1
        return _entry_of(proposal, self.order - 1, trunk, self.model)

    def planned(self, number: int) -> PlannedTrial:
        """Return a trial with the last of its pieces."""
        entry, point = self.pieces[number][-1], self.asker.point_of(number)
        steps = self.layout.kept_steps(point)
        begin = self.layout.step(entry["begin"], steps) if entry["begin"] > 0 else 0
        end = entry.get("end")
        until = None if end is None else self.layout.step(end, steps)
        decay = entry.get("decay")
        last = self.layout.step(min(decay), steps) if decay else until or 0
        keep_at = tuple(sorted({step for step in steps if begin < step <= last}))
        return PlannedTrial(number, self.layout.undecided() | point, piece=Piece(entry["trunk"], begin, until, keep_at))

    # --- results -----------------------------------------------------------------------------------------------------

    def score(self, number: int, step: int, value: float | None) -> None:
        """Take the score of a trial at a rung; None if it diverged there."""
        proposal = self.training.get(number)
        if isinstance(proposal, TrunkPiece) and self.layout.step(proposal.end, ()) == step:
            self.scores[number] = value

    def park(self, number: int, lost: bool = False) -> None:
        """Tell the model of a trunk that is parked at its rung. lost: whether nothing of it was kept there."""
        if number in self.training and number in self.scores:
            self._tell(number, self.scores.pop(number))
            if lost:
                self.lose(number, unended=True)

    def lose(self, number: int, unended: bool) -> None:
        """Tell the model that what goes on from a trial, which is not in training, begins anew.

        unended: whether the trial has not ended; else Optuna accepts no attribute of it, and a next process will not
        know it before it happens.
        """
        if number in self.trunks:
            self.model.lose(self.trunks.index(number))
            if unended:
                self.pieces[number][-1]["lost"] = True
                self.asker.trials[number].set_pieces(self.pieces[number])

    def repeat(self, event: Repeated) -> None:
        """Take that a replicate trains steps again in its piece, and have the budget pay for them."""
        if self.time and event.trial_id.number in self.training:
            self.time.repeat(event.trial_id.number, event.step)
        self._pay(event, event.wanted - event.step)

    def compare(self, event: Compared) -> None:
        """Have the budget pay for what was trained to see whether a replicate may share what others have trained."""
        self._pay(event, event.steps)

    def _pay(self, event: Event, steps: int) -> None:
        """Have the budget pay for steps beside those of a replicate's piece: once for each kind of event."""
        number = event.trial_id.number
        if number not in self.training:
            return
        shares, key = self.more.setdefault(number, {}), (event.trial, type(event))
        shares[key] = max(shares.get(key, 0.0), steps / self.spec.budget.steps)
        again, entry = sum(shares.values()) / self.spec.replicates, self.pieces[number][-1]
        more = again - entry.get("again", 0.0)
        if more * self.spec.budget.steps >= 0.5:  # rungs and decay points are rounded to steps
            entry["again"] = again
            self.asker.trials[number].set_pieces(self.pieces[number])
            self.model.pay(more)

    def end(self, outcome: Outcome) -> None:
        """Tell the model how a trial ended; one that is not complete counts as diverged."""
        if outcome.trial in self.training:
            metric = self.spec.objective.metric
            value = outcome.values.get(metric) if outcome.status == "complete" else None
            self._note_end(value, outcome.values.get(f"{metric}_std"))
            self._tell(outcome.trial, value)

    def _note_end(self, value: float | None, spread: float | None) -> None:
        if value is not None and spread is not None:
            self.ends.append((self.spec.objective.sign * value, spread))

    def _tell(self, number: int, value: float | None) -> None:
        self.model.tell(self.training.pop(number), None if value is None else self.spec.objective.sign * value)
        self.waits = False

    # --- earlier processes -------------------------------------------------------------------------------------------

    def _replay(self, trials: Iterable[TrialRecord]) -> None:
        """Ask and tell as earlier processes did; what they had in training is in training."""
        records = {trial.number: trial for trial in trials if trial.pieces}
        entries = [(piece["order"], number, k) for number, trial in records.items() for k, piece in _numbered(trial)]
        extensions = [*self.extensions]
        for order, number, k in sorted(entries):
            while extensions and number >= extensions[0].first:
                self._extend(extensions.pop(0))
            record = records[number]
            piece = record.pieces[k]
            self.order = order + 1
            if k == 0:
                self._place(number, piece)
            self.pieces.setdefault(number, []).append(piece)
            proposal = _proposal_of(piece, self.trunks.index(piece["trunk"]))
            begun = record.given_as is not None and k == 0
            self.model.adopt(proposal, begun, piece.get("again", 0.0))
            self.training[number] = self.model.training[-1]
            is_last = k == len(record.pieces) - 1
            end = piece.get("end")
            step = -1 if end is None else self.layout.step(end, ())
            known, value = _result(record, step, is_last, self.spec.objective.sign)
            if known and value is None and TIME_UP in record.evidence and not record.running:
                _void(self.training.pop(number), self.model)
            elif known:
                self.model.tell(self.training.pop(number), value)
            if piece.get("lost") and number in self.trunks:
                self.model.lose(self.trunks.index(number))
        for extension in extensions:
            self._extend(extension)
        for record in records.values():
            self._note_end(record.value, record.spread)
            if record.running:
                self._take_over(record)

    def _extend(self, extension: Extension) -> None:
        """Take that all trials had ended before a certain one, when the sweep was extended."""
        self.past = set(range(extension.first))
        self.model.trunks.end(k for k, number in enumerate(self.trunks) if number in self.past)
        self.model.first = []  # what begins now, begins by choice

    def _take_over(self, record: TrialRecord) -> None:
        """Open a trial of an earlier process, which may have ended before it had stored a trunk's decay points."""
        self.asker.take_over(record)
        decay = record.pieces[-1].get("decay")
        if decay and not record.params.keys() >= set(self.layout.decay_names):
            self.asker.decide(record.number, self.layout.decay_params(decay))


def _void(piece: Proposal, model: Thaw) -> None:
    """Have a model take that a piece was cut off by the end of the time."""
    model.training.remove(piece)
    model.results.void(piece)
    model.trunks.void(piece)


def _entry_of(proposal: Proposal, order: int, trunk: int, model: Thaw) -> PieceJson:
    entry: PieceJson = {"order": order, "trunk": trunk, "point": proposal.point, "begin": proposal.begin}
    if isinstance(proposal, TrunkPiece):
        entry["end"] = proposal.end
    else:
        entry["decay"] = proposal.decay
    if reason := model.reason:
        entry["gain"], entry["cost"] = reason.gain, reason.cost
    if model.again:
        entry["again"] = model.again
    return entry


def _proposal_of(piece: PieceJson, trunk: int) -> Proposal:
    point = tuple(piece["point"])
    if (decay := piece.get("decay")) is not None:
        return BranchPiece(trunk, point, piece["begin"], tuple(decay))
    return TrunkPiece(trunk, point, piece["begin"], piece.get("end", 1.0))


def _result(record: TrialRecord, rung: int, is_last: bool, sign: float) -> tuple[bool, float | None]:
    """Return whether the result of a piece is known, and the value to be minimised; None if it diverged.

    rung: at which its trunk is scored, -1 of a branch. is_last: whether it is the last piece of its trial.
    """
    if score := record.scores.get(rung):
        rested = score.value is None or (record.parked or (0,))[0] >= rung
        if rested or not (record.running and is_last):  # else its process ended before it knew of the parking
            return True, None if score.value is None else sign * score.value
    if record.running and is_last:
        return False, None
    return True, None if record.value is None else sign * record.value


def _numbered(trial: TrialRecord) -> list[tuple[int, PieceJson]]:
    return list(enumerate(trial.pieces))
