"""The board, and who answers at it: no failure leaves a worker waiting for trials."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from espalier.sweeps.running import board as boards
from espalier.sweeps.running.board import AnswerRequest, Board, Request, answering, read_trials, trials_text
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.messages import Turn
from espalier.sweeps.running.tune import CohortSearcher
from espalier.sweeps.search.cohort_plan import PlannedTrial

TRIALS = [PlannedTrial(3, {"lr_exponent": -2.0})]
TURN = Turn("node", done=False).to_text()


class BoardHere:
    """A board in this process, whose calls are made when `get` waits for them."""

    def __init__(self) -> None:
        self.board, self.loop = Board(None), asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.failures: list[Exception] = []

    def shut_down(self) -> None:
        """End what still waits, and the thread."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: (getattr(self.board, name), arguments))

    def get(self, call: tuple[Callable[..., Any], tuple[Any, ...]], timeout: float | None = None) -> Any:
        if self.failures and call[0].__name__ == "next_request":
            raise self.failures.pop()
        return asyncio.run_coroutine_threadsafe(call[0](*call[1]), self.loop).result(timeout or 30)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[BoardHere]:
    here = BoardHere()
    monkeypatch.setattr(boards, "ray", SimpleNamespace(get=here.get))
    yield here
    here.shut_down()


class OneLoop:
    """A loop that gives trials, unless it is to fail."""

    def __init__(self, error: Exception | None = None):
        self.interrupt, self.error = Interrupt(), error

    def more_trials(self, cohort: str, turn: Turn, lanes: int) -> list[PlannedTrial]:
        if self.error:
            raise self.error
        return TRIALS


def searcher_of(loop: OneLoop) -> CohortSearcher:
    return CohortSearcher(loop)  # type: ignore[arg-type]


def ask(board: BoardHere, turn: str = TURN) -> list[PlannedTrial]:
    return read_trials(board.get((board.board.ask, ("cohort-0", turn, 2))))


@pytest.mark.parametrize("error", [None, RayError("restarting")])
def test_a_cohort_that_asks_is_given_trials_also_after_the_board_has_restarted(
    error: Exception | None, board: BoardHere
) -> None:
    searcher = searcher_of(OneLoop())
    board.failures += [error] if error else []
    with answering(board, searcher.answer, searcher.fail):
        assert ask(board) == TRIALS
        assert ask(board) == TRIALS
    assert searcher.error is None


@pytest.mark.parametrize(("turn", "error"), [(TURN, KeyError("cohort-0")), ("{}", None), ("no JSON", None)])
def test_a_request_that_cannot_be_answered_ends_the_sweep_and_leaves_no_worker_waiting(
    turn: str, error: Exception | None, board: BoardHere
) -> None:
    loop = OneLoop(error)
    searcher = searcher_of(loop)
    with answering(board, searcher.answer, searcher.fail):
        assert ask(board, turn) == []
        assert ask(board) == [], "nothing is written after an error"
    assert searcher.error is not None and loop.interrupt.asked.is_set()


def raising(request: Request) -> str:
    raise TypeError("no answer")


@pytest.mark.parametrize("answer", [raising, searcher_of(OneLoop()).answer])
def test_an_error_that_ends_the_answers_ends_the_sweep(answer: AnswerRequest, board: BoardHere) -> None:
    ended = threading.Event()
    board.failures = [] if answer is raising else [ValueError("no such reference")]
    with answering(board, answer, lambda error: ended.set()):
        waiting = board.board.ask("cohort-0", TURN, 2)
        asyncio.run_coroutine_threadsafe(waiting, board.loop)
        assert ended.wait(30)


def test_trials_pass_the_board_whole() -> None:
    assert read_trials(trials_text(TRIALS)) == TRIALS
