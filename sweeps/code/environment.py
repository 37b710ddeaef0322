"""The environment that a sweep trains in: versions, GPUs, driver, CUDA, and the lock of all installed packages.

A home has each environment once: environments/HASH.json.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from espalier.core.errors import counted

FOLDER = "environments"  # in a home
NVIDIA_S = 10.0  # seconds that nvidia-smi may take


@dataclass(frozen=True)
class Environment:
    """An environment. gpus: their names. packages: each installed one's version, by its normal name."""

    python: str = ""
    platform: str = ""
    torch: str = ""
    cuda: str = ""
    driver: str = ""
    gpus: Sequence[str] = ()
    packages: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def hash(self) -> str:
        """Its name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def write(self, home: Path) -> str:
        """Write it into a home, unless it is there; return its hash. Raises OSError."""
        place = home / FOLDER / f"{self.hash}.json"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.{os.getpid()}")
            part.write_text(json.dumps(asdict(self), indent=1))
            part.replace(place)
        return self.hash


def read_environment(home: Path, digest: str) -> Environment | None:
    """Return an environment of a home; None if it is not there."""
    try:
        return Environment(**json.loads((home / FOLDER / f"{digest}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def environment() -> Environment:
    """Return the environment of this process."""
    import torch

    names, driver = _gpus()
    return Environment(
        platform.python_version(),
        platform.platform(),
        str(torch.__version__),
        torch.version.cuda or "",
        driver,
        names,
        installed_packages(),
    )


def installed_packages(search: Sequence[str] | None = None) -> dict[str, str]:
    """Return the version of each installed package, by name in alphabetical order. search: default: sys.path.

    The names of the folders with metadata say both, so that hundreds of files need not be read. What a package brings
    along for itself, inside its own folder, does not count: Ray adds such a folder to sys.path.
    """
    versions: dict[str, str] = {}
    for folder in search or sys.path:
        if "site-packages" in Path(folder).parent.parts:
            continue
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for entry in entries:
            if match := re.fullmatch(r"(.+?)-(\d[^-]*)(-.*)?\.(dist-info|egg-info)", entry):
                versions.setdefault(normal_name(match[1]), match[2])
    return dict(sorted(versions.items()))


def normal_name(package: str) -> str:
    """Return a package's normal name, as PEP 503 has it.

    >>> normal_name("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", package).lower()


def packages_of(modules: Collection[str], installed: Mapping[str, str]) -> list[str]:
    """Return the installed packages that top-level modules belong to, by their normal names."""
    own = {name: normal_name(name) for name in modules}
    packages = {package for package in own.values() if package in installed}
    if any(package not in installed for name, package in own.items() if name not in sys.stdlib_module_names):
        by_module = metadata.packages_distributions()  # reads the metadata of every package
        packages |= {normal_name(package) for name in modules for package in by_module.get(name, ())}
    return sorted(packages & installed.keys())


def _gpus() -> tuple[list[str], str]:
    """Return the names of this machine's NVIDIA GPUs, and the version of their driver, without a CUDA context."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return [], ""
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return [], ""
    rows = [line.rpartition(",") for line in answer.stdout.splitlines() if "," in line and not answer.returncode]
    return [name.strip() for name, _, _ in rows], rows[0][2].strip() if rows else ""


def differences(then: Environment, now: Environment, first: Collection[str]) -> Iterator[str]:
    """Yield a line for each difference that matters first, then the number of the others.

    first: the packages that the task's code imports.
    """
    for name in ("python", "torch", "cuda", "driver", "gpus"):
        before, after = getattr(then, name), getattr(now, name)
        if _text(before) != _text(after):
            yield f"{name}: {_text(before)} then, {_text(after)} now"
    named = {normal_name(name) for name in first}
    packages = sorted(then.packages.keys() | now.packages.keys())
    moved = [name for name in packages if then.packages.get(name) != now.packages.get(name) and name != "torch"]
    for name in filter(named.__contains__, moved):
        yield f"{name}: {_text(then.packages.get(name))} then, {_text(now.packages.get(name))} now"
    if rest := [name for name in moved if name not in named]:
        yield f"{counted(len(rest), 'other package')}: another version, or there once alone"


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(value or "none")
