"""Initialisation of weights: recognise it, recommend a gain, and set it (LSUV)."""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from espalier.core.checks.findings import Finding
from espalier.core.checks.subject import Subject
from espalier.core.measures.activations import Layer, listening

GAINS: Mapping[str, float] = {
    "tanh": 5 / 3,
    "relu": 2**0.5,
    "leaky_relu": (2 / (1 + 0.01**2)) ** 0.5,
    "gelu": 2**0.5,
    "silu": 2**0.5,
    "elu": 1.0,
    "sigmoid": 1.0,
}
"""The gain that keeps the spread of a layer's outputs through what follows it: std(weight) = gain / sqrt(fan_in), with
gain(a) = sqrt(2 / (1 + a^2)) for a leaky ReLU of slope a (He et al. 2015; torch.nn.init.calculate_gain)."""


def initialisation(subject: Subject) -> Iterator[Finding]:
    """Report the initialisation that each weight seems to have, and the gain that suits the nonlinearity after it."""
    model = subject.new_model()
    weights = dict(model.named_parameters())
    with torch.no_grad(), listening(model) as layers:
        subject.loss(model, subject.batch())
    for i, layer in enumerate(layers):
        if layer.fan_in == 0 or layer.name not in weights:
            continue
        weight = weights[layer.name].detach()
        following = layers[i + 1] if i + 1 < len(layers) else None
        yield _judge_gain(layer, weight, following, last=not any(x.nonlinear for x in layers[i:]))


def _judge_gain(layer: Layer, weight: Tensor, following: Layer | None, last: bool) -> Finding:
    std = weight.double().std().item() if weight.numel() > 1 else 0.0
    gain = std * layer.fan_in**0.5
    seems = _seems(weight, layer.fan_in, std, gain)
    looks = f"{layer.name}: {seems}, gain {gain:.2g}"
    if following is not None and following.kind == "norm":
        return Finding("pass", "initialisation", f"{looks}; a norm follows, which makes any gain do")
    if last:
        return Finding("pass", "initialisation", f"{looks}; the output: small is good")
    wanted = GAINS.get(following.kind, 1.0) if following else 1.0
    after = following.kind if following and following.nonlinear else "nothing nonlinear"
    if not wanted / 4 <= gain <= wanted * 2.5:
        return Finding("warn", "initialisation", f"{looks}; before {after} it should be {wanted:.2g}")
    return Finding("pass", "initialisation", f"{looks}; before {after} {wanted:.2g} keeps the spread")


def _seems(weight: Tensor, fan_in: int, std: float, gain: float) -> str:
    """Return which of the usual initialisations a weight seems to have."""
    if std == 0:
        return "constant"
    w = weight.double().flatten()
    flat = (((w - w.mean()) / std) ** 4).mean().item() < 2.3  # 1.8 of a uniform, 3 of a normal distribution
    shape = "uniform" if flat else "normal"
    fan_out = weight.numel() // fan_in if fan_in else 1
    near = 0.1 + 2 / max(1, w.numel()) ** 0.5
    known = {
        "Xavier": (2 / (fan_in + fan_out)) ** 0.5,
        "torch's default": (1 / (3 * fan_in)) ** 0.5,
        "Kaiming for ReLU": (2 / fan_in) ** 0.5,
        "Kaiming for tanh": (5 / 3) / fan_in**0.5,
        "Kaiming without a gain": 1 / fan_in**0.5,
        "a standard": 1.0,
    }
    name = min(known, key=lambda key: abs(std / known[key] - 1))
    default = name == "torch's default"
    if abs(std / known[name] - 1) > near or (default and not flat):
        return f"{shape}, standard deviation {std:.2g}"
    return "torch's default (Kaiming uniform, a = sqrt 5)" if default else f"{name} {shape}"


# --- LSUV -------------------------------------------------------------------------------------------------------------


def lsuv(
    model: nn.Module, call: Callable[[nn.Module], object], tolerance: float = 1e-3, most: int = 20
) -> dict[str, tuple[float, float]]:
    """Give every layer outputs of mean 0 and standard deviation 1, in forward order, in place.

    Its weight is scaled, and its bias shifted where it has one (Mishkin and Matas 2016, arXiv:1511.06422, with the
    shift of fastai's course).
    Return the mean and standard deviation of each weight's outputs at the end. The mean stays where there is no bias.

    call: runs the model on a batch. most: the most rounds for each weight.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        with listening(model) as layers:
            call(model)
        names = dict.fromkeys(layer.name for layer in layers if layer.fan_in)
        return {name: _one_weight(model, name, parameters, call, tolerance, most) for name in names}


def _one_weight(
    model: nn.Module,
    name: str,
    parameters: Mapping[str, nn.Parameter],
    call: Callable[[nn.Module], object],
    tolerance: float,
    most: int,
) -> tuple[float, float]:
    weight = parameters[name]
    bias = parameters.get(f"{name.removesuffix('weight')}bias") if name.endswith("weight") else None
    mean, std = math.nan, math.nan
    for _ in range(most + 1):
        with listening(model) as layers:
            call(model)
        out = torch.cat([layer.out.flatten() for layer in layers if layer.name == name and layer.fan_in]).double()
        mean, std = out.mean().item(), out.std().item()
        level = bias is None or abs(mean) < tolerance
        if not (std > 0 and math.isfinite(std)) or (level and abs(std - 1) < tolerance):
            break
        if bias is not None:
            bias.sub_(mean).div_(std)  # both hold after one round of a layer that is linear in its weights
        weight.div_(std)
    return mean, std
