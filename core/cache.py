"""What took time to make and can be made again: files below ~/.cache/espalier, or below $XDG_CACHE_HOME."""

import os
from contextlib import suppress
from pathlib import Path


def folder(kind: str) -> Path:
    """Return where files of a kind are kept, which need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "espalier" / kind


def keep(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; a place that cannot be written costs the time of making it again, no more."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(content)
        os.replace(part, file)
