"""A search that time bounds: it begins what can end in time alone, has an answer, and uses its time."""

import heapq

import pytest

from espalier.sweeps.thaw.pieces import BranchPiece, Piece
from espalier.sweeps.thaw.thaw import Thaw
from tests.sweeps.thaw.replaying import tell, valley
from tests.sweeps.thaw.test_thaw import EXPONENTS, SPACES


def timed(search: Thaw, hours: float, workers: int) -> tuple[list[float], float]:
    """Train a search for so many hours, of an hour a training; return when pieces ended, and the busy hours."""
    clock, running, ends, busy = 0.0, list[tuple[float, int, Piece]](), list[float](), 0.0
    while True:
        while len(running) < workers:
            rest = [max(0.0, hours - end) for end, _, _ in running]
            left = sum(rest) + (workers - len(running)) * (hours - clock)
            search.allow(left, hours - clock)
            piece = search.ask()
            if piece is None:
                break
            busy += piece.cost
            heapq.heappush(running, (clock + piece.cost, len(search.results.asked), piece))
        if not running:
            return ends, busy
        clock, _, piece = heapq.heappop(running)
        tell(search, piece, lambda point, share, decay: valley((min(point[0], 0.0),), share, decay))
        if isinstance(piece, BranchPiece):
            ends.append(clock)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("hours", [1.3, 2.0, 5.0])
def test_all_that_begins_ends_in_time_and_there_is_an_answer(space: object, workers: int, hours: float) -> None:
    search = Thaw(space, 12.0, seed=3)  # type: ignore[arg-type]
    ends, busy = timed(search, hours, workers)
    assert ends, "an answer"
    assert max(ends) <= hours + 1e-9
    assert busy <= hours * workers + 1e-9
    if workers == 1:
        assert busy > hours - 1, "no training more would have ended in time"


def test_where_no_training_can_end_in_time_it_ends() -> None:
    search = Thaw(EXPONENTS, 12.0)
    search.allow(0.5, 0.5)
    pieces = [piece for piece in iter(search.ask, None) if piece]
    assert len(pieces) <= 1
    for piece in pieces:
        tell(search, piece)
    search.allow(0.04, 0.04)
    assert search.ask() is None


def test_points_that_were_to_begin_do_not_where_time_turns_out_to_be_short() -> None:
    search = Thaw(EXPONENTS, 12.0)
    first = [search.ask() for _ in range(3)]
    assert len(search.first) == 9
    search.allow(0.96, 0.96)
    assert search.first == []
    for piece in first:
        assert piece
        tell(search, piece)
    assert search.ask()
    search.allow(9.0, 4.0)
    assert (search.left, search.payable) == (pytest.approx(9.0), 4.0)
