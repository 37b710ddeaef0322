"""Reports and exports of sweeps: made by processes of their own, few at once; reports are kept until they change."""

import gzip
import hashlib
import os
import sys
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from espalier.core.errors import BadInput
from espalier.core.own import SEARCH_PATH
from espalier.services.clusters.environment import variables_of_jobs
from espalier.services.database.tables import State, Submission
from espalier.services.isolation.best_file import bytes_of
from espalier.services.isolation.confine import entrance
from espalier.services.reading.trials import Sweeps, trials_of

DRAWING, EXPORTING = "espalier.services.reading.drawing", "espalier.services.reading.exporting"
AT_ONCE = 2  # processes that draw, each for a second or two, with 370 MB
WAITING = 16  # requests that wait for one
REST_S, REST_MOST_S = 5.0, 30.0  # seconds, at least and at most, between two drawings of a sweep that goes on
SHARE = 0.1  # of the time, in between, that is spent on drawing it
TEXT_MOST, DRAW_S = 2**25, 60.0  # limits of a report: bytes and seconds
EXPORT_MOST, EXPORT_S = 2**28, 300.0  # limits of an exported sweep: bytes and seconds
KEPT_MOST = 2**26  # bytes of all reports that are kept, compressed
Hold = Callable[[], AbstractContextManager[None]]


class Busy(Exception):
    """Too many reports are being drawn; a retry will succeed."""


@dataclass(frozen=True)
class Drawn:
    """A report, or traces, compressed by gzip. tag: changes with what it shows. state: of the sweep when it was made.

    when: it was made, in seconds of the monotonic clock, and seconds: how long that took.
    """

    tag: str
    state: str
    packed: bytes
    when: float
    seconds: float

    @property
    def text(self) -> bytes:
        """The report, not compressed."""
        return gzip.decompress(self.packed)

    def serves(self, tag: str, state: str, now: float) -> bool:
        """Whether it need not be made again: nothing has changed, or so much has only just been looked at."""
        rest_s = min(max(REST_S, self.seconds / SHARE), REST_MOST_S)
        return self.tag == tag or (self.state == state and now < self.when + rest_s)


class Reports:
    """Makes reports and keeps the last ones."""

    def __init__(self, sweeps: Sweeps, at_once: int = AT_ONCE, waiting: int = WAITING):
        self.sweeps, self.most = sweeps, at_once + waiting
        self._drawing = threading.Semaphore(at_once)
        self._inside = 0
        self._kept: OrderedDict[tuple[str, str, str], Drawn] = OrderedDict()
        self._lock = threading.Lock()
        self._one_each: defaultdict[tuple[str, str, str], threading.Lock] = defaultdict(threading.Lock)

    def page(self, submission: Submission, server: str, hold: Hold = nullcontext) -> Drawn:
        """Return the report of a sweep as HTML. server: the service's address, for its commands.

        hold: is entered while it is made, or waited for. Raises Busy, and BadInput for a sweep that cannot be read.
        """
        return self._made("page", submission, f" --server {server}", hold)

    def traces(self, submission: Submission, hold: Hold = nullcontext) -> Drawn:
        """Return the traces of a sweep's trials as JSON. hold, and what is raised: as for a page."""
        return self._made("traces", submission, "", hold)

    def export(self, submission: Submission, hold: Hold = nullcontext) -> bytes:
        """Return the zip of an exported sweep. hold: as for a page. Raises Busy, and BadInput if it cannot be."""
        words = [submission.sweep]
        with hold(), self._turn(), self._drawing:
            return self._printed(
                EXPORTING, words, submission, (EXPORT_MOST, EXPORT_S, f"the zip of {submission.sweep}")
            )

    def _made(self, kind: str, submission: Submission, option: str, hold: Hold) -> Drawn:
        place = (kind, submission.sweep, option)
        tag = self._tag(submission, kind, option)
        if earlier := self._keeping(place, tag, submission.state):
            return earlier
        with hold(), self._turn(), self._one_each[place]:
            if earlier := self._keeping(place, tag, submission.state):  # another request has waited for the same
                return earlier
            with self._drawing:
                begin = time.monotonic()
                packed = gzip.compress(self._drawn(kind, submission, option).encode(), 6)
                now = time.monotonic()
            drawn = Drawn(tag, submission.state, packed, now, now - begin)
            self._keep(place, drawn)
        return drawn

    def _tag(self, submission: Submission, kind: str, option: str) -> str:
        """Return a short text that changes with the state of a sweep and of its trials."""
        settled = submission.changed if State(submission.state).over else None
        trials = trials_of(submission, self.sweeps, settled)
        seen = [(t.number, t.state, t.value, t.verdict, len(t.reports)) for t in trials]
        references = len(self.sweeps.references(submission.sweep))
        state = (kind, option, submission.state, submission.attempt, seen, references)
        return hashlib.sha256(repr(state).encode()).hexdigest()[:32]

    def _keeping(self, place: tuple[str, str, str], tag: str, state: str) -> Drawn | None:
        with self._lock:
            drawn = self._kept.get(place)
            if drawn is None or not drawn.serves(tag, state, time.monotonic()):
                return None
            self._kept.move_to_end(place)
            return drawn

    def _keep(self, place: tuple[str, str, str], drawn: Drawn) -> None:
        with self._lock:
            self._kept[place] = drawn
            self._kept.move_to_end(place)
            while sum(len(each.packed) for each in self._kept.values()) > KEPT_MOST and len(self._kept) > 1:
                self._one_each.pop(self._kept.popitem(last=False)[0], None)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold a place among those who wait. Raises Busy if there is none: each holds a thread of the service."""
        with self._lock:
            if self._inside >= self.most:
                raise Busy("many reports are being drawn; try again")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    def _drawn(self, kind: str, submission: Submission, option: str) -> str:
        """Return a report, or traces. Raises BadInput."""
        words = [kind, submission.sweep, submission.state, option]
        text = self._printed(DRAWING, words, submission, (TEXT_MOST, DRAW_S, "the report"))
        return text.decode(errors="replace")

    def _printed(
        self, module: str, words: Sequence[str], submission: Submission, limits: tuple[int, float, str]
    ) -> bytes:
        """Return what a new process prints; the owner's, if jobs run as separate users. Raises BadInput.

        limits: bytes and seconds, and what it makes.
        """
        owners = self.sweeps.tenant_home(submission.owner, submission.sweep)
        home = (owners or self.sweeps.home).path
        command = [sys.executable, *(["-s"] if owners else []), "-m", module, str(home), *words]
        env = variables_of_jobs(os.environ) | {"PYTHONPATH": str(SEARCH_PATH)}
        command = entrance(owners.path, command) if owners else command
        code, written, last = bytes_of(command, env, *limits)
        if code:
            raise BadInput(last.removeprefix("sweep: ") or f"{limits[2]} could not be made")
        return written
