"""Server-sent events: what happens to a sweep, and what its driver writes; both go on where a client left off."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import anyio

from services.views import Sweeps, trial_view

POLL_S = 0.5  # between two looks
TOLD = {"state", "reason", "position", "progress", "trials", "best", "attempt"}
QUIET_S = 15.0  # after so long without an event a comment keeps proxies from closing the line


def event(kind: str, data: Any, number: str) -> str:
    """Return one event as it goes over the line."""
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


async def follow(look: Callable[[], tuple[list[str], bool]], poll_s: float = POLL_S) -> AsyncIterator[str]:
    """Yield the events of each look until one says that it was the last. Looks are taken in a thread."""
    quiet = 0.0
    while True:
        found, last = await anyio.to_thread.run_sync(look)
        for text in found:
            yield text
        if last:
            return
        quiet = 0.0 if found else quiet + poll_s
        if quiet >= QUIET_S:
            quiet = 0.0
            yield ": still here\n\n"
        await anyio.sleep(poll_s)


class SweepEvents:
    """Events of a sweep, by number: the n-th trial that ended is event n, so a list that only grows is the record.

    What changes without being counted (the state, trials that run) is told between them, under the last number.
    """

    def __init__(self, sweeps: Sweeps, sweep: str, owner: str, view: Callable[[], Any], after: int):
        self.sweeps, self.sweep, self.owner, self.view, self.sent = sweeps, sweep, owner, view, after
        self.told: dict[str, Any] = {}

    def look(self) -> tuple[list[str], bool]:
        """Return what is new, and whether the sweep is over."""
        view = self.view()
        return [*self._trials(), *self._state(view)], view.state.over

    def _trials(self) -> Iterator[str]:
        for trial in self.sweeps.ended(self.sweep, self.owner)[self.sent :]:
            self.sent += 1
            yield event("trial", trial_view(trial).model_dump(), str(self.sent))

    def _state(self, view: Any) -> Iterable[str]:
        now = view.model_dump(mode="json", include=TOLD)
        if now == self.told:
            return []
        self.told = now
        return [event("end" if view.state.over else "sweep", now, str(self.sent))]


class LogEvents:
    """A driver's log, by characters: an event's number is how much of it has been read."""

    def __init__(self, read: Callable[[], str], over: Callable[[], bool], after: int):
        self.read, self.over, self.sent = read, over, after

    def look(self) -> tuple[list[str], bool]:
        """Return what is new, and whether it was the last."""
        over = self.over()  # before reading: what is written after this look is read by the next
        text = self.read()[self.sent :]
        found = []
        if text:
            self.sent += len(text)
            found = [event("log", text, str(self.sent))]
        return [*found, event("end", {}, str(self.sent))] if over else found, over
