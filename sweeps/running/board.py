"""The board: a Ray actor without a core that decides which trials stop, and passes on requests for more trials.

It collects the scores of all cohorts and decides by them. Requests go to the driver, and its answers back: nobody can
call a driver, so it waits at the board for the next request. While the board is unreachable, a cohort decides by its
own scores and ends with the trials that it has. Every cohort sends all its scores with each new one, so a restarted
board is complete again.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from espalier.sweeps.running.messages import Turn
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.halving import Entry, Halving, RungKey

Judge = Callable[[Sequence[Entry], Sequence[RungKey]], dict[RungKey, str]]
"""Takes scores and which of them are fresh; returns why each of those ends, "" if it goes on."""
AskForTrials = Callable[[Turn, int], list[PlannedTrial] | None]
"""Takes what a cohort has to report and how many of its lanes are free; returns trials for them, maybe none.

None: there is no answer, so the driver may have had neither the report nor the request.
"""
JUDGE_S = 10.0  # that a cohort waits to be judged
AGAIN_S = 0.2  # between tries of the driver to reach a board that is away


@dataclass(frozen=True)
class Request:
    """A cohort asks for trials. number: of the request. turn: what it reports, as JSON. lanes: how many are free."""

    number: int
    cohort: str
    turn: str
    lanes: int


AnswerRequest = Callable[[Request], str]
"""Takes a request in the driver; returns its trials as JSON, see `trials_text`. It raises nothing."""


def trials_text(trials: Sequence[PlannedTrial]) -> str:
    """Return planned trials as JSON.

    >>> read_trials(trials_text([PlannedTrial(3, {"lr_exponent": -2.0})]))
    [PlannedTrial(number=3, point={'lr_exponent': -2.0}, confirms=None, piece=None)]
    """
    return json.dumps([trial.to_json() for trial in trials])


def read_trials(text: str) -> list[PlannedTrial]:
    """Invert `trials_text`."""
    return [PlannedTrial.from_json(fields) for fields in json.loads(text)]


class Board:
    """Decides for all cohorts of one sweep, and passes on their requests."""

    def __init__(self, rule: Halving | None):
        self.rule = rule
        self.requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self.replies: dict[int, asyncio.Future[str]] = {}
        self.count = 0

    def judge(self, entries: Sequence[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        """Add the scores of a cohort; return the decisions on the fresh ones."""
        assert self.rule
        return self.rule.judge(entries, fresh)

    async def ask(self, cohort: str, turn: str, lanes: int) -> str:
        """Have the driver answer a request of a cohort; return the trials as JSON."""
        self.count += 1
        reply = self.replies[self.count] = asyncio.get_running_loop().create_future()
        await self.requests.put(Request(self.count, cohort, turn, lanes))
        return await reply

    async def next_request(self, answered: int = 0, reply: str = "") -> Request | None:
        """Give the driver's answer to the request before, and wait for another; None once the board is closed."""
        if future := self.replies.pop(answered, None):
            future.set_result(reply)
        return await self.requests.get()

    async def close(self) -> None:
        """Let the driver wait no more."""
        await self.requests.put(None)


def open_board(sweep: str, rule: Halving | None) -> Any:
    """Start the board of a sweep with the scores of earlier drivers. It lives as long as the returned handle."""
    return ray.remote(Board).options(name=_name(sweep), num_cpus=0, max_restarts=-1).remote(rule)


def _name(sweep: str) -> str:
    return f"espalier-board-{sweep}"


def judge(sweep: str, alone: Halving) -> Judge:
    """Return the function by which a worker asks the board. Without a board the worker's own rule decides."""

    def ask(entries: Sequence[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        try:
            reply: Any = ray.get_actor(_name(sweep)).judge.remote(entries, fresh)
            return ray.get(reply, timeout=JUDGE_S)
        except (ValueError, RayError):
            return alone.judge(entries, fresh)

    return ask


def ask_for_trials(sweep: str, cohort: str) -> AskForTrials:
    """Return the function by which the worker of a cohort asks for trials."""

    def ask(turn: Turn, lanes: int) -> list[PlannedTrial] | None:
        try:
            reply: Any = ray.get_actor(_name(sweep)).ask.remote(cohort, turn.to_text(), lanes)
            return read_trials(ray.get(reply))
        except (ValueError, RayError):
            return None

    return ask


@contextmanager
def answering(board: Any, answer: AnswerRequest, on_error: Callable[[Exception], object]) -> Iterator[None]:
    """Answer the requests of cohorts while the block runs, in a thread of its own.

    on_error: called with an error that ends the thread, after which no request is answered.
    """
    over = threading.Event()

    def serve() -> None:
        try:
            _serve(board, answer, over)
        except Exception as error:  # else all workers would wait for ever
            on_error(error)

    thread = threading.Thread(target=serve, name="answering cohorts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        with suppress(RayError):
            ray.get(board.close.remote(), timeout=JUDGE_S)
        thread.join(JUDGE_S)


def _serve(board: Any, answer: AnswerRequest, over: threading.Event) -> None:
    """Answer one request after another until the board is closed."""
    answered, reply = 0, ""
    while not over.is_set():
        try:
            request: Request | None = ray.get(board.next_request.remote(answered, reply))
        except RayError:  # it restarts, or Ray has ended
            answered = 0
            time.sleep(AGAIN_S)
            continue
        if request is None:
            return
        answered, reply = request.number, answer(request)
