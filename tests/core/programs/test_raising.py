"""Models that raise at numbers which are none, compute again, or keep and move what others do not."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from espalier.core.measures.verdicts import Thresholds
from espalier.core.native import elementwise
from espalier.core.optimizers import SGD, Adam
from espalier.core.order import Order
from espalier.core.programs import PROGRAMS
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.rows import seeded
from espalier.core.task import Data
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Scored
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Health
from espalier.core.training.width import measure
from tests.core.programs.test_awkward import BATCH, STEPS, Classes, finished, trials
from tests.core.pytorch import trained_by_pytorch, validation_loss

Make = Callable[[], nn.Module]


# --- equal to PyTorch -------------------------------------------------------------------------------------------------


class Again(nn.Module):
    """Computes its first layer again on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(lambda x: self.first(x).tanh(), x, use_reentrant=False))


class Either(nn.Module):
    """Has two layers, of which a batch goes through one: torch.optim leaves the other as it is, that step."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if x.sum() > 0 else self.other(x)


@pytest.mark.parametrize("model", [Again, Either])
def test_a_model_of_one_lane_trains_as_pytorch_trains_it(model: Make) -> None:
    task = Classes(model)
    found = finished(task, trials(3), "plain", dtype="float64")
    for trial in trials(3):
        losses, trained = trained_by_pytorch(task, trial, BATCH, torch.float64)
        last = validation_loss(task, trained, task.data().to("cpu", torch.float64))
        assert [loss for _, loss in found[trial.id]["curve"]] == pytest.approx(losses, rel=1e-9)
        assert found[trial.id]["values"]["valid_loss"] == pytest.approx(last, rel=1e-9)


class Capped(nn.Module):
    """Counts its steps up to a number that also stands for the lanes when a step is written down (programs.graph)."""

    def __init__(self, most: int):
        super().__init__()
        self.layer, self.most = nn.Linear(12, 5), most
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps.add_(1)
        return self.layer(x) * (1 + self.steps.clamp(max=self.most))


@pytest.mark.parametrize("most", [1, 211, 223])
def test_a_number_of_the_model_is_not_taken_for_the_number_of_lanes(most: int) -> None:
    task = Classes(lambda: Capped(most))
    expected = finished(task, trials(3), "plain", dtype="float64")
    found = finished(task, trials(3), "vmap", dtype="float64")
    for name, event in found.items():
        assert event["values"]["valid_loss"] == pytest.approx(expected[name]["values"]["valid_loss"], rel=1e-9)


# --- a lane that raises takes no other with it ------------------------------------------------------------------------


def _steep() -> nn.Module:
    """Two matrices, whose product is beyond all numbers sooner than they are."""
    return nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 5))


class Rows(nn.Module):
    """Looks up a row at a place that it computes: of a number that is none there is no row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = _steep(), nn.Embedding(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y + self.table((y.detach().mean(1).sigmoid() * 9.99).long())


class Validated(nn.Module):
    """As torch.distributions: refuses logits that are no finite numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = _steep()

    def forward(self, x: Tensor) -> Tensor:
        return torch.distributions.Categorical(logits=self.layer(x), validate_args=True).logits


class Factored(nn.Module):
    """Factors a matrix that must be positive."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = _steep()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        factor = torch.linalg.cholesky(y.mT @ y + 0.1 * torch.eye(5))
        return y @ factor


RAISING = [
    *[(program, Rows) for program in ("plain", "vmap", "native")],
    *[(program, model) for program in ("plain", "vmap") for model in (Validated, Factored)],
]


@pytest.mark.each_value
@pytest.mark.parametrize(("program", "model"), RAISING)
@pytest.mark.parametrize("ratio_samples", [0, STEPS])
def test_a_lane_at_whose_numbers_the_model_raises_takes_no_other_with_it(
    program: str, model: Make, ratio_samples: int
) -> None:
    task = Classes(model)
    calm, wild = (Trial(name, 0, STEPS, Hyperparameters(lr=lr), 2) for name, lr in (("calm", 0.05), ("wild", 1e30)))

    def ends(of: list[Trial]) -> Mapping[str, Any]:
        cohort = Cohort(
            CohortSetup(task, task.data(), Structure(batch_size=BATCH), of, 4, program, ratio_samples=ratio_samples)
        )
        return {event.trial: event for event in cohort.train() if isinstance(event, Ended)}

    found = ends([wild, calm])
    assert found["wild"].status == "diverged"
    assert found["calm"] == ends([calm])["calm"]
    assert found["calm"].status == "complete"


def test_what_a_model_raises_at_a_lane_s_numbers_is_the_evidence() -> None:
    task, wild = Classes(Validated), Trial("wild", 0, STEPS, Hyperparameters(lr=1e30), 2)
    end = finished(task, [wild], "plain")["wild"]
    assert end["verdict"] == "diverged"
    assert end["evidence"].startswith("the model raised at step 1: ValueError: Expected parameter logits")


class Worn(nn.Module):
    """Cannot be validated once it has been trained, and gives NaN after 30 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps.add_(1)
        elif self.steps > 0:
            raise RuntimeError("worn out")
        return self.layer(x) * torch.where(self.steps > 30, torch.nan, 1.0)


def test_what_a_score_raised_is_no_evidence_of_a_later_divergence() -> None:
    task, trial = Classes(Worn), Trial("t", 0, 60, Hyperparameters(lr=0.05), 1, rungs=(10,))
    scoring = Scoring(("average",))
    cohort = Cohort(CohortSetup(task, task.data(), Structure(batch_size=BATCH), [trial], 1, "plain", scoring=scoring))
    score, end = (event for event in cohort.train() if isinstance(event, Scored | Ended))
    assert score.values == {}
    assert (end.status, end.step) == ("diverged", 30)
    assert "raised" not in end.evidence


class Refuses(Classes):
    """Raises at any batch beyond its first steps, whatever the weights: a fault of the task."""

    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        own = super().order(seed, examples, batch_size)
        return lambda first, last: own(first, last) + 100 * torch.arange(first, last)[:, None].ge(5)


@pytest.mark.parametrize("program", ["plain", "vmap"])
def test_what_a_task_raises_whatever_the_weights_is_no_divergence(program: str) -> None:
    found = finished(Refuses(lambda: nn.Linear(12, 5)), trials(2), program)
    assert {(end["status"], end["step"]) for end in found.values()} == {("failed", 5)}
    assert all(end["evidence"].startswith("IndexError: ") for end in found.values())


# --- validations leave a trial as it is -------------------------------------------------------------------------------


class Looks(nn.Module):
    """Counts how often it was evaluated, and lets that show."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.register_buffer("looks", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.looks.add_(1)
        return self.layer(x) * (1 + self.looks)


@pytest.mark.parametrize("program", ["plain", "native", "vmap"])
def test_a_validation_changes_no_state(program: str) -> None:
    task = Classes(Looks)
    made, data = PROGRAMS[program](task, SGD()), task.data()
    row = made.fresh_row(0)
    first = made.evaluate(row, data.valid)
    assert [made.evaluate(row, data.valid) for _ in range(3)] == [first] * 3
    assert row["buffer.looks"] == 0
    one_lane = [Trial(str(k), 0, STEPS, Hyperparameters(lr=0.1), k) for k in (1, 3, 4)]
    assert len({end["values"]["valid_loss"] for end in finished(task, one_lane, program).values()}) == 1


def test_a_validation_by_machine_code_knows_numbers_that_lie_otherwise() -> None:
    def turned() -> nn.Module:
        model = nn.Linear(12, 5)
        model.weight = nn.Parameter(model.weight.detach().T.contiguous().T)
        return model

    task = Classes(turned)
    made, data = NativeProgram(task, SGD()), task.data()
    row = made.fresh_row(0)
    assert not row["theta.weight"].is_contiguous(), "else this proves nothing"
    other = {name: tensor.contiguous() for name, tensor in row.items()}
    assert made.evaluate(row, data.valid) == made.evaluate(other, data.valid)


# --- what machine code is compared with, and how long it may take ---------------------------------------------------


def test_machine_code_with_a_wrong_update_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam has a root in its update, and the model has none."""
    task = Classes(lambda: nn.Linear(12, 5))
    train = task.data().train
    assert NativeProgram(task, Adam()).why_not(train, BATCH) is None
    monkeypatch.setitem(elementwise.ELEMENTWISE, "sqrt", elementwise.ELEMENTWISE["abs"])
    reason = NativeProgram(task, Adam()).why_not(train, BATCH)
    assert reason == "NotNative: the compiled function gives other numbers than the function"


class Small(Classes):
    """Its order counts in a smaller type."""

    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        own = super().order(seed, examples, batch_size)
        return lambda first, last: own(first, last).to(torch.int32)


def test_examples_may_be_counted_in_any_type() -> None:
    ends = [finished(kind(lambda: nn.Linear(12, 5)), trials(2), "native") for kind in (Small, Classes)]
    assert ends[0] == ends[1]


# --- what is kept, and what is lost at once ---------------------------------------------------------------------------


class Keeps(nn.Module):
    """Keeps what it has computed, for somebody to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.layer(x)
        return self.seen


def test_a_model_that_keeps_what_it_computed_can_be_taken_out() -> None:
    task = Classes(Keeps)
    made, data = PROGRAMS["plain"](task, SGD()), task.data()
    rows = {name: tensor[None] for name, tensor in made.fresh_row(0).items()}
    made.gradients(rows, tuple(tensor[None, :BATCH] for tensor in data.train))
    with seeded(0):
        expected = task.model()
    assert torch.equal(made.module(made.fresh_row(0)).layer.weight, expected.layer.weight)


class Lost(Classes):
    """One of its numbers is none."""

    def data(self) -> Data:
        data = super().data()
        data.train[0][:] = torch.nan
        return data


def test_lanes_that_are_lost_at_once_can_be_measured_too() -> None:
    task, structure = Lost(lambda: nn.Linear(12, 5)), Structure(batch_size=BATCH)
    programs = [PROGRAMS[kind](task, structure.optimizer) for kind in ("vmap", "plain")]
    found = measure(task, task.data(), structure, *programs, 8, "cpu")
    assert (found.lanes(8), found.alone) == (2, False)


def test_a_trial_whose_steps_change_nothing_is_frozen() -> None:
    task = Classes(lambda: nn.Linear(12, 5))
    still = Trial("still", 0, STEPS, Hyperparameters(lr=1e-30), 2)
    structure = Structure(batch_size=BATCH)
    cohort = Cohort(
        CohortSetup(task, task.data(), structure, [still], 2, "vmap", watchers=[Health(Thresholds(collapsed=0.0))])
    )
    (end,) = (event for event in cohort.train() if isinstance(event, Ended))
    assert (end.verdict, end.evidence) == ("frozen", "no step changed any weight")


def test_a_score_names_the_first_of_the_trials_that_share_a_history() -> None:
    task, structure = Classes(lambda: nn.Linear(12, 5)), Structure(SGD(), "step", BATCH)
    hypers = [Hyperparameters(0.1, (point,)) for point in (0.25, 0.5, 0.75)] + [Hyperparameters(0.2, (0.5,))]
    trials = [Trial(str(k), 0, STEPS, hyper, 4, rungs=(3, 6, 9)) for k, hyper in enumerate(hypers)]
    cohort = Cohort(CohortSetup(task, task.data(), structure, trials, scoring=Scoring(("value", "cooldown"), 2)))
    leaders: dict[tuple[int, str], dict[str, str]] = {}
    for event in cohort.train():
        if isinstance(event, Scored):
            leaders.setdefault((event.step, event.score), {})[event.trial] = event.trunk
    named = {place: [*map(found.get, "0123")] for place, found in leaders.items()}
    expected = {3: [*"0003"], 6: [*"0113"], 9: [*"0123"]}
    assert named == {(step, kind): shared for step, shared in expected.items() for kind in ("value", "cooldown")}
    assert [cohort.leader(str(k)) for k in range(4)] == [*"0123"]
