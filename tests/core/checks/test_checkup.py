"""The preflight: what a person would see of each error, and of sound tasks."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.task import Batch, Data, Task
from espalier.core.tasks.digits import Digits, DigitsConv
from espalier.core.tasks.thermometer import Thermometer
from tests.core.checks.spoiled import Ten, checkup, of

SOUND: Mapping[str, Callable[[], Task]] = {
    "ten classes": Ten,
    "digits": Digits,
    "digits by convolutions": lambda: DigitsConv(channels=4),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [*SOUND, "names", "names with BatchNorm", "thermometer"])
def test_a_sound_task_passes(small_tasks: Mapping[str, Task], name: str) -> None:
    found = checkup(SOUND[name]() if name in SOUND else small_tasks[name])
    assert found.passed, [finding for finding in found.findings if finding.level == "fail"]
    assert of(found, "movement")[0].level == "pass"
    assert of(found, "descent")[0].level == "pass"
    assert of(found, "one batch")[0].level == "pass"


class Weighted(Ten):
    """Class weights are no part of the model: they have the precision that they have."""

    weights = torch.linspace(0.5, 2, 10)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], weight=self.weights)


class Mixing(Ten):
    """A fixed sparse matrix before the layers, as of a graph."""

    mixes = torch.eye(6).to_sparse()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(torch.sparse.mm(self.mixes, batch[0].T).T), batch[1])


class SparseGrad(Ten):
    """Its gradient is a sparse tensor, which torch's Adam does not take."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.EmbeddingBag(40, 10, sparse=True), nn.Linear(10, 10))

    def data(self) -> Data:
        x = torch.randint(0, 40, (640, 6), generator=torch.Generator().manual_seed(0))
        return Data((x[:500], x[:500, 0] // 4), (x[500:], x[500:, 0] // 4))


class Bag(SparseGrad):
    """All that is to be trained has sparse gradients."""

    def model(self) -> nn.Module:
        return nn.EmbeddingBag(40, 10, sparse=True)


@pytest.mark.parametrize("task", [Weighted(), Mixing(), SparseGrad(), Bag()], ids=lambda t: type(t).__name__)
def test_what_torch_takes_in_one_precision_or_layout_alone_is_no_fault_of_a_task(task: Task) -> None:
    found = checkup(task)
    assert found.passed, [finding for finding in found.findings if finding.level == "fail"]
    assert of(found, "descent")[0].level == "pass"


class Odd(BaseException):
    """What is no Exception passes by whoever expects one."""


class LeavesIn(Ten):
    """A part of it ends the process, as a script does."""

    def __init__(self, part: str, leaves: type[BaseException] = SystemExit):
        self.part, self.leaves = part, leaves

    def model(self) -> nn.Module:
        return self._or_leave("model", super().model)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._or_leave("loss", lambda: F.cross_entropy(model(batch[0]), batch[1]))

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return self._or_leave("metrics", lambda: {"loss": F.cross_entropy(model(batch[0]), batch[1])})

    def data(self) -> Data:
        return self._or_leave("data", super().data)

    def _or_leave(self, part: str, call: Any) -> Any:
        if part == self.part:
            raise self.leaves("usage: train.py")
        return call()


@pytest.mark.parametrize("leaves", [SystemExit, GeneratorExit, Odd])
@pytest.mark.parametrize("part", ["model", "loss", "metrics", "data"])
def test_a_task_that_would_end_the_process_is_one_line(part: str, leaves: type[BaseException]) -> None:
    (only,) = checkup(LeavesIn(part, leaves)).findings
    assert (only.level, only.what) == ("fail", "parts") and f"{leaves.__name__}: usage: train.py" in only.sentence


def test_every_sentence_is_plain(small_tasks: Mapping[str, Task]) -> None:
    for finding in checkup(small_tasks["names"]).findings:
        assert finding.sentence and not finding.sentence.endswith(".") and "\n" not in finding.sentence


# --- the errors of the course notes -----------------------------------------------------------------------------------


class Misspelt(Ten):
    def model(self) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(6, 10)

            def foward(self, x: Tensor) -> Tensor:
                return self.layer(x)

        return Net()


class Uphill(torch.autograd.Function):
    """The double minus: the loss is right, its gradient points the wrong way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -grads[0]


class Ascending(Ten):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        out = Uphill.apply(super().loss(model, batch))
        assert isinstance(out, Tensor)
        return out


class Negated(Thermometer):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return -super().loss(model, batch)


class NeverSteps(Ten):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, batch).detach().requires_grad_()


class ShortTable(Ten):
    """A table of 1,000 batches, indexed by 10,000 steps."""

    def order(self, seed: int, examples: int, batch_size: int) -> Any:
        table = torch.randint(0, examples, (1000, batch_size), generator=torch.Generator().manual_seed(seed))

        def batches(first: int, last: int) -> Tensor:
            return torch.stack([table[step] for step in range(first, last)])

        return batches


@pytest.mark.parametrize(
    ("task", "what", "words"),
    [
        (Misspelt(), "parts", "forward is missing"),
        (Ascending(), "descent", "the loss rose along the gradient"),
        (NeverSteps(), "parts", "no parameter changed"),
        (ShortTable(), "order", "there is no batch for step 4,999 of 10,000"),
    ],
)
def test_an_error_of_the_course_notes_is_said_as_a_person_would_see_it(task: Task, what: str, words: str) -> None:
    found = checkup(task, steps=10_000)
    assert not found.passed
    assert any(finding.level == "fail" and words in finding.sentence for finding in of(found, what)), found.findings


def test_a_negative_loss_is_looked_at() -> None:
    found = of(checkup(Negated(), batch_size=11), "first loss")
    assert found[0].level == "warn" and "sign" in found[0].sentence


# --- other errors -----------------------------------------------------------------------------------------------------


class Half(Ten):
    """Two heads, of which the loss uses one."""

    def model(self) -> nn.Module:
        return nn.ModuleDict({"used": nn.Linear(6, 10), "unused": nn.Linear(6, 10)})

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, nn.ModuleDict)
        return F.cross_entropy(model["used"](batch[0]), batch[1])


def test_parameters_that_do_not_move_are_named() -> None:
    (finding,) = of(checkup(Half()), "movement")
    assert finding.level == "warn"
    assert "unused.weight, unused.bias" in finding.sentence and " used.weight" not in finding.sentence


class Loud(Ten):
    """An output layer a hundred times too large, and a hidden one that saturates."""

    def model(self) -> nn.Module:
        model = super().model()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(50)
        return model


def test_a_start_that_is_too_sure_and_saturated_is_seen() -> None:
    found = checkup(Loud())
    (first,) = of(found, "first loss")
    assert first.level == "warn" and "ln 10 = 2.3026" in first.sentence
    assert any("saturated" in finding.sentence for finding in of(found, "activations"))
    assert any(finding.level == "warn" for finding in of(found, "initialisation"))


class Dead(Ten):
    def model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 10))
        with torch.no_grad():
            model[0].bias.fill_(-100)
        return model


def test_dead_units_are_seen() -> None:
    found = checkup(Dead())
    assert any("100% of the units of relu after 0.weight are dead" in f.sentence for f in of(found, "activations"))


def test_a_nonlinearity_in_place_is_seen_and_a_wordless_error_is_said() -> None:
    class InPlace(Dead):
        def model(self) -> nn.Module:
            model = super().model()
            model[1] = nn.ReLU(inplace=True)
            return model

        def order(self, seed: int, examples: int, batch_size: int) -> Any:
            shuffled = super().order(seed, examples, batch_size)

            def batches(first: int, last: int) -> Tensor:
                assert first < 100
                return shuffled(first, last)

            return batches

    found = checkup(InPlace())
    assert any("dead in this batch" in finding.sentence for finding in of(found, "activations"))
    assert "there is no batch for step 199 of 200: AssertionError" in of(found, "order")[0].sentence


class Drawing(Ten):
    def order(self, seed: int, examples: int, batch_size: int) -> Any:
        return lambda first, last: torch.randint(0, examples, (last - first, batch_size))


def test_an_order_that_does_not_repeat_fails() -> None:
    (finding,) = of(checkup(Drawing()), "order")
    assert finding.level == "fail" and "when it is called again" in finding.sentence


class Leaking(Ten):
    def model(self) -> nn.Module:
        model = nn.Linear(10, 10, bias=False)
        with torch.no_grad():
            model.weight.copy_(20 * torch.eye(10))
        return model

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(F.one_hot(batch[1], 10).float()), batch[1])


def test_a_first_loss_that_knows_too_much_is_seen() -> None:
    assert "leak" in of(checkup(Leaking()), "first loss")[0].sentence


def test_a_check_that_breaks_does_not_keep_the_page_from_being_printed() -> None:
    class Breaking(Ten):
        def order(self, seed: int, examples: int, batch_size: int) -> Any:
            if seed == 0 and not hasattr(self, "asked"):
                self.asked = True
                return super().order(seed, examples, batch_size)
            raise RuntimeError("the table is gone")

    found = checkup(Breaking())
    assert not found.passed
    assert any("the table is gone" in finding.sentence for finding in found.findings)


# --- metrics and data -------------------------------------------------------------------------------------------------


class Measured(Ten):
    """Metrics that are means over examples, and one that is none."""

    def __init__(self, size: int | None):
        self.evaluation_batch_size = size

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        out = model(batch[0])
        loss = F.cross_entropy(out, batch[1])
        spread = (out[:, 0] - out[:, 0].mean()).square().sum().sqrt()
        return {"loss": loss, "accuracy": (out.argmax(-1) == batch[1]).float().mean(), "spread": spread}


@pytest.mark.parametrize("size, level", [(40, "warn"), (None, "pass"), (4096, "pass")])
def test_a_metric_that_is_no_mean_over_examples_is_said(size: int | None, level: str) -> None:
    (finding,) = of(checkup(Measured(size)), "metrics")
    assert (
        finding.level == level
        and finding.sentence.startswith("valid_spread is ")
        and "no mean over" in finding.sentence
    )
    assert ("evaluation_batch_size = None" in finding.sentence) == (level == "warn")


class Rare(Ten):
    """A metric that has a value only where the first class is seen."""

    evaluation_batch_size = 10

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        seen = batch[1] == 0
        return {"loss": self.loss(model, batch), "recall": (model(batch[0]).argmax(-1) == 0)[seen].float().mean()}

    def data(self) -> Data:
        data = super().data()
        order = data.valid[1].argsort()
        return Data(data.train, tuple(t[order] for t in data.valid))


def test_a_metric_without_a_value_in_some_batch_is_said() -> None:
    (finding,) = of(checkup(Rare()), "metrics")
    assert finding.level == "warn" and finding.sentence.startswith(
        "valid_recall is no number before training: some batch"
    )


def test_where_every_metric_is_a_mean_that_is_said() -> None:
    (finding,) = of(checkup(Ten()), "metrics")
    assert finding.level == "pass" and finding.sentence.startswith("each is a mean over its 140 examples")


class Holed(Ten):
    def data(self) -> Data:
        data = super().data()
        data.train[0][17, 3] = math.nan
        return data


def test_a_hole_in_the_data_fails_the_check() -> None:
    (finding,) = checkup(Holed()).findings
    assert finding.level == "fail" and "tensor 0 of the training split has nan in row 17" in finding.sentence


def test_the_first_loss_is_held_against_a_constant_guess_where_there_are_no_classes() -> None:
    (finding,) = of(checkup(Thermometer(), batch_size=11), "first loss")
    assert "a squared error; a constant guess has 77.14" in finding.sentence
