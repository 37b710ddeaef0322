"""Server-sent events: what happens to a sweep, and what its driver writes; both go on where a client left off."""

import codecs
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from espalier.services.http.problems import Problem, answer
from espalier.services.reading.answers import Sweep, trial_view
from espalier.services.reading.trials import Sweeps

POLL_S = 0.5  # between two looks
CHANGES = {"state", "reason", "position", "progress", "trials", "best", "attempt"}
LOG_PIECE = 2**18  # bytes of a log in one look
QUIET_S = 15.0  # after so long without an event a comment keeps proxies from closing the line


def event(kind: str, data: object, number: str) -> str:
    """Return one event as it goes over the line."""
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


async def follow(
    look: Callable[[], tuple[list[str], bool]], ended: Callable[[], bool] = lambda: False, poll_s: float = POLL_S
) -> AsyncIterator[str]:
    """Yield the events of each look until one says that it was the last. Looks are taken in a thread.

    ended: asked before each look whether the reader may read no more; then nothing more comes.
    """
    quiet = 0.0
    while not await anyio.to_thread.run_sync(ended):
        events, last = await anyio.to_thread.run_sync(look)
        for text in events:
            yield text
        if last:
            return
        quiet = 0.0 if events else quiet + poll_s
        if quiet >= QUIET_S:
            quiet = 0.0
            yield ": still here\n\n"
        await anyio.sleep(poll_s)


class SweepEvents:
    """Events of a sweep, by number: the n-th trial that ended is event n, so a list that only grows is the record.

    What changes without being counted (the state, trials that run) is sent between them, under the last number.
    """

    def __init__(self, sweeps: Sweeps, sweep: str, owner: str, view: Callable[[], Sweep], after: int):
        self.sweeps, self.sweep, self.owner, self.view, self.sent = sweeps, sweep, owner, view, after
        self.last_sent: Mapping[str, object] = {}

    def look(self) -> tuple[list[str], bool]:
        """Return what is new, and whether the sweep is over."""
        view = self.view()
        return [*self._trials(), *self._state(view)], view.state.over

    def _trials(self) -> Iterator[str]:
        for trial in self.sweeps.ended(self.sweep, self.owner)[self.sent :]:
            self.sent += 1
            yield event("trial", trial_view(trial).model_dump(), str(self.sent))

    def _state(self, view: Sweep) -> Iterable[str]:
        now = view.model_dump(mode="json", include=CHANGES)
        if now == self.last_sent:
            return []
        self.last_sent = now
        return [event("end" if view.state.over else "sweep", now, str(self.sent))]


class LogEvents:
    """A driver's log, by bytes: an event's number is how much of it has been read."""

    def __init__(self, read: Callable[[int, int], bytes], over: Callable[[], bool], after: int, piece: int = LOG_PIECE):
        """piece: bytes in one look."""
        self.read, self.over, self.sent, self.piece = read, over, after, piece

    def look(self) -> tuple[list[str], bool]:
        """Return what is new, and whether it was the last."""
        over = self.over()  # before reading: what is written after this look is read by the next
        piece = self.read(self.sent, self.piece)
        last = over and len(piece) < self.piece
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(piece, final=last)
        self.sent += len(piece) - len(decoder.getstate()[0])  # a character that is half written comes with the next
        events = [event("log", text, str(self.sent))] if text else []
        return [*events, event("end", {}, str(self.sent))] if last else events, last


class Slots:
    """How many streams and logs each owner reads at once, in this process."""

    def __init__(self, most: int):
        self.most = most
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Hold one while the block runs. Raises Problem 429 if the owner has all of theirs."""
        with self._lock:
            if self._taken[owner] >= self.most:
                raise Problem(
                    429, f"{owner} reads {self.most} streams and logs already; end one", headers={"Retry-After": "5"}
                )
            self._taken[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[owner] -= 1
                if not self._taken[owner]:
                    del self._taken[owner]


class Stream(StreamingResponse):
    """A stream that holds one of its owner's slots from its first byte to its last, whoever hangs up.

    It breaks off when the reader's token ends; whoever takes it up again is answered with 401.
    """

    def __init__(self, look: Callable[[], tuple[list[str], bool]], slots: Slots, owner: str, ended: Callable[[], bool]):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(follow(look, ended), media_type="text/event-stream", headers=headers)
        self.slots, self.owner = slots, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self.slots.taken(self.owner):
                await super().__call__(scope, receive, send)
        except Problem as problem:
            await answer(problem)(scope, receive, send)
