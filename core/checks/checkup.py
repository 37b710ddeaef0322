"""Minutes before hours: what can be seen of a task before it is trained, in plain sentences.

B = examples in a batch.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from espalier.core.checks import preflight
from espalier.core.errors import BadInput, briefly
from espalier.core.measures.activations import Layer, listening
from espalier.core.measures.baselines import Baselines, apart
from espalier.core.measures.ratios import log_ratio
from espalier.core.measures.verdicts import median
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.program import Program
from espalier.core.rows import own_generators, seeded
from espalier.core.task import Batch, Data, Task, call
from espalier.core.training.trial import Hyperparameters, Structure, Trial, history

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what, how it is, and what to do where it is not well."""

    level: Level
    what: str
    said: str


@dataclass(frozen=True)
class LayerReport:
    """Numbers of one layer over one training batch: its outputs, their gradients."""

    name: str
    kind: str
    mean: float
    std: float
    near_zero: float
    saturated: float | None
    dead: float | None
    grad_std: float


@dataclass(frozen=True)
class Checkup:
    """Everything that was found."""

    findings: Sequence[Finding]
    layers: Sequence[LayerReport] = ()
    ratios: Mapping[float, Mapping[str, float]] = field(default_factory=dict)
    """Update ratios of the first step, by exponent and tensor."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.level != "fail" for finding in self.findings)


class Checking:
    """The checks of one task, one after the other; each method yields findings."""

    def __init__(
        self,
        task: Task,
        structure: Structure,
        hyper: Hyperparameters,
        steps: int,
        exponents: Sequence[float],
        seed: int = 0,
    ):
        """steps: the budget of a trial. exponents: three of the space, at which the first step is looked at."""
        self.task, self.structure, self.hyper, self.steps, self.seed = task, structure, hyper, steps, seed
        self.exponents = list(exponents)
        self.layers: list[LayerReport] = []
        self.ratios: dict[float, dict[str, float]] = {}

    def run(self) -> Checkup:
        """Do every check; of a task whose parts do not work together there is no more to be said than that."""
        findings: list[Finding] = []
        try:
            found = preflight.check(self.task, self.structure.batch_size, self.structure.dtype, self.seed)
        except BadInput as error:
            return Checkup([_seen(str(error))])
        self.dtype = getattr(torch, self.structure.dtype)
        self.data: Data = found.data
        findings.append(
            Finding("pass", "parts", f"model, loss, data and metrics work; {found.parameters:,} parameters")
        )
        findings += [
            Finding("warn", "data", f"{hole.sentence()}; the loss is finite all the same") for hole in found.holes
        ]
        checks: list[Callable[[], Iterator[Finding]]] = [
            self.order,
            self.state,
            self.first_loss,
            self.metrics,
            self.activations,
            self.initialisation,
            self.movement,
            self.descent,
            self.one_batch,
            self.first_ratios,
        ]
        for check in checks:
            try:
                findings += check()
            except (Exception, SystemExit) as error:  # a person's code: whatever it does, the page is printed
                what = check.__name__.replace("_", " ")
                findings.append(Finding("fail", what, briefly(error)))
        return Checkup(findings, self.layers, self.ratios)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _model(self, seed: int | None = None) -> nn.Module:
        with seeded(self.seed if seed is None else seed):
            return self.task.model().to(self.dtype)

    def _batch(self, step: int = 0) -> Batch:
        chosen = self.task.order(self.seed, len(self.data.train[0]), self.structure.batch_size)(step, step + 1)[0]
        return tuple(tensor[chosen] for tensor in self.data.train)

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        half = torch.tensor(self.steps / 2, dtype=self.dtype), torch.tensor(0.5, dtype=self.dtype)
        with seeded(self.seed):  # the same masks at every call
            return call(self.task.loss, model, batch, half)  # of a loss that takes the step, as it is half way through

    # --- checks ------------------------------------------------------------------------------------------------------

    def order(self) -> Iterator[Finding]:
        """The order of data must serve every step of the budget; that it can be repeated, preflight has seen."""
        examples, last = len(self.data.train[0]), self.steps - 1
        order = self.task.order(self.seed, examples, self.structure.batch_size)
        for first in (0, last // 2, last):
            try:
                chosen = order(first, first + 1)
            except Exception as error:
                said = f"there is no batch for step {first:,} of {self.steps:,}: {briefly(error)}"
                yield Finding("fail", "order", f"{said}; a table must be as long as the budget")
                return
            if int(chosen.min()) < 0 or int(chosen.max()) >= examples:
                yield Finding("fail", "order", f"step {first:,} asks for an example beyond the {examples:,} there are")
                return
        passes = self.steps * self.structure.batch_size / examples
        yield Finding("pass", "order", f"{self.steps:,} steps see the {examples:,} examples {passes:.3g} times")

    def state(self) -> Iterator[Finding]:
        """What a loss decides in Python is not seen by a program that writes its steps down."""
        hidden = PlainProgram(self.task, self.structure.optimizer, self.dtype).hidden(self._batch(), self.data.valid)
        if not hidden.reason and not hidden.validation:
            yield Finding("pass", "state", "loss() and metrics() depend on the model, the batch and the step alone")
        if hidden.reason:
            slow = "; till then trials train one at a time, by plain PyTorch, which takes longer"
            yield Finding("warn", "state", hidden.reason + slow)
        if hidden.validation:
            yield Finding("warn", "state", hidden.validation)

    def first_loss(self) -> Iterator[Finding]:
        """An untrained classifier knows nothing: its loss is ln C."""
        losses = []
        with torch.no_grad():
            for seed in range(self.seed, self.seed + 3):
                losses.append(self._loss(self._model(seed), self._batch()).item())
        loss, baselines = (
            sum(losses) / len(losses),
            Baselines(self.task, self.data, self.structure.batch_size, self.dtype),
        )
        kind, place = baselines.kinds.get("train_loss", ("", 0))
        guess = baselines.guess.get("train_loss", math.nan)
        if not math.isfinite(loss):
            yield Finding(
                "fail", "first loss", f"the loss of the first batch is {loss}: nothing can be learned from it"
            )
        elif abs(loss) < 1e-6:
            said = f"{loss:.2g} before any training: there is nothing to learn; do targets leak into inputs?"
            yield Finding("warn", "first loss", said)
        elif "cross-entropy" not in kind:
            level: Level = "warn" if loss < 0 else "pass"
            why = "; it is negative: is a sign turned round?" if loss < 0 else ""
            why = f", a {kind}; a constant guess has {guess:.4g}" if kind else why
            yield Finding(level, "first loss", f"{loss:.4g}, the mean of three seeds{why}")
        else:
            classes = int(self.data.train[place].max()) + 1
            unbiased = math.log(classes)
            near = loss < 1.15 * unbiased + 0.1
            advice = "; the output layer starts too sure of itself: scale its weights by a hundredth, its bias to 0"
            said = f"{loss:.4f}; an unbiased start has ln {classes} = {unbiased:.4f}"
            if loss < 0.5 * min(guess, unbiased):
                yield Finding("warn", "first loss", f"{said}; it knows more than it can: do targets leak into inputs?")
            else:
                yield Finding("pass" if near else "warn", "first loss", said + ("" if near else advice))

    def metrics(self) -> Iterator[Finding]:
        """A validation averages its batches, so a metric must be a mean over examples, and a number in each batch."""
        task = apart(self.task)
        program = PlainProgram(task, self.structure.optimizer, self.dtype)
        row, valid, most = program.fresh_row(self.seed), self.data.valid, self.task.evaluation_batch_size
        examples = len(valid[0])
        batches = 1 if most is None else -(-examples // most)
        recorded = program.evaluate(row, valid)
        few = examples if most is None else min(examples, 2 * most)
        task.evaluation_batch_size = None
        whole = program.evaluate(row, tuple(t[:few] for t in valid))
        parts = (slice(0, few // 2), slice(few // 2, few)) if few > 1 else (slice(0, few),)
        halves = [(cut.stop - cut.start, program.evaluate(row, tuple(t[cut] for t in valid))) for cut in parts]
        advice = f"in {batches} batches, whose mean is recorded; set evaluation_batch_size = None"
        odd = []
        for name, value in whole.items():
            mean = math.fsum(count * values.get(name, math.nan) for count, values in halves) / few
            if not math.isfinite(recorded.get(name, math.nan)):
                why = ": some batch has no value" if batches > 1 else ""
                odd.append(f"valid_{name} is no number before training{why}")
            elif not math.isclose(value, mean, rel_tol=1e-3, abs_tol=1e-6):
                odd.append(
                    f"valid_{name} is {value:.4g} of {few:,} examples at once and {mean:.4g} as the mean of two "
                    "halves: it is no mean over examples"
                )
        for said in odd:
            where = f"they are evaluated {advice}" if batches > 1 else f"all {examples:,} are evaluated at once"
            yield Finding("warn" if batches > 1 else "pass", "metrics", f"{said}; {where}")
        if not odd:
            yield Finding("pass", "metrics", f"each is a mean over its {examples:,} examples, in however many batches")

    def activations(self) -> Iterator[Finding]:
        """Each layer's outputs and their gradients over one training batch."""
        model = self._model().train()
        with listening(model, keep_grad=True) as layers:
            self._loss(model, self._batch()).backward()
        self.layers += [_layer_report(layer) for layer in layers]
        if not layers:
            yield Finding("pass", "activations", "the model has no layer or nonlinearity to look at")
            return
        well = True
        for layer in self.layers:
            name = f"{layer.kind} after {layer.name}"
            if layer.saturated is not None and layer.saturated > 0.3:
                well = False
                yield Finding(
                    "warn", "activations", f"{layer.saturated:.0%} of {name} is saturated: smaller weights before it"
                )
            if layer.dead is not None and layer.dead > 0.3:
                well = False
                yield Finding("warn", "activations", f"{layer.dead:.0%} of the units of {name} are dead in this batch")
            if not math.isfinite(layer.std):
                well = False
                yield Finding("fail", "activations", f"the outputs of {name} are no numbers: they overflow")
            elif layer.std < 1e-4 and layer.kind in ("tanh", "sigmoid", "relu", "gelu", "silu", "elu", "leaky_relu"):
                well = False
                yield Finding("warn", "activations", f"the outputs of {name} have vanished: std {layer.std:.1e}")
        grads = [layer.grad_std for layer in self.layers if layer.grad_std > 0]
        if grads and max(grads) > 1e4 * min(grads):
            well = False
            said = f"gradients differ by a factor of {max(grads) / min(grads):.0e} between layers"
            yield Finding("warn", "gradients", f"{said}: they vanish or explode on their way")
        if well:
            stds = [layer.std for layer in self.layers]
            said = f"{len(self.layers)} layers, standard deviations {min(stds):.2g} ... {max(stds):.2g}"
            yield Finding("pass", "activations", f"{said}; none saturated, dead or vanished")

    def initialisation(self) -> Iterator[Finding]:
        """Which initialisation each weight seems to have, and which gain it should have for what follows it."""
        model = self._model()
        weights = dict(model.named_parameters())
        with torch.no_grad(), listening(model) as layers:
            self._loss(model, self._batch())
        for i, layer in enumerate(layers):
            if layer.fan_in == 0 or layer.name not in weights:
                continue
            weight = weights[layer.name].detach()
            following = layers[i + 1] if i + 1 < len(layers) else None
            yield _initialisation(layer, weight, following, last=not any(x.nonlinear for x in layers[i:]))

    def movement(self) -> Iterator[Finding]:
        """After a step every parameter should have changed."""
        model = self._model().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        self._loss(model, self._batch()).backward()
        optimizer.step()
        after = dict(model.named_parameters())
        still = [name for name, p in before.items() if torch.equal(p, after[name].detach())]
        frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
        if len(still) == len(before):
            yield Finding("fail", "movement", "no parameter changed")
        elif still:
            names = ", ".join(still)
            yield Finding(
                "warn", "movement", f"these parameters did not change in a step: {names}; does the loss use them?"
            )
        else:
            also = f"; {len(frozen)} are frozen by requires_grad" if frozen else ""
            yield Finding("pass", "movement", f"every one of {len(before)} parameters changed in a step{also}")

    def descent(self) -> Iterator[Finding]:
        """A tiny step against the gradient must lower the loss of the same batch, by what the gradient promises."""
        try:
            fell, promised = self._step_down(torch.float64, 1e-4)
        except RuntimeError:  # what the task holds besides its model - class weights - has the precision that it has
            fell, promised = self._step_down(self.dtype, 1e-2)
        if not promised > 0:
            yield Finding("fail", "descent", "the gradient is zero: no parameter will ever change")
        elif fell < 0:
            said = f"the loss rose along the gradient, by {-fell:.2g} where it should fall by {promised:.2g}"
            yield Finding("fail", "descent", f"{said}: training would climb; is a sign turned round?")
        elif not 0.5 < fell / promised < 1.5:
            said = f"the loss falls by {fell:.2g} against the gradient, which promises {promised:.2g}"
            yield Finding("warn", "descent", f"{said}: part of the gradient is missing, or the loss has kinks")
        else:
            yield Finding(
                "pass", "descent", f"the loss falls against the gradient, by {fell / promised:.2f} of its promise"
            )

    def _step_down(self, dtype: torch.dtype, share: float) -> tuple[float, float]:
        """Return by how much a step against the gradient lowers the loss of a batch, and what the gradient promises.

        share: of the loss, that the step promises; 0 is promised where there is no gradient.
        """
        model = self._model().to(dtype).train()
        batch = tuple(t.to(dtype) if t.is_floating_point() else t for t in self._batch())
        state = copy.deepcopy(model.state_dict())
        loss = self._loss(model, batch)
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
            return loss.item() - self._loss(model, batch).item(), size * square

    def one_batch(self) -> Iterator[Finding]:
        """A model that cannot learn one batch by heart will not learn the rest."""
        batch = self._batch()
        best: tuple[float, float] = (math.inf, math.nan)
        with torch.no_grad():
            start = self._loss(self._model().train(), batch).item()
        steps = 300
        for exponent in (-2.0, -3.0, -1.0):
            model = self._model().train()
            optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=10.0**exponent)
            loss = math.nan
            for _ in range(steps):
                optimizer.zero_grad()
                value = self._loss(model, batch)
                value.backward()
                for p in model.parameters():
                    p.grad = None if p.grad is None else _dense(p.grad)
                optimizer.step()
                loss = value.item()
                if not math.isfinite(loss):
                    break
            if math.isfinite(loss) and loss < best[0]:
                best = (loss, exponent)
            if best[0] < 0.2 * start:
                break
        if not best[0] < start:
            said = f"the loss of one batch does not fall in {steps} steps of Adam (from {start:.4g} to {best[0]:.4g})"
            yield Finding("fail", "one batch", said)
        elif best[0] > 0.5 * start and start > 0:
            said = f"one batch is learned badly: from {start:.4g} to {best[0]:.4g} in {steps} steps of Adam"
            yield Finding("warn", "one batch", f"{said}; noise in the targets, or a model too small, can be why")
        else:
            yield Finding(
                "pass", "one batch", f"learned by heart: from {start:.4g} to {best[0]:.4g} in {steps} steps of Adam"
            )

    def first_ratios(self) -> Iterator[Finding]:
        """The update-to-data ratio of the first step at a low, a middle and a high rate of the space."""
        names: list[str] = []
        for exponent in self.exponents:
            found = self._step_ratios(exponent)
            names = list(found)
            if names:
                self.ratios[exponent] = found
        if not names:
            yield Finding("pass", "ratios", "no parameter of two or more axes: nothing has an update-to-data ratio")
            return
        middles = {exponent: median(list(found.values())) for exponent, found in self.ratios.items()}
        said = ", ".join(f"{ratio:.2f} at {exponent:g}" for exponent, ratio in middles.items())
        low, high = min(middles), max(middles)
        if not all(math.isfinite(ratio) for ratio in middles.values()):
            yield Finding("fail", "ratios", f"the first step moves no weight: {said}")
        elif low < high and not middles[high] > middles[low]:
            yield Finding("fail", "ratios", f"the rate has no effect on the step: {said}")
        elif middles[low] > -1:
            yield Finding("warn", "ratios", f"hot everywhere (above -1): {said}; search lower exponents")
        elif middles[high] < -4:
            yield Finding("warn", "ratios", f"frozen everywhere (below -4): {said}; search higher exponents")
        else:
            yield Finding("pass", "ratios", f"median log10(update / weight) of the first step: {said}")

    def _step_ratios(self, exponent: float) -> dict[str, float]:
        """Return the update ratio of each tensor at the first step whose rate is not zero."""
        hyper = replace(self.hyper, lr=10.0**exponent, warmup=0.0)
        program = PlainProgram(self.task, self.structure.optimizer, self.dtype)
        rows = {name: tensor[None].clone() for name, tensor in program.fresh_row(self.seed).items()}
        names = program.parameters.matrices()
        before = {name: rows[f"theta.{name}"].clone() for name in names}
        trial = Trial("t", self.seed, max(2, self.steps), hyper)
        structure = replace(self.structure, clocked=program.clocked)
        table = history(structure, [trial], [0], 1)[0].to(self.dtype)[..., None]
        if program.clocked:  # at the first rate, with the loss as it is half way through
            table[-2:, 0, 0] = torch.tensor([self.steps / 2, 0.5])
        index = self.task.order(self.seed, len(self.data.train[0]), self.structure.batch_size)(0, 1)
        with own_generators():
            program.step(rows, self.data.train, index, table, (self.seed, 0))
        after = {name: rows[f"theta.{name}"].flatten(1) for name in names}
        return {name: log_ratio(after[name] - before[name].flatten(1), after[name]).item() for name in names}


