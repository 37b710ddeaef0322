"""The smaller tasks: deep names, the line with a state of its own, images in IDX files."""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from espalier.core import checkpoint
from espalier.core.errors import BadInput
from espalier.core.optimizers import SGD
from espalier.core.rows import seeded
from espalier.core.task import Task
from espalier.core.tasks.deep_names import DeepNames
from espalier.core.tasks.fashion import DEBIAN, Fashion, find_idx, read_idx
from espalier.core.tasks.line import INTERCEPT, SLOPE, Line
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Event
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial


def trained(task: Task, lr: float, steps: int, batch_size: int, program: str = "vmap") -> tuple[Cohort, Event]:
    structure = Structure(SGD(momentum=False), "constant", batch_size)
    cohort = Cohort(
        CohortSetup(task, task.data(), structure, [Trial("t", 0, steps, Hyperparameters(lr), 4)], 1, program)
    )
    *_, end = cohort.train()
    return cohort, end


# --- deep names -------------------------------------------------------------------------------------------------------


def test_the_deep_network_has_the_lectures_parameters(names_txt: str) -> None:
    """47,024 with 27 letters, context 3, embedding 10, 100 hidden units, six layers (makemore, part 3)."""
    model = DeepNames(names_txt).model()
    assert sum(p.numel() for p in model.parameters()) == 47_024
    assert sum(isinstance(m, nn.Tanh) for m in model.modules()) == 5
    assert sum(isinstance(m, nn.BatchNorm1d) for m in model.modules()) == 6


@pytest.mark.parametrize("batchnorm", [True, False])
def test_the_deep_network_starts_near_the_loss_of_no_knowledge_and_learns(words_file: Path, batchnorm: bool) -> None:
    task = DeepNames(str(words_file), hidden=20, batchnorm=batchnorm)
    with seeded(0):
        model = task.model()
    first = task.loss(model, tuple(t[:64] for t in task.data().train)).item()
    assert first == pytest.approx(math.log(len(task.letters)), abs=0.25)
    _, end = trained(task, 0.1, 60, 16)
    assert end.status == "complete" and end.values["train_loss"] < first


def test_a_network_of_fewer_than_two_layers_is_refused(words_file: Path) -> None:
    with pytest.raises(BadInput, match=r"task_options\.layers: 1 is no whole number above 1"):
        DeepNames(str(words_file), layers=1)


# --- the line ---------------------------------------------------------------------------------------------------------


def test_the_line_is_found_as_by_least_squares() -> None:
    """On the whole of the training points at once, where the batch's mean is the mean."""
    task = Line()
    x, y = (t.double().numpy() for t in task.data().train)
    slope, intercept = np.polyfit(x, y, 1)
    cohort, end = trained(task, 0.5, 2000, len(x), "plain")
    row = cohort.pool.rows.row(0)
    assert row["theta.w"].item() == pytest.approx(slope, abs=1e-3) == pytest.approx(SLOPE, abs=0.1)
    assert row["theta.b"].item() - slope * x.mean() == pytest.approx(intercept, abs=1e-3)
    assert intercept == pytest.approx(INTERCEPT, abs=0.1)
    assert end.values["valid_loss"] == pytest.approx(0.01, abs=0.005)


def test_the_lines_state_in_training_and_evaluation_survives_a_checkpoint(tmp_path: Path) -> None:
    """In training the centre is the batch's, in evaluation the running one, which a checkpoint must hold."""
    task = Line()
    structure = Structure(SGD(), "constant", 16)

    def make() -> Cohort:
        return Cohort(CohortSetup(task, task.data(), structure, [Trial("t", 0, 40, Hyperparameters(0.1), 4)], 1))

    whole = list(make().train())
    first = make()
    events = [event for _ in range(2) for event in first.turn()]
    checkpoint.save(tmp_path / "c.pt", first.state())
    second = make()
    second.load_state(checkpoint.load(tmp_path / "c.pt"))
    row = second.pool.rows.row(0)
    assert row["buffer.batches"].item() == 20 and row["buffer.centre"].item() != 0
    assert events + list(second.train()) == whole


