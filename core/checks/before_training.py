"""Checks of a task before its first step: the order of its data, its state in Python, its first loss, its metrics.

Each check is a function of the subject that yields findings.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

from espalier.core.checks.findings import Finding
from espalier.core.checks.subject import Subject
from espalier.core.errors import briefly
from espalier.core.programs.plain import PlainProgram
from espalier.core.training.baselines import Baselines, copied_task


def order(subject: Subject) -> Iterator[Finding]:
    """The order of data must have a batch for every step of the budget."""
    examples, last = len(subject.data.train[0]), subject.steps - 1
    order = subject.task.order(subject.seed, examples, subject.structure.batch_size)
    for first in (0, last // 2, last):
        try:
            chosen = order(first, first + 1)
        except Exception as error:
            missing = f"there is no batch for step {first:,} of {subject.steps:,}: {briefly(error)}"
            yield Finding("fail", "order", f"{missing}; a table must be as long as the budget")
            return
        if int(chosen.min()) < 0 or int(chosen.max()) >= examples:
            yield Finding("fail", "order", f"step {first:,} asks for an example beyond the {examples:,} there are")
            return
    passes = subject.steps * subject.structure.batch_size / examples
    yield Finding("pass", "order", f"{subject.steps:,} steps see the {examples:,} examples {passes:.3g} times")


def state(subject: Subject) -> Iterator[Finding]:
    """A traced or compiled step does not see what a loss decides in Python."""
    program = PlainProgram(subject.task, subject.structure.optimizer, subject.dtype)
    state = program.hidden(subject.batch(), subject.data.valid)
    if not state.reason and not state.validation:
        yield Finding("pass", "state", "loss() and metrics() depend on the model, the batch and the step alone")
    if state.reason:
        slow = "; till then trials train one at a time, by plain PyTorch, which takes longer"
        yield Finding("warn", "state", state.reason + slow)
    if state.validation:
        yield Finding("warn", "state", state.validation)


def first_loss(subject: Subject) -> Iterator[Finding]:
    """The first loss of a classifier with C classes should be about ln C."""
    with torch.no_grad():
        seeds = range(subject.seed, subject.seed + 3)
        losses = [subject.loss(subject.new_model(seed), subject.batch()).item() for seed in seeds]
    loss = sum(losses) / len(losses)
    baselines = Baselines(subject.task, subject.data, subject.structure.batch_size, subject.dtype)
    kind, target = baselines.kinds.get("train_loss", ("", 0))
    guess = baselines.guess.get("train_loss", math.nan)
    if not math.isfinite(loss):
        yield Finding("fail", "first loss", f"the loss of the first batch is {loss}: nothing can be learned from it")
    elif abs(loss) < 1e-6:
        nothing = f"{loss:.2g} before any training: there is nothing to learn; do targets leak into inputs?"
        yield Finding("warn", "first loss", nothing)
    elif "cross-entropy" in kind:
        yield _first_cross_entropy(loss, int(subject.data.train[target].max()) + 1, guess)
    else:
        why = "; it is negative: is a sign turned round?" if loss < 0 else ""
        why = f", a {kind}; a constant guess has {guess:.4g}" if kind else why
        yield Finding("warn" if loss < 0 else "pass", "first loss", f"{loss:.4g}, the mean of three seeds{why}")


def _first_cross_entropy(loss: float, classes: int, guess: float) -> Finding:
    """Compare a first cross-entropy with ln C. guess: the cross-entropy of a constant guess."""
    unbiased = math.log(classes)
    compared = f"{loss:.4f}; an unbiased start has ln {classes} = {unbiased:.4f}"
    if loss < 0.5 * min(guess, unbiased):
        return Finding("warn", "first loss", f"{compared}; it knows more than it can: do targets leak into inputs?")
    if loss < 1.15 * unbiased + 0.1:
        return Finding("pass", "first loss", compared)
    advice = "the output layer starts too sure of itself: scale its weights by a hundredth, its bias to 0"
    return Finding("warn", "first loss", f"{compared}; {advice}")


def metrics(subject: Subject) -> Iterator[Finding]:
    """A validation averages over batches, so a metric must be a mean over examples, and finite in each batch."""
    most = subject.task.evaluation_batch_size
    examples = len(subject.data.valid[0])
    batches = 1 if most is None else -(-examples // most)
    wrong = _metrics_that_are_no_means(subject, batches)
    for sentence in wrong:
        where = f"all {examples:,} are evaluated at once"
        if batches > 1:
            where = f"they are evaluated in {batches} batches, whose mean is recorded; set evaluation_batch_size = None"
        yield Finding("warn" if batches > 1 else "pass", "metrics", f"{sentence}; {where}")
    if not wrong:
        yield Finding("pass", "metrics", f"each is a mean over its {examples:,} examples, in however many batches")


def _metrics_that_are_no_means(subject: Subject, batches: int) -> Sequence[str]:
    """Return a sentence for each metric that is not finite, or whose mean over two halves is not that of the whole."""
    task, most = copied_task(subject.task), subject.task.evaluation_batch_size
    program = PlainProgram(task, subject.structure.optimizer, subject.dtype)
    row, valid = program.fresh_row(subject.seed), subject.data.valid
    examples = len(valid[0])
    recorded = program.evaluate(row, valid)
    few = examples if most is None else min(examples, 2 * most)
    task.evaluation_batch_size = None
    whole = program.evaluate(row, tuple(t[:few] for t in valid))
    cuts = (0, few // 2, few) if few > 1 else (0, few)
    halves = [(b - a, program.evaluate(row, tuple(t[a:b] for t in valid))) for a, b in pairwise(cuts)]
    wrong: list[str] = []
    for name, value in whole.items():
        mean = math.fsum(count * values.get(name, math.nan) for count, values in halves) / few
        if not math.isfinite(recorded.get(name, math.nan)):
            why = ": some batch has no value" if batches > 1 else ""
            wrong.append(f"valid_{name} is no number before training{why}")
        elif not math.isclose(value, mean, rel_tol=1e-3, abs_tol=1e-6):
            wrong.append(
                f"valid_{name} is {value:.4g} of {few:,} examples at once and {mean:.4g} as the mean of two "
                "halves: it is no mean over examples"
            )
    return wrong
