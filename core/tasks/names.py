"""Names, character by character: the multilayer perceptron of makemore (Bengio et al. 2003; Karpathy's lectures).

B = examples, L = letters of context, E = embedding, H = hidden units, V = vocabulary ('.' and the letters of the data).
"""

import random
import unicodedata
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.errors import BadInput
from espalier.core.order import Order
from espalier.core.rows import seeded
from espalier.core.task import Batch, Data, Task

TANH_GAIN = 5 / 3  # keeps the spread of a tanh layer's input (He et al. 2015; torch.nn.init.calculate_gain("tanh"))


class LectureNorm(nn.Module):
    """Batch normalisation as the lecture writes it: std with Bessel's correction, no epsilon, a running std."""

    mean: Tensor
    std: Tensor

    def __init__(self, hidden: int, momentum: float = 0.001):
        super().__init__()
        self.momentum = momentum
        self.gain = nn.Parameter(torch.ones(1, hidden))
        self.bias = nn.Parameter(torch.zeros(1, hidden))
        self.register_buffer("mean", torch.zeros(1, hidden))
        self.register_buffer("std", torch.ones(1, hidden))

    def forward(self, x_BH: Tensor) -> Tensor:
        if not self.training:
            return self.gain * (x_BH - self.mean) / self.std + self.bias
        mean, std = x_BH.mean(0, keepdim=True), x_BH.std(0, keepdim=True)
        with torch.no_grad():
            self.mean.copy_((1 - self.momentum) * self.mean + self.momentum * mean)
            self.std.copy_((1 - self.momentum) * self.std + self.momentum * std)
        return self.gain * (x_BH - mean) / std + self.bias


class Bias(nn.Module):
    """x + b1, from zero."""

    def __init__(self, hidden: int):
        super().__init__()
        self.b1 = nn.Parameter(torch.zeros(hidden))

    def forward(self, x_BH: Tensor) -> Tensor:
        return x_BH + self.b1


class NamesMLP(nn.Module):
    """Embedding, a tanh hidden layer, an output layer that starts near zero so that the first loss is near ln V."""

    def __init__(self, vocabulary: int, context: int, embedding: int, hidden: int, batchnorm: bool):
        super().__init__()
        fan_in = context * embedding
        self.C = nn.Parameter(torch.randn(vocabulary, embedding))
        self.W1 = nn.Parameter(torch.randn(fan_in, hidden) * TANH_GAIN / fan_in**0.5)
        self.W2 = nn.Parameter(torch.randn(hidden, vocabulary) * 0.01)
        self.b2 = nn.Parameter(torch.randn(vocabulary) * 0)  # zeros; drawn to keep the lecture's random stream
        self.shift = LectureNorm(hidden) if batchnorm else Bias(hidden)

    def forward(self, x_BL: Tensor) -> Tensor:
        hidden_BH = self.shift(self.C[x_BL].flatten(1) @ self.W1)
        return torch.tanh(hidden_BH) @ self.W2 + self.b2


def read_words(path: str | None) -> list[str]:
    """Return the words of a file, one a line, in lower case; for None, the US surnames of the package `names`.

    A word consists of letters of any script with their marks, and of apostrophes and hyphens inside it.
    Raises BadInput, naming the line, for anything else: a dot would end a word, digits, commas and headers come from
    tables.
    Raises BadInput if the file is missing, is not UTF-8, or has fewer than ten words or a single letter.
    """
    if path is None:
        text = resources.files("names").joinpath("dist.all.last").read_text()
        return [line.split()[0].lower() for line in text.splitlines() if line.strip()]
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")  # a byte-order mark is no letter
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"task_options.path: cannot read {path}: {error}; a text file of one word a line works"
        ) from error
    lines = [unicodedata.normalize("NFC", line.lower()).split() for line in text.splitlines()]
    for number, line in enumerate(lines, start=1):
        if odd := next(filter(None, map(_odd, line)), _header(line) if number == 1 else ""):
            raise BadInput(f"task_options.path: {path}, line {number}: {odd}; one word a line works")
    words = [word for line in lines for word in line]
    if len(words) < 10:
        raise BadInput(f"task_options.path: {path} holds {len(words)} words; at least ten are needed, one a line")
    if len(set("".join(words))) < 2:
        raise BadInput(f"task_options.path: {path} holds the single letter '{words[0][0]}', one class; two are needed")
    return words


