"""What the trials of a sweep need of memory together, and whether there is so much."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from espalier.core.errors import gib
from espalier.core.training.memory import Memory
from espalier.sweeps.spec.parts import Resources


@dataclass(frozen=True)
class MemoryNeed:
    """What a trial took, how many train at once, and the memory of the machine in bytes, 0 where nobody knows it."""

    trial: Memory
    at_once: int
    machine: int
    resources: Resources

    @property
    def sentence(self) -> str:
        """What they take together.

        >>> MemoryNeed(Memory(3 << 30), 4, 64 << 30, Resources()).sentence
        'a trial takes 3.0 GiB; 4 at once: 12 of the 64 GiB here'
        >>> MemoryNeed(Memory(300 << 20), 1, 64 << 30, Resources()).sentence
        'a trial takes 300 MiB; 1 at once: 300 MiB of the 64 GiB here'
        """
        together, machine = gib(self.trial.main * self.at_once), gib(self.machine)
        here = f"{together.removesuffix(machine[-4:])} of the {machine} here" if self.machine else together
        return f"a trial takes {self.trial.text}" + (f"; {self.at_once:,} at once: {here}" if self.trial.main else "")

    def shortages(self) -> Iterator[str]:
        """Yield what there is too little of, and what to write.

        >>> need = MemoryNeed(Memory(20 << 30, 30 << 30, 80 << 30), 8, 64 << 30, Resources(gpus=0.25))
        >>> for text in need.shortages():
        ...     print(text)
        a trial takes 20 GiB, and 8 train at once: 160 GiB, of 64 GiB here; write resources.cohorts: 3
        a trial takes 30 GiB of a GPU of 80 GiB, of which resources.gpus, 0.25, is 20 GiB; write gpus: 0.5
        """
        main, gpu, at_once = self.trial.main, self.trial.gpu, self.at_once
        if self.machine and main * at_once > self.machine:
            many = f", and {at_once:,} train at once: {gib(main * at_once)}" if at_once > 1 else ""
            less = f"; write resources.cohorts: {max(1, self.machine // main)}" if at_once > 1 else ""
            yield f"a trial takes {gib(main)}{many}, of {gib(self.machine)} here{less}"
        share, total = self.resources.gpus, self.trial.gpu_total
        if share != "auto" and 0 < share < 1 and gpu > share * total:
            room = f"of which resources.gpus, {share:g}, is {gib(share * total)}"
            yield f"a trial takes {gib(gpu)} of a GPU of {gib(total)}, {room}; write gpus: {_part_for(gpu / total):g}"


def _part_for(share: float) -> float:
    """Return the least part of a GPU, one of 1, 1/2, 1/3, ..., that holds a share of its memory, rounded down.

    >>> [_part_for(share) for share in (0.375, 0.3, 0.2, 0.9)]
    [0.5, 0.333, 0.2, 1.0]
    """
    return math.floor(1000 / max(1, math.floor(1 / share))) / 1000
