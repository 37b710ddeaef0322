"""The lanes of a cohort: those that train, one row of the stacked state each, and those that wait with a copy of one.

The continuous batching of inference servers, for training: a row that falls free takes the next lane.
"""

from espalier.core.rows import Lanes, Row
from espalier.core.training.lane import Lane


class LanePool:
    """Lanes that train (`active`, lane k in row k) and lanes that are `parked`.

    most: how many lanes may train at once. room: how many may at present.
    """

    def __init__(self, rows: Lanes, most: int):
        self.rows = rows
        self.most = self.room = most
        self.active: list[Lane] = []
        self.parked: list[tuple[Lane, Row]] = []

    @property
    def lanes(self) -> list[Lane]:
        """All lanes, the active ones first."""
        return [*self.active, *(lane for lane, _ in self.parked)]

    @property
    def has_room(self) -> bool:
        """Whether another lane may train."""
        return self.rows.used < self.room

    def admit(self, lane: Lane, row: Row) -> None:
        """Let a lane train in a free row."""
        self.rows.fill(row)
        self.active.append(lane)

    def park(self, lane: Lane, k: int) -> None:
        """Let a lane wait with a copy of row k."""
        self.parked.append((lane, self.rows.row(k)))

    def take_parked(self) -> tuple[Lane, Row] | None:
        """Take out the first parked lane that awaits no score."""
        ready = next((k for k, (lane, _) in enumerate(self.parked) if not lane.awaited), None)
        return None if ready is None else self.parked.pop(ready)

    def free(self, k: int) -> None:
        """Give row k back; the last lane moves there."""
        last = self.rows.free(k)
        self.active[k] = self.active[last]
        self.active.pop()

    def free_idle(self) -> None:
        """Give back the rows of lanes that await a score or have no runs left."""
        for k in reversed([k for k, lane in enumerate(self.active) if lane.awaited or not lane.runs]):
            self.free(k)
        self.parked = [(lane, row) for lane, row in self.parked if lane.runs]

    def row_of(self, lane: Lane) -> Row | None:
        """Return the state of a lane, None if it has none."""
        for k, other in enumerate(self.active):
            if other is lane:
                return self.rows.row(k)
        return next((row for other, row in self.parked if other is lane), None)

    def release(self, trial: str) -> None:
        """Let parked lanes go on that awaited the score of a trial."""
        for lane, _ in self.parked:
            if trial in lane.awaited:
                lane.awaited.remove(trial)