HEADERS = {"name", "names", "word", "words", "surname", "surnames", "firstname", "lastname", "forename", "text"}
INSIDE = "'\u2019-\u2010\u02bc"  # apostrophes and hyphens, as in o'brien and jean-luc


def _header(line: list[str]) -> str:
    """Return what is wrong with a file's first line if it is the header of a table, else ""."""
    if not line or not HEADERS.issuperset(line):
        return ""
    return f"'{' '.join(line)}' looks like a header, which would be learnt as a word; delete that line"


def _odd(word: str) -> str:
    """Return what is wrong with a word; "" if it consists of letters."""
    for place, letter in enumerate(word):
        inside = letter in INSIDE and 0 < place < len(word) - 1
        if unicodedata.category(letter)[0] not in "LM" and not inside:
            what = "ends a word" if letter == "." else "is no letter"
            shown = f"'{letter}'" if letter.isprintable() else f"U+{ord(letter):04X}"
            return f"{shown} in '{word[:40]}' {what}"
    return ""


def windows(words: list[str], letters: dict[str, int], context: int) -> tuple[Tensor, Tensor]:
    """Return every (context, next letter) of the words: indexes (n, L) and (n,), '.' = 0 before and after a word."""
    codes = np.array([letters[letter] for word in words for letter in word + "."], dtype=np.int64)
    ends = np.flatnonzero(codes == 0)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    columns = [np.where(place >= back, np.roll(codes, back), 0) for back in range(context, 0, -1)]
    return torch.from_numpy(np.stack(columns, 1)), torch.from_numpy(codes)


class Names(Task):
    """Predict the next letter of a name.

    path: a file of one word a line (default: the surnames of the US census, 88,799 of them).
    context, embedding, hidden: letters seen, numbers per letter, hidden units.
    batchnorm: normalise the hidden layer over the batch.
    validation: how many validation examples are used, the first of the held-out tenth; null for all.
    """

    def __init__(
        self,
        path: str | None = None,
        context: int = 3,
        embedding: int = 10,
        hidden: int = 200,
        batchnorm: bool = False,
        validation: int | None = 20_000,
    ):
        for name, value in (
            ("context", context),
            ("embedding", embedding),
            ("hidden", hidden),
            ("validation", validation),
        ):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise BadInput(f"task_options.{name}: {value!r} is no whole number above 0")
        self.context, self.embedding, self.hidden, self.batchnorm = context, embedding, hidden, batchnorm
        self.validation = validation
        self.words = read_words(path)
        self.letters = {letter: i for i, letter in enumerate([".", *sorted(set("".join(self.words)) - {"."})])}

    def model(self) -> nn.Module:
        return NamesMLP(len(self.letters), self.context, self.embedding, self.hidden, self.batchnorm)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        context_BL, next_B = batch
        return F.cross_entropy(model(context_BL), next_B)

    def data(self) -> Data:
        """Return 80 % of the words for training, the next 10 % for validation (shuffled as in the lecture)."""
        words = list(self.words)
        random.Random(42).shuffle(words)
        first, second = int(0.8 * len(words)), int(0.9 * len(words))
        valid = windows(words[first:second], self.letters, self.context)
        held_out = (valid[0][: self.validation], valid[1][: self.validation])
        return Data(windows(words[:first], self.letters, self.context), held_out)


class Lecture(Names):
    """Makemore part 3, "net A", to the digit: BatchNorm, and minibatches from one sequential generator.

    The generator continues after the draws of the initial weights, so the order is that of the lecture's own run.
    """

    evaluation_batch_size = None

    def __init__(self, path: str | None = None, validation: int | None = None):
        super().__init__(path, batchnorm=True, validation=validation)

    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        with seeded(seed):
            self.model()
            return _Sequential(torch.get_rng_state(), examples, batch_size).batches


class _Sequential:
    """Minibatches from one sequential generator; to go back to an earlier step, it draws again from the start."""

    def __init__(self, start: Tensor, examples: int, batch_size: int):
        self.start, self.examples, self.batch_size = start, examples, batch_size
        self.generator = torch.Generator()
        self._rewind()

    def batches(self, first: int, last: int) -> Tensor:
        if first < self.step:
            self._rewind()
        while self.step < first:
            self._next()
        return torch.stack([self._next() for _ in range(first, last)])

    def _rewind(self) -> None:
        self.generator.set_state(self.start)
        self.step = 0

    def _next(self) -> Tensor:
        self.step += 1
        return torch.randint(0, self.examples, (self.batch_size,), generator=self.generator)
