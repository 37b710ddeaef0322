"""Which results a choice counts on: all that came in, or in the order of asking, whatever the timing of the workers."""

from collections.abc import Iterator

from espalier.sweeps.thaw.pieces import BranchPiece, Piece, Score


class Results:
    """The pieces that were asked for, and their results. lag: None where each result counts at once.

    With a lag of L, piece k is chosen by the results of pieces 0 ... k - L, whatever else came in: L may train at once.

    >>> from espalier.sweeps.thaw.pieces import TrunkPiece
    >>> results = Results(lag=2)
    >>> for k in range(2):
    ...     results.ask(TrunkPiece(k, (0.0,), 0.0, 0.05))
    >>> results.tell(results.asked[1], 2.5)
    >>> list(results.counts(most=2))  # the first piece comes first
    []
    >>> results.tell(results.asked[0], 2.4)
    >>> list(results.counts(most=2)), [score.value for score in results.scores(1)]
    ([1, 2], [2.4])
    """

    def __init__(self, lag: int | None = None):
        if lag is not None and lag < 1:
            raise ValueError(f"lag: {lag}; must be 1 or more, or None")
        self.lag = lag
        self.asked: list[Piece] = []
        self._told: list[tuple[int, Score | None]] = []  # in the order in which they came in
        self._numbers: dict[Piece, int] = {}
        self._in_turn: list[Score | None] = []  # in the order of asking

    def ask(self, piece: Piece) -> None:
        """Note a piece that was asked for."""
        self._numbers[piece] = len(self.asked)
        self.asked.append(piece)
        self._in_turn.append(None)

    def tell(self, piece: Piece, value: float | None) -> None:
        """Note the result of a piece."""
        share, decay = (1.0, piece.decay) if isinstance(piece, BranchPiece) else (piece.end, ())
        score = Score(piece.point, share, decay, value, piece.trunk)
        number = self._numbers[piece]
        self._told.append((number, score))
        self._in_turn[number] = score

    def void(self, piece: Piece) -> None:
        """Note that the result of a piece will never be known. Without a lag alone."""
        self._told.append((self._numbers[piece], None))

    def counts(self, most: int) -> Iterator[int]:
        """Yield on how many results the next choice may count, where at most so many pieces may train at once.

        With a lag these are several: where a choice finds nothing to do, it waits for the next result in turn.
        """
        least, told = max(1, len(self.asked) - most + 1), len(self._told)
        if self.lag is None:
            yield from [told] if told >= least else []
            return
        in_turn = next((k for k, score in enumerate(self._in_turn) if score is None), len(self._in_turn))
        yield from range(least, in_turn + 1)

    def scores(self, count: int) -> list[Score]:
        """Return the first so many results."""
        if self.lag is None:
            return [score for _, score in self._told[:count] if score]
        return [score for score in self._in_turn[:count] if score]

    def pending(self, count: int) -> list[Piece]:
        """Return the pieces whose results do not count where the first so many do."""
        if self.lag is None:
            told = {number for number, _ in self._told[:count]}
            return [piece for k, piece in enumerate(self.asked) if k not in told]
        return self.asked[count:]
