"""Checks of a model's layers on one training batch: saturated, dead, vanishing or exploding outputs and gradients."""

import math
from collections.abc import Iterator, Sequence

from espalier.core.checks.findings import Finding, LayerReport
from espalier.core.checks.subject import Subject
from espalier.core.measures.activations import Layer, listening

_NONLINEAR = ("tanh", "sigmoid", "relu", "gelu", "silu", "elu", "leaky_relu")
TOO_MANY = 0.3  # of the outputs saturated, or of the units dead
VANISHED = 1e-4  # a standard deviation below it
APART = 1e4  # times the smallest gradient that the largest may be


def layer_reports(subject: Subject) -> Sequence[LayerReport]:
    """Return statistics of each layer's outputs and their gradients over one training batch."""
    model = subject.new_model().train()
    with listening(model, keep_grad=True) as layers:
        subject.loss(model, subject.batch()).backward()  # pyright: ignore[reportUnknownMemberType]
    return [_report(layer) for layer in layers]


def _report(layer: Layer) -> LayerReport:
    out = layer.out.detach().double()
    grad = layer.out.grad
    return LayerReport(
        layer.name,
        layer.kind,
        out.mean().item(),
        out.std().item() if out.numel() > 1 else 0.0,
        (out.abs() < 1e-3).double().mean().item(),
        layer.saturated(),
        layer.dead(),
        grad.double().std().item() if grad is not None and grad.numel() > 1 else 0.0,
    )


def activations(layers: Sequence[LayerReport]) -> Iterator[Finding]:
    """Yield a finding for each problem with the layers' outputs and gradients, or one that says there is none."""
    if not layers:
        yield Finding("pass", "activations", "the model has no layer or nonlinearity to look at")
        return
    faults = [fault for layer in layers for fault in _faults(layer)]
    grads = [layer.grad_std for layer in layers if layer.grad_std > 0]
    if grads and max(grads) > APART * min(grads):
        factor = f"gradients differ by a factor of {max(grads) / min(grads):.0e} between layers"
        faults.append(Finding("warn", "gradients", f"{factor}: they vanish or explode on their way"))
    yield from faults
    if not faults:
        stds = [layer.std for layer in layers]
        spread = f"{len(layers)} layers, standard deviations {min(stds):.2g} ... {max(stds):.2g}"
        yield Finding("pass", "activations", f"{spread}; none saturated, dead or vanished")


def _faults(layer: LayerReport) -> Iterator[Finding]:
    name = f"{layer.kind} after {layer.name}"
    if layer.saturated is not None and layer.saturated > TOO_MANY:
        advice = f"{layer.saturated:.0%} of {name} is saturated: smaller weights before it"
        yield Finding("warn", "activations", advice)
    if layer.dead is not None and layer.dead > TOO_MANY:
        yield Finding("warn", "activations", f"{layer.dead:.0%} of the units of {name} are dead in this batch")
    if not math.isfinite(layer.std):
        yield Finding("fail", "activations", f"the outputs of {name} are no numbers: they overflow")
    elif layer.std < VANISHED and layer.kind in _NONLINEAR:
        yield Finding("warn", "activations", f"the outputs of {name} have vanished: std {layer.std:.1e}")
