"""The folder of a job, written by a cluster and read by services.job: its spec, code and options."""

import hashlib
import json
import os
from pathlib import Path

from espalier.services.clusters.cluster import Job
from espalier.sweeps.code import archive

SPEC_FILE, ARCHIVE_FILE, CHANGED_FILE, EXTENDED_FILE = "spec.json", "code.zip", "changed", "extended.json"
READ = (SPEC_FILE, EXTENDED_FILE)
"""What the job's own process reads, where it is there."""


def write_job(job: Job, folder: Path) -> None:
    """Write the files of a job."""
    if job.changed:
        write_whole(folder / CHANGED_FILE, b"")
    if job.extended:
        write_whole(folder / EXTENDED_FILE, json.dumps({"budget": dict(job.extended), "by": job.owner}).encode())
    write_whole(folder / SPEC_FILE, json.dumps(dict(job.spec)).encode())
    if job.archive is not None:
        write_whole(folder / ARCHIVE_FILE, job.archive)


def unpacked_code(folder: Path, place: Path, limit_mib: float) -> Path | None:
    """Return the folder of a job's unpacked code, below `place`, named by the archive's hash; None without an archive.

    The files are exactly those of the archive. Raises BadInput for an archive above the limit.
    """
    file = folder / ARCHIVE_FILE
    if not file.exists():
        return None
    packed = file.read_bytes()
    return archive.kept(packed, place / hashlib.sha256(packed).hexdigest(), limit_mib)


def accepts_changes(folder: Path) -> bool:
    """Whether a job continues even if data or code have changed."""
    return (folder / CHANGED_FILE).exists()


def extended(folder: Path) -> tuple[dict[str, float], str] | None:
    """Return how much a job's sweep is to train in all, and by whose wish; None for what its spec says."""
    file = folder / EXTENDED_FILE
    if not file.exists():
        return None
    fields = json.loads(file.read_text())
    return fields["budget"], fields["by"]


def write_whole(path: Path, text: bytes) -> None:
    """Write a file atomically: another process may be writing the same one."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
    os.replace(part, path)
