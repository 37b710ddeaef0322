"""Checks of a task's first steps: does every parameter move, does the loss fall, can one batch be overfitted?

Each check is a function of the subject that yields findings.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from espalier.core.checks.findings import Finding
from espalier.core.checks.subject import Subject
from espalier.core.measures.ratios import log_ratio
from espalier.core.measures.verdicts import median
from espalier.core.programs.plain import PlainProgram
from espalier.core.rows import own_generators
from espalier.core.task import Batch
from espalier.core.training.history import history
from espalier.core.training.trial import Trial

ADAM_STEPS = 300
ADAM_EXPONENTS = (-2.0, -3.0, -1.0)  # tried in this order


def movement(subject: Subject) -> Iterator[Finding]:
    """After a step every parameter should have changed."""
    model = subject.new_model().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    subject.loss(model, subject.batch()).backward()  # pyright: ignore[reportUnknownMemberType]
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    after = dict(model.named_parameters())
    still = [name for name, p in before.items() if torch.equal(p, after[name].detach())]
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    if len(still) == len(before):
        yield Finding("fail", "movement", "no parameter changed")
    elif still:
        unmoved = f"these parameters did not change in a step: {', '.join(still)}; does the loss use them?"
        yield Finding("warn", "movement", unmoved)
    else:
        also = f"; {len(frozen)} are frozen by requires_grad" if frozen else ""
        yield Finding("pass", "movement", f"every one of {len(before)} parameters changed in a step{also}")


def descent(subject: Subject) -> Iterator[Finding]:
    """A tiny step against the gradient must lower the loss of the same batch, by what the first-order estimate says."""
    try:
        fell, promised = _step_down(subject, torch.float64, 1e-4)
    except RuntimeError:  # tensors of the task itself, such as class weights, keep their own precision
        fell, promised = _step_down(subject, subject.dtype, 1e-2)
    if not promised > 0:
        yield Finding("fail", "descent", "the gradient is zero: no parameter will ever change")
    elif fell < 0:
        rose = f"the loss rose along the gradient, by {-fell:.2g} where it should fall by {promised:.2g}"
        yield Finding("fail", "descent", f"{rose}: training would climb; is a sign turned round?")
    elif not 0.5 < fell / promised < 1.5:
        differs = f"the loss falls by {fell:.2g} against the gradient, which promises {promised:.2g}"
        yield Finding("warn", "descent", f"{differs}: part of the gradient is missing, or the loss has kinks")
    else:
        share = fell / promised
        yield Finding("pass", "descent", f"the loss falls against the gradient, by {share:.2f} of its promise")


def _step_down(subject: Subject, dtype: torch.dtype, share: float) -> tuple[float, float]:
    """Return how much a step against the gradient lowers a batch's loss, and how much it should, to first order.

    share: the step is sized to lower the loss by this share of it, to first order; by 0 where the gradient is zero.
    """
    model = subject.new_model().to(dtype).train()
    batch = tuple(t.to(dtype) if t.is_floating_point() else t for t in subject.batch())
    state = copy.deepcopy(model.state_dict())
    loss = subject.loss(model, batch)
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    square = sum(float(_dense(g).square().sum()) for g in grads)
    if not square > 0:
        return 0.0, 0.0
    model.load_state_dict(state)
    size = share * max(abs(loss.item()), 1e-6) / square
    with torch.no_grad():
        for p, g in zip(parameters, grads, strict=True):
            p.sub_(size * g)
        return loss.item() - subject.loss(model, batch).item(), size * square


def one_batch(subject: Subject) -> Iterator[Finding]:
    """A model that cannot overfit one batch will not learn the rest."""
    batch = subject.batch()
    least = math.inf
    with torch.no_grad():
        start = subject.loss(subject.new_model().train(), batch).item()
    for exponent in ADAM_EXPONENTS:
        loss = _loss_after_adam(subject, batch, 10.0**exponent)
        if math.isfinite(loss) and loss < least:
            least = loss
        if least < 0.2 * start:
            break
    falls = f"from {start:.4g} to {least:.4g}"
    if not least < start:
        stuck = f"the loss of one batch does not fall in {ADAM_STEPS} steps of Adam ({falls})"
        yield Finding("fail", "one batch", stuck)
    elif least > 0.5 * start and start > 0:
        badly = f"one batch is learned badly: {falls} in {ADAM_STEPS} steps of Adam"
        yield Finding("warn", "one batch", f"{badly}; noise in the targets, or a model too small, can be why")
    else:
        yield Finding("pass", "one batch", f"learned by heart: {falls} in {ADAM_STEPS} steps of Adam")


def _loss_after_adam(subject: Subject, batch: Batch, lr: float) -> float:
    """Train on one batch by Adam; return the loss before the last step, or the first loss that is NaN or infinite."""
    model = subject.new_model().train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    loss = math.nan
    for _ in range(ADAM_STEPS):
        optimizer.zero_grad()
        value = subject.loss(model, batch)
        value.backward()  # pyright: ignore[reportUnknownMemberType]
        for p in model.parameters():
            p.grad = None if p.grad is None else _dense(p.grad)
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        loss = value.item()
        if not math.isfinite(loss):
            break
    return loss


def first_ratios(ratios: Mapping[float, Mapping[str, float]]) -> Iterator[Finding]:
    """Check the update-to-data ratio of the first step at a low, a middle and a high rate of the space."""
    if not ratios:
        yield Finding("pass", "ratios", "no parameter of two or more axes: nothing has an update-to-data ratio")
        return
    middles = {exponent: median(list(of_tensors.values())) for exponent, of_tensors in ratios.items()}
    numbers = ", ".join(f"{ratio:.2f} at {exponent:g}" for exponent, ratio in middles.items())
    low, high = min(middles), max(middles)
    if not all(math.isfinite(ratio) for ratio in middles.values()):
        yield Finding("fail", "ratios", f"the first step moves no weight: {numbers}")
    elif low < high and not middles[high] > middles[low]:
        yield Finding("fail", "ratios", f"the rate has no effect on the step: {numbers}")
    elif middles[low] > -1:
        yield Finding("warn", "ratios", f"hot everywhere (above -1): {numbers}; search lower exponents")
    elif middles[high] < -4:
        yield Finding("warn", "ratios", f"frozen everywhere (below -4): {numbers}; search higher exponents")
    else:
        yield Finding("pass", "ratios", f"median log10(update / weight) of the first step: {numbers}")


def step_ratios(subject: Subject, exponent: float) -> dict[str, float]:
    """Return log10(update / weight) of each matrix at the first step whose rate, 10 ** exponent, is not zero."""
    hyper = replace(subject.hyper, lr=10.0**exponent, warmup=0.0)
    program = PlainProgram(subject.task, subject.structure.optimizer, subject.dtype)
    rows = {name: tensor[None].clone() for name, tensor in program.fresh_row(subject.seed).items()}
    names = program.parameters.matrices()
    before = {name: rows[f"theta.{name}"].clone() for name in names}
    trial = Trial("t", subject.seed, max(2, subject.steps), hyper)
    structure = replace(subject.structure, clocked=program.clocked)
    table = history(structure, [trial], [0], 1)[0].to(subject.dtype)[..., None]
    if program.clocked:  # at the first rate, with the loss as it is half way through
        table[-2:, 0, 0] = torch.tensor([subject.steps / 2, 0.5])
    index = subject.task.order(subject.seed, len(subject.data.train[0]), subject.structure.batch_size)(0, 1)
    with own_generators():
        program.step(rows, subject.data.train, index, table, (subject.seed, 0))
    after = {name: rows[f"theta.{name}"].flatten(1) for name in names}
    return {name: log_ratio(after[name] - before[name].flatten(1), after[name]).item() for name in names}


def _dense(grad: Tensor) -> Tensor:
    """Return a gradient as a dense tensor; that of EmbeddingBag(sparse=True) is sparse."""
    return grad if grad.layout == torch.strided else grad.to_dense()
