"""The smallest transformer (Vaswani et al. 2017, arXiv:1706.03762) that learns names: one block over eight letters.

B = examples, L = letters of context, W = width.
"""

import torch
from torch import Tensor, nn

from espalier.core.tasks.names import Names

CONTEXT, WIDTH, HEADS = 8, 16, 2
VALIDATION = 4_000  # its validations cost ten times those of the perceptron


class Block(nn.Module):
    """Letters and their places, a block with its norms before it, and the letter that follows the last one."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.letters = nn.Embedding(vocabulary, WIDTH)
        self.places_LW = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.02)
        # without biases: the gradient of the keys' is zero but for rounding, which Adam would make steps of
        self.block = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, 0.0, batch_first=True, norm_first=True, bias=False
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, vocabulary)

    def forward(self, x_BL: Tensor) -> Tensor:
        return self.out(self.norm(self.block(self.letters(x_BL) + self.places_LW))[:, -1])


class TransformerNames(Names):
    """Predict the next letter of a name from the eight before it. validation: as of Names."""

    def __init__(self, validation: int | None = VALIDATION):
        super().__init__(context=CONTEXT, validation=validation)

    def model(self) -> nn.Module:
        return Block(len(self.letters))