def _seen(message: str) -> Finding:
    """Return what a person would see of a task that preflight refuses."""
    said = message.removeprefix("task: ")
    if 'missing the required "forward"' in said:
        said = f"forward is missing: the model has no method of that name (is it misspelt?): {said}"
    if "no parameter would ever change" in said:
        said = f"no parameter changed: {said}"
    return Finding("fail", "order" if said.startswith("order()") else "parts", said)


def _layer_report(layer: Layer) -> LayerReport:
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


def _dense(grad: Tensor) -> Tensor:
    """A gradient as most optimizers take it: that of EmbeddingBag(sparse=True) is a sparse tensor."""
    return grad if grad.layout == torch.strided else grad.to_dense()


def _initialisation(layer: Layer, weight: Tensor, following: Layer | None, last: bool) -> Finding:
    std = weight.double().std().item() if weight.numel() > 1 else 0.0
    gain = std * layer.fan_in**0.5
    seems = _seems(weight, layer.fan_in, std, gain)
    said = f"{layer.name}: {seems}, gain {gain:.2g}"
    if following is not None and following.kind == "norm":
        return Finding("pass", "initialisation", f"{said}; a norm follows, which makes any gain do")
    if last:
        return Finding("pass", "initialisation", f"{said}; the output: small is good")
    wanted = GAINS.get(following.kind, 1.0) if following else 1.0
    after = following.kind if following and following.nonlinear else "nothing nonlinear"
    if not wanted / 4 <= gain <= wanted * 2.5:
        return Finding("warn", "initialisation", f"{said}; before {after} it should be {wanted:.2g}")
    return Finding("pass", "initialisation", f"{said}; before {after} {wanted:.2g} keeps the spread")


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
    """Give every layer outputs of mean 0 and standard deviation 1, in forward order, in place (Mishkin and Matas 2016,
    arXiv:1511.06422, with the shift of fastai's course): its weight is scaled, and its bias shifted where it has one.

    call: runs the model on a batch. Return the mean and standard deviation that each weight's outputs ended with; a
    weight without a bias of its own keeps its mean. At most `most` rounds a weight.
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


# --- how long, how large ----------------------------------------------------------------------------------------------


def evaluation_seconds(program: Program, data: Data, seed: int = 0) -> float:
    """Return the time of one validation, in seconds, the least of two."""
    row, times = program.fresh_row(seed), []
    for _ in range(2):
        begin = time.perf_counter()
        program.evaluate(row, data.valid)
        times.append(time.perf_counter() - begin)
    return min(times)
