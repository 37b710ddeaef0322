"""A cache of files that took time to make and can be made again: ~/.cache/espalier, or $XDG_CACHE_HOME/espalier."""

import os
from contextlib import suppress
from pathlib import Path


def folder(kind: str) -> Path:
    """Return the cache folder for files of a kind; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "espalier" / kind


def keep(file: Path, content: bytes) -> None:
    """Write a file to the cache atomically. A cache that cannot be written is ignored: the file is then made again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(content)
        os.replace(part, file)
