"""Real servers for the tests of this folder: PostgreSQL, S3 and MLflow behind a login, started once."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.services.local_stack import LocalStack, Postgres, StateFolder, down, postgres, up
from tests.hostile.harness import Sweep

SECRET_FILES = ("secrets.json", "mlflow-login.ini", "ray.token")
"""Where secrets may stand; nobody else can read them."""


@contextmanager
def folder_for_stack(stop: Callable[[Path], None]) -> Iterator[Path]:
    """Give a folder that PostgreSQL can enter; `stop` ends what runs there. Skips, and says so, without PostgreSQL."""
    try:
        postgres.programs()
    except BadInput as missing:
        pytest.skip(str(missing))
    folder = Path(tempfile.mkdtemp(prefix="espalier-", dir="/tmp"))  # short, for the sake of Ray's sockets
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server with empty databases."""
    with folder_for_stack(lambda folder: Postgres(StateFolder.at(folder)).stop()) as folder:
        server = Postgres(StateFolder.at(folder))
        server.start()
        yield server


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The running servers; Ray is started by the tests that want it."""
    with folder_for_stack(down) as folder:
        up(folder, workers=0)
        yield LocalStack.at(folder)


@pytest.fixture
def make_real_sweep(
    stack: LocalStack, tmp_path: Path, words_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Sweep]]:
    """Return a function that makes a small sweep which the servers keep; its arguments replace fields of the spec."""
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)
    made: list[Sweep] = []

    def make(**changes: Any) -> Sweep:
        small = {"trials": 8, "budget": {"steps": 400, "batch_size": 16, "reports": 10}}
        made.append(Sweep(tmp_path / f"sweep-{len(made)}", words_file, small | changes))
        return made[-1]

    yield make
    for sweep in made:
        sweep.clean_up()


def command_lines() -> str:
    """Return the command lines of all processes that can be seen now."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def files_with_secrets(folder: Path, secrets: list[str]) -> list[Path]:
    """Return the files below a folder in which a secret stands, except those meant for secrets."""
    encoded = [secret.encode() for secret in secrets]
    paths = [Path(root) / name for root, _, names in os.walk(folder) for name in names if name not in SECRET_FILES]
    return [path for path in paths if path.is_file() and any(secret in path.read_bytes() for secret in encoded)]
