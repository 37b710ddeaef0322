"""Names by a deep network: six tanh layers with batch normalisation, as in makemore, part 3 (second half).

B = examples, L = letters of context, E = embedding, H = hidden units, V = vocabulary.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from espalier.core.errors import BadInput
from espalier.core.tasks.names import TANH_GAIN, Names


class DeepNamesNet(nn.Module):
    """Embedding, then `layers` - 1 times linear, norm, tanh; then linear to the letters, and its norm.

    Without normalisation the tanh layers start with the gain that keeps their spread, as the lecture shows.
    """

    def __init__(self, vocabulary: int, context: int, embedding: int, hidden: int, layers: int, batchnorm: bool):
        super().__init__()
        self.C = nn.Parameter(torch.randn(vocabulary, embedding))
        widths = [context * embedding, *[hidden] * (layers - 1), vocabulary]
        parts: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            last = i == layers - 1
            linear = nn.Linear(fan_in, fan_out, bias=not batchnorm)
            with torch.no_grad():
                linear.weight.copy_(torch.randn(fan_out, fan_in) / fan_in**0.5)
                linear.weight.mul_(1.0 if batchnorm else 0.1 if last else TANH_GAIN)
                if linear.bias is not None:
                    linear.bias.zero_()
            norm = nn.BatchNorm1d(fan_out) if batchnorm else None
            if norm is not None and last:
                nn.init.constant_(norm.weight, 0.1)  # starts near uniform: the first loss is near ln V
            parts += [linear, *([norm] if norm is not None else []), *([] if last else [nn.Tanh()])]
        self.layers = nn.Sequential(*parts)

    def forward(self, x_BL: Tensor) -> Tensor:
        return self.layers(self.C[x_BL].flatten(1))


class DeepNames(Names):
    """Predict the next letter of a name by a deep network.

    layers: how many linear layers. The rest is as in core.tasks.names.Names.
    """

    def __init__(
        self,
        path: str | None = None,
        context: int = 3,
        embedding: int = 10,
        hidden: int = 100,
        layers: int = 6,
        batchnorm: bool = True,
        validation: int | None = 20_000,
    ):
        super().__init__(path, context, embedding, hidden, batchnorm, validation)
        if not isinstance(layers, int) or layers < 2:
            raise BadInput(f"task_options.layers: {layers!r} is no whole number above 1")
        self.layers = layers

    def model(self) -> nn.Module:
        return DeepNamesNet(len(self.letters), self.context, self.embedding, self.hidden, self.layers, self.batchnorm)
