"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747), or any images in MNIST's IDX files, by a perceptron.

B = examples, R = rows, C = columns.
"""

import gzip
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.errors import BadInput
from espalier.core.task import Batch, Data, Task

DEBIAN = "/usr/share/datasets/fashion-mnist"
HOW = f"install Debian's package dataset-fashion-mnist (into {DEBIAN}), or give task_options.folder"
TYPES = {8: np.uint8, 9: np.int8, 11: np.int16, 12: np.int32, 13: np.float32, 14: np.float64}


def read_idx(path: Path) -> Tensor:
    """Return the array of an IDX file, gzipped or not (LeCun's format: type, number of axes, sizes, numbers).

    Raises BadInput for a file that cannot be read, is no IDX file, or is cut off.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise BadInput(f"task_options.folder: cannot read {path}: {error}; {HOW}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise BadInput(f"task_options.folder: {path} is no IDX file: it begins with {content[:4].hex() or 'nothing'}")
    axes = content[3]
    start = 4 + 4 * axes
    sizes = [int(size) for size in np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">i4")]
    numbers = np.dtype(TYPES[content[2]]).newbyteorder(">")
    if len(content) != start + math.prod(sizes) * numbers.itemsize:
        raise BadInput(f"task_options.folder: {path} is cut off: sizes {sizes}, {len(content):,} bytes")
    array = np.frombuffer(content, numbers, offset=start).reshape(sizes)
    return torch.from_numpy(array.astype(TYPES[content[2]]))


def find_idx(folder: Path, name: str) -> Path:
    """Return the path of an IDX file in a folder, gzipped or not. Raises BadInput that says how to get it."""
    if not folder.is_dir():
        raise BadInput(f"task_options.folder: there is no folder {folder}; {HOW}")
    for spelt in (f"{name}.gz", name, f"{name.replace('-idx', '.idx')}.gz", name.replace("-idx", ".idx")):
        if (folder / spelt).is_file():
            return folder / spelt
    raise BadInput(f"task_options.folder: {folder} has no {name}.gz; {HOW}")


class Fashion(Task):
    """A perceptron with ReLU over all pixels.

    folder: contains train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped or not (default: Debian's).
    validation: how many images validate, the last of the training files; the test files are not used.
    dropout: after each hidden layer; a model with dropout trains one lane at a time.
    """

    def __init__(
        self,
        folder: str | None = None,
        hidden: int = 128,
        layers: int = 1,
        batchnorm: bool = False,
        dropout: float = 0.0,
        validation: int = 10_000,
    ):
        if min(hidden, layers) < 1:
            raise BadInput(f"task_options: hidden and layers are at least 1; {hidden} and {layers} arrived")
        if not 0 <= dropout < 1:
            raise BadInput(f"task_options.dropout: {dropout!r} is no share below 1")
        self.folder, self.hidden, self.layers, self.batchnorm = folder, hidden, layers, batchnorm
        self.dropout, self.validation = dropout, validation
        place = Path(folder or DEBIAN).expanduser()
        self.images = find_idx(place, "train-images-idx3-ubyte")
        self.labels = find_idx(place, "train-labels-idx1-ubyte")

    def model(self) -> nn.Module:
        x_NRC, y_N = self._read()
        parts: list[nn.Module] = [nn.Flatten()]
        width = x_NRC[0].numel()
        for _ in range(self.layers):
            parts += [nn.Linear(width, self.hidden), *([nn.BatchNorm1d(self.hidden)] if self.batchnorm else [])]
            parts += [nn.ReLU(), *([nn.Dropout(self.dropout)] if self.dropout else [])]
            width = self.hidden
        return nn.Sequential(*parts, nn.Linear(width, int(y_N.max()) + 1))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(pixels(model, batch[0])), batch[1])

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits_BK = model(pixels(model, batch[0]))
        right_B = (logits_BK.argmax(-1) == batch[1]).float()
        return {"loss": F.cross_entropy(logits_BK, batch[1]), "accuracy": right_B.mean()}

    def _read(self) -> tuple[Tensor, Tensor]:
        if not hasattr(self, "_split"):
            x_NRC, y_N = read_idx(self.images), read_idx(self.labels)
            if x_NRC.dim() != 3 or y_N.dim() != 1 or len(x_NRC) != len(y_N):
                shapes = f"{tuple(x_NRC.shape)} and {tuple(y_N.shape)}"
                raise BadInput(f"task_options.folder: images and labels of shapes {shapes} do not belong together")
            if not 0 < self.validation < len(x_NRC):
                raise BadInput(
                    f"task_options.validation: {self.validation} of {len(x_NRC):,} images; fewer, at least 1"
                )
            self._split = x_NRC, y_N.long()
        return self._split

    def data(self) -> Data:
        """Return images (B, R, C) as bytes, and their classes."""
        x_NRC, y_N = self._read()
        n = len(x_NRC) - self.validation
        return Data((x_NRC[:n], y_N[:n]), (x_NRC[n:], y_N[n:]))


MEAN, STD = 0.2860, 0.3530  # of Fashion-MNIST's training pixels, between 0 and 1


def pixels(model: nn.Module, x_BRC: Tensor) -> Tensor:
    """Return pixels in the model's dtype, with mean 0 and standard deviation 1 over the training images."""
    dtype = next(model.parameters()).dtype
    return (x_BRC.to(dtype) / 255 - MEAN) / STD
