"""The memory that a trial has taken. It does not import torch."""

from dataclasses import dataclass

from espalier.core.errors import gib


@dataclass(frozen=True)
class Memory:
    """The most memory that a process has taken, with all that it started, in bytes; 0 where nobody knows.

    gpu, gpu_total: of its GPU, and all that this has.
    """

    main: int = 0
    gpu: int = 0
    gpu_total: int = 0

    def most(self, other: "Memory") -> "Memory":
        """Return the most of both.

        >>> Memory(3, 10, 80).most(Memory(5))
        Memory(main=5, gpu=10, gpu_total=80)
        """
        gpu, total = max((self.gpu, self.gpu_total), (other.gpu, other.gpu_total))
        return Memory(max(self.main, other.main), gpu, total)

    def __bool__(self) -> bool:
        return bool(self.main or self.gpu)

    @property
    def text(self) -> str:
        """It for people.

        >>> Memory(350 << 20).text, Memory(3 << 30, 20 << 30, 80 << 30).text
        ('350 MiB', '3.0 GiB, and 20 of the 80 GiB of its GPU')
        """
        gpu = f"{gib(self.gpu).removesuffix(' GiB')} of the {gib(self.gpu_total)} of its GPU" if self.gpu else ""
        return ", and ".join(filter(None, [gib(self.main) if self.main else "", gpu]))


UNKNOWN = Memory()
