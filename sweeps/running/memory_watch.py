"""Whether the trials of a sweep have the memory that they need together: known by the first that has ended."""

from collections.abc import Iterable

from espalier.core.foreign.capacity import machine_bytes
from espalier.core.training.events import Ended, Event, Parked
from espalier.core.training.memory import Memory
from espalier.sweeps.results.memory_need import MemoryNeed
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.spec.parts import Resources


class MemoryWatch:
    """Warns once where trials that train at once take more than there is."""

    def __init__(self, resources: Resources, at_once: int, here: bool, progress: Progress):
        """at_once: how many train at once. here: whether they do on this machine, whose memory is known then."""
        self.resources, self.at_once, self.progress = resources, at_once, progress
        self.machine = machine_bytes() if here else 0
        self.warned = False

    def take(self, events: Iterable[Event]) -> None:
        """Take what workers have reported."""
        for event in events:
            end = event.so_far if isinstance(event, Parked) else event
            if self.warned or not isinstance(end, Ended) or not end.memory:
                continue
            need = MemoryNeed(Memory(**end.memory), self.at_once, self.machine, self.resources)
            for shortage in need.shortages():
                self.warned = True
                self.progress.note(f"memory: {shortage}")
