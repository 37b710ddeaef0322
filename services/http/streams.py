"""Server-sent events: a sweep's events and its driver's log; a client can continue where it stopped."""

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

POLL_S = 0.5  # seconds between two polls
CHANGES = {"state", "reason", "position", "progress", "trials", "best", "attempt"}
LOG_PIECE = 2**18  # bytes of a log in one poll


def event(kind: str, data: object, number: str) -> str:
    """Return an event in the wire format."""
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


async def follow(
    look: Callable[[], tuple[list[str], bool]],
    quiet_s: float,
    ended: Callable[[], bool] = lambda: False,
    poll_s: float = POLL_S,
) -> AsyncIterator[str]:
    """Yield the events of each poll until one says that it was the last. Polls run in a thread.

    quiet_s: without an event for so long, a comment keeps proxies from closing the connection.
    ended: called before each poll; True if the reader is no longer authorised, which ends the stream.
    """
    quiet = 0.0
    while not await anyio.to_thread.run_sync(ended):
        events, last = await anyio.to_thread.run_sync(look)
        for text in events:
            yield text
        if last:
            return
        quiet = 0.0 if events else quiet + poll_s
        if quiet >= quiet_s:
            quiet = 0.0
            yield ": still here\n\n"
        await anyio.sleep(poll_s)


class SweepEvents:
    """The events of a sweep: the n-th trial that ended is event n, so events can be replayed by number.

    Other changes (the state, running trials) are sent in between, under the last number.
    """

    def __init__(self, sweeps: Sweeps, sweep: str, owner: str, view: Callable[[], Sweep], after: int):
        self.sweeps, self.sweep, self.owner, self.view, self.sent = sweeps, sweep, owner, view, after
        self.last_sent: Mapping[str, object] = {}

    def look(self) -> tuple[list[str], bool]:
        """Return new events, and whether the sweep has ended."""
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
    """A driver's log: an event's number is how many bytes have been read."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        over: Callable[[], bool],
        after: int,
        piece: int = LOG_PIECE,
        left_out: int = 0,
    ):
        """piece: bytes in one look. left_out: bytes at the beginning that are not sent, which the first event says."""
        self.read, self.over, self.sent, self.piece, self.left_out = read, over, after, piece, left_out

    def look(self) -> tuple[list[str], bool]:
        """Return new events, and whether they were the last."""
        over = self.over()  # asked before reading: later text is read by the next poll
        piece = self.read(self.sent, self.piece)
        last = over and len(piece) < self.piece
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(piece, final=last)
        self.sent += len(piece) - len(decoder.getstate()[0])  # an incomplete UTF-8 character is left for the next poll
        first, self.left_out = self.left_out, 0
        events = [event("skipped", {"bytes": first}, str(first))] if first else []
        events += [event("log", text, str(self.sent))] if text else []
        return [*events, event("end", {}, str(self.sent))] if last else events, last


class Slots:
    """Limits how many streams and logs each owner reads at once, in this process."""

    def __init__(self, most: int):
        self.most = most
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Hold a slot during the block. Raises Problem 429 if the owner has none left."""
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
    """A stream that holds one of its owner's slots from its first byte to its last, even if the client disconnects.

    It ends when the reader's token does; a reconnection is then answered with 401.
    """

    def __init__(
        self,
        look: Callable[[], tuple[list[str], bool]],
        slots: Slots,
        owner: str,
        ended: Callable[[], bool],
        quiet_s: float,
    ):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(follow(look, quiet_s, ended), media_type="text/event-stream", headers=headers)
        self.slots, self.owner = slots, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self.slots.taken(self.owner):
                await super().__call__(scope, receive, send)
        except Problem as problem:
            await answer(problem)(scope, receive, send)
