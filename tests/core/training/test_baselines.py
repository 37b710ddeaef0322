"""What a trial has to beat: constant guesses of losses that have a name, and the model before training."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core import checkpoint
from espalier.core.checks import preflight
from espalier.core.checks.holes import holes
from espalier.core.errors import BadInput
from espalier.core.optimizers import SGD
from espalier.core.task import Batch, Data, Task
from espalier.core.training.baselines import Baselines
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Free(Task):
    """A linear model of six numbers; what it is asked is given from outside."""

    def __init__(self, target: Tensor, loss: Any, outputs: int = 1, more: tuple[Tensor, ...] = ()):
        self.target, self.of, self.outputs, self.more = target, loss, outputs, more

    def model(self) -> nn.Module:
        return nn.Linear(6, self.outputs)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.of(model(batch[0]), *batch[1:])

    def data(self) -> Data:
        x, n = drawn(len(self.target), 6), len(self.target) * 2 // 3
        rows = (x, self.target, *self.more)
        return Data(tuple(t[:n] for t in rows), tuple(t[n:] for t in rows))


CLASSES = (drawn(300).abs() * 2).long().clamp(max=4)
BITS = (drawn(300) > 1).long()
REAL = drawn(300) * 3 + 5
WEIGHT = torch.tensor([1.0, 2.0, 8.0, 1.0, 1.0])


def of(task: Task) -> Mapping[str, float]:
    return Baselines(task, task.data(), 32).guess


def cross_entropy_of_shares() -> float:
    seen, asked = CLASSES[:200], CLASSES[200:]
    return -float((seen.bincount(minlength=5).double() / 200)[asked].log().mean())


KNOWN: Mapping[str, tuple[Task, float]] = {
    "cross-entropy": (Free(CLASSES, F.cross_entropy, 5), cross_entropy_of_shares()),
    "of log-probabilities": (
        Free(CLASSES, lambda o, y: F.nll_loss(o.log_softmax(-1), y), 5),
        cross_entropy_of_shares(),
    ),
    "weights of one": (
        Free(
            CLASSES, lambda o, y, w: (F.cross_entropy(o, y, reduction="none") * w).mean(), 5, (torch.ones(300).long(),)
        ),
        cross_entropy_of_shares(),
    ),
    "two classes": (
        Free(BITS, lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.float())),
        -math.log(1 - BITS[:200].double().mean()) * (1 - BITS[200:].double().mean().item())
        - math.log(BITS[:200].double().mean()) * BITS[200:].double().mean().item(),
    ),
    "squared error": (
        Free(REAL, lambda o, y: F.mse_loss(o[:, 0], y)),
        float((REAL[200:] - REAL[:200].mean()).square().mean()),
    ),
    "absolute error": (
        Free(REAL, lambda o, y: F.l1_loss(o[:, 0], y)),
        float((REAL[200:] - REAL[:200].median()).abs().mean()),
    ),
}


@pytest.mark.parametrize("what", KNOWN)
def test_the_guess_of_a_known_loss_is_the_best_constant_of_the_training_targets(what: str) -> None:
    task, guess = KNOWN[what]
    assert of(task)["valid_loss"] == pytest.approx(guess, rel=1e-5)


UNKNOWN: Mapping[str, Task] = {
    "class weights": Free(CLASSES, lambda o, y: F.cross_entropy(o, y, WEIGHT), 5),
    "label smoothing": Free(CLASSES, lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1), 5),
    "a sum": Free(CLASSES, lambda o, y: F.cross_entropy(o, y, reduction="sum"), 5),
    "weights that differ": Free(
        CLASSES, lambda o, y, w: (F.cross_entropy(o, y, reduction="none") * w).mean(), 5, (drawn(300).abs(),)
    ),
    "weight of the positives": Free(
        BITS, lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.float(), pos_weight=torch.tensor(9.0))
    ),
    "half the squared error": Free(REAL, lambda o, y: F.mse_loss(o[:, 0], y) / 2),
    "an error": Free(REAL, lambda o, y: o[:, 7].mean()),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_of_a_loss_without_a_name_no_guess_is_known(what: str) -> None:
    """Else every trial with class weights or label smoothing would be worse than a guess that it does not make."""
    assert of(UNKNOWN[what]) == {}


class Counting(Free):
    """Counts its calls, also in a list."""

    def __init__(self) -> None:
        super().__init__(CLASSES, F.cross_entropy, 5)
        self.n, self.calls = 0, []

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        self.n += 1
        self.calls.append(self.n)
        return super().loss(model, batch)


def test_to_look_at_a_task_leaves_no_trace_in_it() -> None:
    task = Counting()
    baselines = Baselines(task, task.data(), 32)
    assert baselines.guess and baselines.before(0)
    assert (task.n, task.calls) == (0, [])
    assert vars(baselines.task)["target"] is task.target, "what is large is shared"


def test_before_training_is_the_validation_of_the_fresh_weights() -> None:
    task, seed = Free(REAL, lambda o, y: F.mse_loss(o[:, 0], y)), 5
    torch.manual_seed(seed)
    model = task.model()
    before = Baselines(task, task.data(), 32).before(seed)
    with torch.no_grad():
        assert before["valid_loss"] == pytest.approx(task.loss(model, task.data().valid).item(), rel=1e-6)
        assert before["train_loss"] == pytest.approx(task.loss(model, task.data().train).item(), rel=0.3)


# --- which tensor is the target ---------------------------------------------------------------------------------------


class Weighted(Free):
    """(x, y, weight): the weights are ones, and no target."""

    def __init__(self, weight: Tensor, y: Tensor = CLASSES):
        super().__init__(y, lambda o, y, w: (F.cross_entropy(o, y, reduction="none") * w).mean(), 5, (weight,))


@pytest.mark.parametrize(
    "weight", [torch.ones(300).long(), torch.ones(300), torch.arange(300) % 2, torch.zeros(300, 2)]
)
def test_a_last_tensor_that_is_no_target_is_not_taken_for_one(weight: Tensor) -> None:
    task = Weighted(weight)
    task.of = lambda o, y, w: F.cross_entropy(o, y) + 0 * w.sum()
    assert Baselines(task, task.data(), 32).target_index == 1
    assert preflight.check(task, 32).metrics == ["loss"]


def test_one_class_is_found_wherever_the_target_lies() -> None:
    task = Weighted(torch.ones(300).long(), torch.ones(300).long())
    with pytest.raises(BadInput, match=r"all 200 training targets are of one class \(1\)"):
        preflight.check(task, 32)


def test_a_task_may_name_its_target() -> None:
    task = Weighted(torch.ones(300).long())
    task.of = lambda o, y, w: F.cross_entropy(o, y, label_smoothing=0.5) + 0 * w.sum()
    assert Baselines(task, task.data(), 32).target_index is None
    task.target_index = 2
    with pytest.raises(BadInput, match="one class"):
        preflight.check(task, 32)
    task.target_index = -2
    assert preflight.check(task, 32).metrics == ["loss"]
    for wrong in (3, "y", True):
        task.target_index = wrong  # type: ignore[assignment]
        with pytest.raises(BadInput, match=r"target_index is .* a batch has 3 tensors"):
            preflight.check(task, 32)


def test_inputs_that_are_their_own_target_may_stand_before_a_constant() -> None:
    """An autoencoder, with the lengths of its examples, which are all the same."""
    task = Free(torch.full((300,), 6), lambda o, _: o.square().mean(), 6)
    task.loss = lambda model, batch: F.mse_loss(model(batch[0]), batch[0])  # type: ignore[method-assign]
    assert preflight.check(task, 32).metrics == ["loss"]


# --- numbers that are not finite --------------------------------------------------------------------------------------


def holed(split: str, place: int, rows: Mapping[int, float]) -> Task:
    task = Free(REAL.clone(), lambda o, y: F.mse_loss(o[:, 0], y))
    data = task.data()
    for row, value in rows.items():
        tensor = (data.train if split == "training" else data.valid)[place]
        tensor.view(len(tensor), -1)[row, -1] = value
    task.data = lambda: data  # type: ignore[method-assign]
    return task


@pytest.mark.parametrize("split", ["training", "validation"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named_by_split_tensor_and_row(split: str, place: int, value: float) -> None:
    with pytest.raises(
        BadInput, match=rf"tensor {place} of the {split} split has {value} in row 73 \(counted from 0\)"
    ):
        preflight.check(holed(split, place, {73: value}), 32)


def test_several_are_counted_and_the_first_is_named() -> None:
    with pytest.raises(BadInput, match=r"has 3 numbers that are not finite, the first \(inf\) in row 11"):
        preflight.check(holed("training", 0, {150: math.nan, 11: math.inf, 12: math.nan}), 32)


def test_a_split_is_looked_at_in_pieces() -> None:
    (hole,) = holes(holed("training", 0, {99: math.nan, 150: math.inf}).data(), piece=60)
    assert (hole.split, hole.place, hole.count, hole.row) == ("training", 0, 2, 99)


def test_a_hole_that_the_loss_leaves_out_is_no_fault() -> None:
    """NaN for what was not measured is a custom, and a mask in the loss does away with it."""
    task = holed("training", 1, {3: math.nan, 100: math.nan})

    def loss(out: Tensor, y: Tensor) -> Tensor:
        known = ~y.isnan()
        return F.mse_loss(out[known][:, 0], y[known])

    task.of = loss  # type: ignore[attr-defined]
    (hole,) = preflight.check(task, 32).holes
    assert hole.sentence().startswith("tensor 1 of the training split has 2 numbers that are not finite")


def test_a_finite_loss_with_a_gradient_that_is_none_does_not_pass() -> None:
    task = holed("training", 0, {3: math.nan})
    task.of = lambda o, y: torch.where(o[:, 0].isnan(), 0.0, (o[:, 0] - y).square()).mean()  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="tensor 0 of the training split has nan in row 3"):
        preflight.check(task, 32)


def test_numbers_too_large_for_the_precision_are_found() -> None:
    task = Free(REAL.double(), lambda o, y: F.mse_loss(o[:, 0], y))
    task.target[5] = 1e300
    with pytest.raises(BadInput, match="tensor 1 of the training split has inf in row 5"):
        preflight.check(task, 32)


# --- a metric that is no number ---------------------------------------------------------------------------------------


class Rare(Free):
    """A metric without a value in every batch but the first."""

    evaluation_batch_size = 25

    def __init__(self) -> None:
        super().__init__(CLASSES, F.cross_entropy, 5)

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        first = (batch[1] == self.target[200:225]).all()
        return {"loss": self.loss(model, batch), "auc": torch.where(first, 0.5, math.nan)}


def finished(cohort: Cohort) -> list[Event]:
    return [event for event in cohort.train() if isinstance(event, Ended)]


def rare_cohort() -> Cohort:
    task = Rare()
    trial = Trial("t", 0, 30, Hyperparameters(0.1), 3)
    return Cohort(CohortSetup(task, task.data(), Structure(SGD(), "constant", 20), [trial], 1, "plain"))


def test_a_metric_that_is_no_number_is_said_in_every_report_and_at_the_end() -> None:
    events = list(rare_cohort().train())
    *reports, end = [event for event in events if isinstance(event, Reported | Ended)]
    assert [report.missing for report in reports] == [{"valid_auc": [step]} for step in (10, 20, 30)]
    assert end.missing == {"valid_auc": [10, 20, 30]}
    assert all("valid_auc" not in event.values for event in (*reports, end))


def test_what_was_missing_survives_a_checkpoint(tmp_path: Path) -> None:
    first, second = rare_cohort(), rare_cohort()
    for _ in range(2):
        first.turn(10)
    checkpoint.save(tmp_path / "cohort.pt", first.state())
    second.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    assert finished(second) == finished(rare_cohort())