def test_the_line_evaluates_by_its_running_centre() -> None:
    model = Line().model()
    x = torch.tensor([1.0, 3.0])
    with torch.no_grad():
        model.get_parameter("w").fill_(1.0)
    assert model.train()(x).tolist() == [-1.0, 1.0]
    assert model.get_buffer("centre").item() == pytest.approx(0.2)
    assert model.eval()(x).tolist() == pytest.approx([0.8, 2.8])
    assert model.get_buffer("batches").item() == 1


@pytest.mark.parametrize("options", [{"points": 3}, {"noise": -1.0}])
def test_a_line_of_too_few_points_or_negative_noise_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"task_options.{next(iter(options))}"):
        Line(**options)


# --- images -----------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """Return an array in LeCun's format."""
    kinds = {"uint8": 8, "int32": 12, "float32": 13, "float64": 14}
    head = bytes([0, 0, kinds[array.dtype.name], array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of forty images of 6 x 5 pixels in three classes that can be told apart."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 40).astype(np.uint8)
    pixels = (draw.integers(0, 50, (40, 6, 5)) + 90 * labels[:, None, None]).astype(np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    kind=st.sampled_from(("uint8", "int32", "float32", "float64")),
)
def test_an_idx_file_is_read_back(tmp_path_factory: pytest.TempPathFactory, shape: list[int], kind: str) -> None:
    path = tmp_path_factory.mktemp("idx") / "a"
    array = np.arange(math.prod(shape)).reshape(shape).astype(kind)
    path.write_bytes(idx(array))
    assert torch.equal(read_idx(path), torch.from_numpy(array))


def test_images_train_and_validate(images: Path) -> None:
    task = Fashion(str(images), hidden=7, validation=10)
    data = task.data()
    assert data.train[0].shape == (30, 6, 5) and data.train[0].dtype == torch.uint8
    _, end = trained(task, 0.3, 60, 10)
    assert end.values["valid_accuracy"] == 1.0


@pytest.mark.parametrize("options", [{"batchnorm": True}, {"dropout": 0.5, "layers": 2}])
def test_images_train_with_batch_normalisation_and_dropout(images: Path, options: dict[str, Any]) -> None:
    task = Fashion(str(images), hidden=16, validation=10, **options)
    _, end = trained(task, 0.1, 40, 10, "plain")
    assert end.status == "complete" and end.values["valid_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "train-labels-idx1-ubyte").unlink(), "has no train-labels-idx1-ubyte.gz; install Debian's"),
        (lambda f: (f / "train-labels-idx1-ubyte").write_bytes(b"PNG!"), "is no IDX file"),
        (lambda f: (f / "train-labels-idx1-ubyte").write_bytes(b""), "is no IDX file: it begins with nothing"),
        (lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(40, "uint8"))[:-3]), "is cut off"),
        (lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(39, "uint8"))), "do not belong together"),
        (lambda f: (f / "train-images-idx3-ubyte.gz").write_bytes(b"nonsense"), "cannot read"),
    ],
)
def test_files_that_hold_no_images_are_refused(images: Path, spoil: Any, words: str) -> None:
    spoil(images)
    with pytest.raises(BadInput, match=words):
        Fashion(str(images), validation=10).data()


def test_a_missing_folder_says_how_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no folder .*; install Debian's package dataset-fashion-mnist"):
        Fashion(str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=r"task_options.validation: 40 of 40 images"):
        folder = tmp_path / "few"
        folder.mkdir()
        (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((40, 2, 2), "uint8")))
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(40).astype("uint8")))
        Fashion(str(folder), validation=40).data()


@pytest.mark.skipif(not Path(DEBIAN).is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist_is_sixty_thousand_images_of_ten_classes() -> None:
    x, y = read_idx(find_idx(Path(DEBIAN), "train-images-idx3-ubyte")), Fashion().data()
    assert x.shape == (60_000, 28, 28)
    assert len(y.train[0]) == 50_000 and len(y.valid[0]) == 10_000
    assert torch.bincount(torch.cat([y.train[1], y.valid[1]])).tolist() == [6000] * 10
    assert x.double().mean().item() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert x.double().std().item() / 255 == pytest.approx(0.3530, abs=1e-4)
