"""What the checkpoints of a sweep's trials take on the disk, and may take."""

from dataclasses import asdict, dataclass
from pathlib import Path

from espalier.core.errors import gib
from espalier.core.foreign import disk
from espalier.sweeps.spec.parts import Resources

GIB = 1 << 30
SHARE = 0.5  # of the disk that is free, where the spec does not say it


def limit_bytes(resources: Resources, trials: Path, taken: int) -> int:
    """Return what checkpoints may take in all. trials: the folder of trials' folders. taken: what they take now."""
    wanted = resources.checkpoints_gib
    return int(SHARE * (disk.free(trials) + taken)) if wanted == "auto" else int(wanted * GIB)


@dataclass(frozen=True)
class CheckpointDisk:
    """taken, limit: in bytes. folder: that of trials' folders. removed: how many there was no room for, in this run."""

    taken: int
    limit: int
    folder: str
    removed: int = 0

    @classmethod
    def of(cls, trials: Path, resources: Resources, removed: int = 0) -> "CheckpointDisk | None":
        """Measure the folder of trials' folders; None if there never was a checkpoint in it."""
        taken = disk.taken(trials)
        if not taken and not removed:
            return None
        return cls(taken, limit_bytes(resources, trials, taken), str(trials), removed)

    @property
    def sentence(self) -> str:
        """What they take, of what they may.

        >>> CheckpointDisk(3 << 30, 40 << 30, "home/sweeps/names-1/trials", removed=2).sentence
        'checkpoints take 3.0 of at most 40 GiB, in home/sweeps/names-1/trials; 2 were removed for want of room'
        """
        taken, limit = gib(self.taken), gib(self.limit)
        taken = taken.removesuffix(limit[-4:])  # of the same unit
        gone = f"; {self.removed:,} {'was' if self.removed == 1 else 'were'} removed for want of room"
        return f"checkpoints take {taken} of at most {limit}, in {self.folder}{gone if self.removed else ''}"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return asdict(self)
