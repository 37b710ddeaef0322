"""What all tests share: one thread, small tasks with odd sizes, and the published data where it is at hand."""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from espalier.core.loading.folders import restoring_folder
from espalier.core.task import Task
from espalier.core.tasks.names import Names
from espalier.core.tasks.thermometer import Thermometer
from tests import tiers

torch.set_num_threads(1)
for name in ("SWEEP_STORAGE_URL", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
    os.environ.pop(name, None)  # a person's own servers are not for tests


def pytest_addoption(parser: pytest.Parser) -> None:
    tiers.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    tiers.load_profile(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tiers.arrange(config, items)


def generated_words(number: int, letters: str, seed: int) -> list[str]:
    """Return words of one to nine letters, the same at every call."""
    draw = random.Random(seed)
    return ["".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(number)]


@pytest.fixture(autouse=True)
def _own_folder() -> Iterator[None]:
    """Whatever a test does as a worker, the next one looks for modules in the current folder."""
    with restoring_folder():
        yield


@pytest.fixture(scope="session")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 83 words of 12 letters: 13 symbols, so that no size below is a power of two."""
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join(generated_words(83, "abcdefghijkl", 7)))
    return path


@pytest.fixture(scope="session")
def small_tasks(words_file: Path) -> Mapping[str, Task]:
    """One task of each kind, small enough to train thousands of steps in a second or two."""
    sizes = {"path": str(words_file), "context": 3, "embedding": 5, "hidden": 11, "validation": 37}
    return {
        "names": Names(**sizes),
        "names with BatchNorm": Names(**sizes, batchnorm=True),
        "thermometer": Thermometer(),
    }


@pytest.fixture(scope="session")
def names_txt() -> str:
    """The path of makemore's names.txt, from the environment variable NAMES_TXT."""
    path = os.environ.get("NAMES_TXT")
    if not path:
        pytest.skip("needs makemore's names.txt: set NAMES_TXT to its path")
    return path


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that writes a Python file of a task and returns its path."""

    def write(source: str) -> str:
        path = tmp_path / "my_task.py"
        path.write_text(source)
        return str(path)

    return write
