"""Why each piece of training was chosen, as far as a sweep's record in Optuna knows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.errors import counted
from espalier.sweeps.answer.axes import short

if TYPE_CHECKING:
    from espalier.sweeps.search.study import SweepRecord
    from espalier.sweeps.search.trial_record import PieceJson, TrialRecord

HOW: Mapping[str, str] = {
    "random": "random drew every point at random",
    "qmc": "qmc took the points of a sequence that covers the space evenly",
    "grid": "grid took every point of the grid, far apart first",
    "tpe": "tpe drew at random until 10 trials had ended; then it proposed what is likely among the best trials so far "
    "and unlikely among the others",
    "gp": "gp drew 4 points at random; then it proposed where a Gaussian process through the complete trials expected "
    "to better the best most",
    "thaw": "thaw began with points spread over the space; then it trained piece by piece what was expected to better "
    "the end most for its cost, and parked the rest",
}
"""How each sampler chooses, in a sentence."""


@dataclass(frozen=True)
class Chosen:
    """A piece of training: of a search by pieces one of several of a trial, else all of it.

    order: its place among all pieces. begin, end: shares of a training. decay: the decay points that were chosen for
    it, if they were. again: what of it had been trained before and was lost. gain, cost: by how much it was expected to
    better the objective in the end, for how many trainings; None where nothing was expected yet.
    """

    order: int
    trial: int
    begin: float
    end: float
    why: str
    decay: Sequence[float] = ()
    gain: float | None = None
    cost: float | None = None
    again: float = 0.0

    @property
    def line(self) -> str:
        """Return it as a sentence.

        >>> Chosen(4, 7, 0.05, 0.15, "expected to gain .004 for 1.2 trainings").line
        'trial 7, 5 to 15 %: expected to gain .004 for 1.2 trainings'
        """
        part = "" if (self.begin, self.end) == (0, 1) else f", {100 * self.begin:.3g} to {100 * self.end:.3g} %"
        decay = f" with decay at {' and '.join(f'{100 * each:.0f} %' for each in self.decay)}" if self.decay else ""
        again = f"; {100 * self.again:.3g} % of a training again, since nothing was kept" if self.again else ""
        return f"trial {self.trial}{part}{decay}: {self.why}{again}"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {**asdict(self), "decay": list(self.decay)}


def chosen_of(record: "SweepRecord") -> list[Chosen]:
    """Return all pieces of training of a sweep whose choice has a reason of its own, in the order of their choice.

    Of a search by pieces that is every piece. Of another, first points, added points and confirmations: `HOW` says how
    all others were chosen.
    """
    sources = _given(record)
    chosen = [each for trial in record.trials() for each in _of_trial(trial, sources, len(record.spec.first_points))]
    return sorted(chosen, key=lambda each: (each.order, each.trial))


def _given(record: "SweepRecord") -> Mapping[str, str]:
    """Return by the key of each added point where it is from."""
    return {key: entry["of"] for key, entry in record.enqueued().items()}


def _of_trial(trial: "TrialRecord", sources: Mapping[str, str], first: int) -> Iterator[Chosen]:
    why = _why_given(trial.given_as, sources, first)
    if trial.confirms:
        again = f"trains trial {trial.confirms.trial} again under seed {trial.confirms.seed}"
        yield Chosen(1_000_000 + trial.number, trial.number, 0, 1, again)
    elif trial.pieces:
        yield from (_of_piece(trial.number, piece, why) for piece in trial.pieces)
    elif why:
        yield Chosen(trial.number, trial.number, 0, 1, why)


def _why_given(key: str | None, sources: Mapping[str, str], first: int) -> str:
    """Return which given point a trial has; "" for none."""
    if key is None:
        return ""
    if key in sources:
        return f"a point of {sources[key]}" if sources[key] else "a point that was added while it ran"
    return f"first point {int(key) + 1} of {first} of the spec" if key.isdigit() else "a given point"


def _of_piece(trial: int, piece: "PieceJson", reason: str) -> Chosen:
    gain, cost, decay = piece.get("gain"), piece.get("cost"), piece.get("decay")
    more: dict[str, Any] = {"decay": tuple(decay or ()), "gain": gain, "cost": cost, "again": piece.get("again", 0.0)}
    if reason and not piece["begin"]:
        why = reason
    elif gain is None:
        why = "one of the first points, spread over the space"
    else:
        why = f"expected to gain {short(gain)} for {counted_trainings(cost or 0.0)}"
    return Chosen(piece["order"], trial, piece["begin"], piece.get("end", 1.0), why, **more)


def counted_trainings(count: float) -> str:
    """Return a number of trainings, which need not be whole.

    >>> counted_trainings(1.0), counted_trainings(0.35)
    ('1 training', '.35 trainings')
    """
    return counted(1, "training") if abs(count - 1) < 5e-3 else f"{short(count)} trainings"
