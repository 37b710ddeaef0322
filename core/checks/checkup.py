"""A checkup of a task before it is trained: what can be seen in minutes, in plain sentences."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from espalier.core.checks import before_training, first_steps, preflight
from espalier.core.checks.findings import Checkup, Finding, LayerReport
from espalier.core.checks.initialisation import initialisation
from espalier.core.checks.layers import activations, layer_reports
from espalier.core.checks.subject import Subject
from espalier.core.errors import BadInput, briefly
from espalier.core.task import Task
from espalier.core.training.trial import Hyperparameters, Structure


def check_up(
    task: Task, structure: Structure, hyper: Hyperparameters, steps: int, exponents: Sequence[float], seed: int = 0
) -> Checkup:
    """Run every check. If preflight refuses the task, the checkup holds that refusal alone.

    steps: the budget of a trial. exponents: three learning-rate exponents at which the first step is examined.
    """
    try:
        parts = preflight.check(task, structure.batch_size, structure.dtype, seed)
    except BadInput as error:
        return Checkup([_as_seen_by_a_person(str(error))])
    findings = [Finding("pass", "parts", f"model, loss, data and metrics work; {parts.parameters:,} parameters")]
    findings += [Finding("warn", "data", f"{hole.sentence()}; the loss is finite all the same") for hole in parts.holes]
    subject = Subject(task, parts.data, structure, hyper, steps, seed)
    numbers = _Numbers()
    for what, check in _checks(subject, exponents, numbers).items():
        try:
            findings += check()
        except (Exception, SystemExit) as error:  # user code: whatever it raises, the other checks still run
            findings.append(Finding("fail", what, briefly(error)))
    return Checkup(findings, numbers.layers, numbers.ratios, parts)


@dataclass
class _Numbers:
    """Numbers that checks measure beside their findings: for each layer, and for the first step at each exponent."""

    layers: Sequence[LayerReport] = ()
    ratios: dict[float, Mapping[str, float]] = field(default_factory=dict[float, Mapping[str, float]])


def _checks(
    subject: Subject, exponents: Sequence[float], numbers: _Numbers
) -> Mapping[str, Callable[[], Iterable[Finding]]]:
    """Return the checks by name, in the order in which they run."""

    def look_at_layers() -> Iterable[Finding]:
        numbers.layers = layer_reports(subject)
        return activations(numbers.layers)

    def look_at_ratios() -> Iterable[Finding]:
        for exponent in exponents:
            if of_tensors := first_steps.step_ratios(subject, exponent):
                numbers.ratios[exponent] = of_tensors
        return first_steps.first_ratios(numbers.ratios)

    return {
        "order": lambda: before_training.order(subject),
        "state": lambda: before_training.state(subject),
        "first loss": lambda: before_training.first_loss(subject),
        "metrics": lambda: before_training.metrics(subject),
        "activations": look_at_layers,
        "initialisation": lambda: initialisation(subject),
        "movement": lambda: first_steps.movement(subject),
        "descent": lambda: first_steps.descent(subject),
        "one batch": lambda: first_steps.one_batch(subject),
        "first ratios": look_at_ratios,
    }


def _as_seen_by_a_person(refusal: str) -> Finding:
    """Return the finding for a task that preflight refuses, worded for the task's author."""
    sentence = refusal.removeprefix("task: ")
    if 'missing the required "forward"' in sentence:
        sentence = f"forward is missing: the model has no method of that name (is it misspelt?): {sentence}"
    if "no parameter would ever change" in sentence:
        sentence = f"no parameter changed: {sentence}"
    return Finding("fail", "order" if sentence.startswith("order()") else "parts", sentence)
