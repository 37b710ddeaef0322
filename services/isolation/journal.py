"""The journal of an untrusted job: only a regular file of its owner is read, up to a size limit."""

import logging
import os
import stat
from pathlib import Path

from espalier.sweeps.search.store import SweepStore

JOURNAL_MOST = 2**28  # the most bytes of an owner's journal that are read: a thousand sweeps, which take 30 s, once

log = logging.getLogger(__name__)


class Journal:
    """A journal that is read only if it is a regular file of its owner, never a link or a pipe."""

    def __init__(self, path: Path, uid: int):
        self.path, self.uid = path, uid
        self._file: int | None = None
        self._is: tuple[int, int] | None = None
        self._store: SweepStore | None = None

    def store(self) -> SweepStore:
        """Return its sweeps; reopen it if the file was replaced. Raises KeyError if it is no valid journal."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise KeyError(str(self.path)) from error
        facts = os.fstat(file)
        if facts.st_size > JOURNAL_MOST:
            log.warning("%s: %d bytes; journals of more than %d are not read", self.path, facts.st_size, JOURNAL_MOST)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != self.uid or facts.st_size > JOURNAL_MOST:
            os.close(file)
            raise KeyError(f"{self.path} is no journal")
        if self._store and self._is == (facts.st_dev, facts.st_ino):
            os.close(file)
        else:
            if self._file is not None:
                os.close(self._file)
            self._file, self._is = file, (facts.st_dev, facts.st_ino)
            self._store = SweepStore.open_for_reading(f"/proc/self/fd/{file}")  # by handle: the path may be replaced
        return self._store
