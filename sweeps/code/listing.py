"""Which files of a folder are its code: what git tracks and does not ignore; without git, what looks like code.

Left out are caches, secrets, large files, links, and what is no file. Each of them has a reason.
"""

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from espalier.sweeps.code.archive import wrong_name
from espalier.sweeps.home import JOURNAL, SWEEPS

HOME_FILES = (JOURNAL, "service.db", "mlflow.db")  # these folders contain results, and perhaps a service's tokens
HOME_FOLDERS = ("tasks", "mlartifacts", SWEEPS)  # one of them is beside an mlflow.db that is a home's
FILE_MIB, DATA_MIB = 8.0, 1.0  # the largest file that is recorded, and the largest of data or weights
LARGE = "MiB, more than"  # in why a file is left out that is too large
MOST_VISITED = 20_000  # entries of a folder without git; one with more is no project
GIT_S = 20.0  # seconds that git may take: a folder on a network may be large
CACHES = {
    "__pycache__",
    "node_modules",
    "site-packages",
    "mlruns",
    "mlartifacts",
    "wandb",
    "lightning_logs",
    "ray_results",
}
DATA = {".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".npy", ".npz", ".pkl", ".pickle", ".joblib", ".parquet"}
DATA |= {".arrow", ".h5", ".hdf5", ".tfrecord", ".bin", ".zip", ".gz", ".tar", ".xz", ".zst", ".mp4", ".wav"}
TEXT = {".py", ".pyi", ".pyx", ".ipynb", ".sh", ".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".txt", ".md"}
TEXT |= {".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".csv", ".tsv", ".jinja", ".j2"}
SECRET = re.compile(
    r"\.env(?!\.(example|sample|template)$)(\..*)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx)|id_(rsa|dsa|ecdsa|ed25519).*"
    r"|\.(netrc|pgpass|npmrc|pypirc|htpasswd|git-credentials)|token\.(txt|json)|kubeconfig|(credential|secret|service[-_]account)s?(?!.*\.py$)([-_.].*)?",
    re.IGNORECASE,
)


class LeftOut(NamedTuple):
    """A file or folder that is not recorded, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Listing:
    """The files of a folder that are its code, and what else is in the folders that hold them."""

    files: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def is_home(folder: Path) -> bool:
    """Whether a folder is a home, whose results are nobody's code."""
    *sure, shared = HOME_FILES  # any project may have an mlflow.db
    if any((folder / name).exists() for name in sure):
        return True
    return (folder / shared).exists() and any((folder / name).is_dir() for name in HOME_FOLDERS)


def list_code(root: Path, package: Path | None = None) -> Listing:
    """Return the code of a folder. package: the package in it that the code belongs to, all that counts without git."""
    paths = _git_files(root)
    paths = _likely_files(package or root) if paths is None else paths
    files, left_out = list[Path](), list[LeftOut]()
    for path in paths:
        if why := why_left_out(path, root):
            left_out.append(LeftOut(str(path), why))
        else:
            files.append(path)
    return Listing(tuple(sorted(files)), tuple(left_out))


def project_files(root: Path, limit_mib: float) -> list[Path]:
    """Return the code of a folder of a git repository; none without git, or if it is more than the limit."""
    files = [path for path in _git_files(root) or [] if not why_left_out(path, root)]
    return files if sum(path.stat().st_size for path in files) <= limit_mib * 2**20 else []


def is_secret(inside: PurePath) -> bool:
    """Whether a file is a secret by its name, or by that of a folder above it. inside: its path in the code's folder.

    >>> [is_secret(PurePath(name)) for name in (".env", "keys/id_rsa", "secrets.yaml", "secrets.py", ".env.example")]
    [True, True, True, False, False]
    """
    return any(map(SECRET.fullmatch, inside.parts))


def why_left_out(path: Path, root: Path) -> str:
    """Return why a file below a folder is not recorded; "" if it is."""
    inside = path.relative_to(root).parts
    if any(part in CACHES or part.endswith((".egg-info", ".pyc")) for part in inside):
        return "a cache"
    if is_secret(path.relative_to(root)):
        return "a secret by its name"
    if any(part.startswith(".") for part in inside):
        return "hidden"
    try:
        info = path.stat()
        if path.is_symlink() and not path.resolve().is_relative_to(os.path.realpath(root)):
            return "a link out of the folder"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if stat.S_ISDIR(info.st_mode):
        return "a link to a folder" if path.is_symlink() else "a repository of its own"
    if not stat.S_ISREG(info.st_mode):
        return "no file"
    if not os.access(path, os.R_OK):
        return "cannot be read"
    most = DATA_MIB if path.suffix.lower() in DATA else FILE_MIB
    if info.st_size > most * 2**20:
        return f"{info.st_size / 2**20:,.1f} {LARGE} {most:g}"
    return "a colon in its path" if ":" in str(path) else wrong_name(str(path).lstrip(os.sep)) or ""


def _git_files(root: Path) -> list[Path] | None:
    """Return what git tracks and does not ignore below a folder; None without git, or where it ignores the folder."""
    without = [f":(exclude){entry.name}" for entry in _folders(root) if is_home(Path(entry.path))]
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
        ".",
        *without,
    ]
    try:
        listing = subprocess.run(command, cwd=root, capture_output=True, timeout=GIT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    names = [os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]
    paths = [root / name.rstrip("/") for name in names]
    homes = {folder for folder in {path.parent for path in paths} if folder != root and is_home(folder)}
    paths = [path for path in paths if os.path.lexists(path) and homes.isdisjoint(path.parents)]
    return None if listing.returncode or not paths else paths


def _likely_files(folder: Path) -> list[Path]:
    """Return the files of a folder without git that look like code; none of a folder that is no project."""
    if folder in (Path.home(), Path(tempfile.gettempdir()), Path(folder.anchor)):
        return []
    files, visited = list[Path](), 0
    for place, folders, names in os.walk(folder):
        visited += len(names) + len(folders)
        if visited > MOST_VISITED:
            return []
        folders[:] = [name for name in folders if _may_hold_code(Path(place, name))]
        files += [Path(place, name) for name in names if Path(name).suffix.lower() in TEXT]
    return files


def _may_hold_code(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in CACHES
    return not hidden and not (folder / "pyvenv.cfg").exists() and not is_home(folder)


def _folders(root: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(root) as entries:
        yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
