"""Each trial has the state that a task keeps in Python for itself, as if it trained alone."""

import cProfile
import os
import pstats
import random
import sys
from collections import Counter
from collections.abc import Mapping
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core import checkpoint
from espalier.core.optimizers import SGD
from espalier.core.programs.choose import choose
from espalier.core.task import Batch
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Scored
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.core.python_state.counting_tasks import COUNTS, Attribute, reset_globals
from tests.core.python_state.shared_tasks import APART, AT_TIMES, SEEDED
from tests.core.python_state.stateful import BATCH, PLAIN_SGD, STEPS, Base, F, batch_of, ends, trials
from tests.core.pytorch import by_pytorch


@pytest.mark.sampled(6)
@pytest.mark.parametrize("make", [*APART, *AT_TIMES])
def test_each_trial_has_its_own_state_as_if_it_trained_alone(make: type[Base]) -> None:
    reset_globals()
    expected = {}
    for trial in trials():
        reset_globals()
        expected[trial.id] = by_pytorch(make(), trial, BATCH)
    reset_globals()
    task = make()
    for trial_ends in (ends(task, trials(), curve_points=STEPS), ends(task, trials(), curve_points=STEPS)):
        for name, losses in expected.items():
            assert [loss for _, loss in trial_ends[name].curve] == pytest.approx(losses, rel=1e-5)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("make", [*APART, *AT_TIMES])
def test_a_branch_and_a_resumed_run_have_the_state_of_the_trial(make: type[Base], tmp_path: Any) -> None:
    def made(of: list[Trial]) -> Cohort:
        reset_globals()
        task = make()
        return Cohort(
            CohortSetup(task, task.data(), Structure(SGD(), "step", BATCH), of, 8, "plain", curve_points=STEPS)
        )

    points = [(), (0.5,), (0.7,)]
    of = [Trial(str(k), 0, STEPS, Hyperparameters(lr=0.05, decay_points=p), 3) for k, p in enumerate(points)]
    together = {e.trial: e for e in made(of).train() if isinstance(e, Ended)}
    for trial in of:
        alone = next(e for e in made([trial]).train() if isinstance(e, Ended))
        assert together[trial.id].curve == alone.curve
    cohort = made(of)
    while cohort.lane_steps < 70:
        cohort.turn(10)
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    resumed = made(of)
    resumed.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    list(resumed.train())
    assert {e.trial: e.curve for e in resumed.ended} == {name: e.curve for name, e in together.items()}


@pytest.mark.parametrize("make", SEEDED)
def test_random_and_numpy_are_drawn_from_seed_and_step(make: type[Base]) -> None:
    task = make()
    random.seed(os.getpid())
    np.random.seed(os.getpid())
    first = ends(task, trials(4), curve_points=STEPS)
    random.random()
    np.random.random()
    again = ends(make(), list(reversed(trials(4))), curve_points=STEPS)
    assert {name: e.curve for name, e in first.items()} == {name: e.curve for name, e in again.items()}
    assert first["0"].curve != first["1"].curve


class DrawsEverywhere(Base):
    """Draws from Python and numpy in its first weights and in its validation too."""

    def model(self) -> nn.Module:
        model = super().model()
        with torch.no_grad():
            model[0].weight.mul_(0.5 + random.random()).add_(float(np.random.randn()))  # type: ignore[union-attr,operator]
        return model

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        return {"loss": F.mse_loss(model(batch[0]), batch[1]) * (1 + random.random() + np.random.rand())}


@pytest.mark.parametrize("program", ["plain", "vmap", "native"])
def test_weights_and_validations_are_drawn_from_seed_and_step(program: str) -> None:
    task = DrawsEverywhere()
    first = ends(task, trials(4), program)
    random.random()
    np.random.random()
    again = ends(DrawsEverywhere(), list(reversed(trials(4))), program)
    reports = [{name: e.reports for name, e in each.items()} for each in (first, again)]
    assert reports[0] == reports[1]
    assert len({v["valid_loss"] for _, v in first["0"].reports}) == 3


class CountsValidations(Base):
    def __init__(self) -> None:
        self.n = 0

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        self.n += 1
        return {"loss": F.mse_loss(model(batch[0]), batch[1]), "draw": torch.tensor(random.random())}


@pytest.mark.parametrize("program", ["plain", "vmap", "native"])
def test_metrics_with_state_are_called_and_not_written_down(program: str) -> None:
    end = ends(CountsValidations(), trials(1), program)["0"]
    assert len({values["valid_draw"] for _, values in end.reports}) == 3


PLACES = ("attribute", "class", "module", "global", "item", "list")


@given(place=st.sampled_from(PLACES), rate=st.sampled_from([1e-6, 0.01, 0.1]), start=st.integers(0, 5))
@settings(suppress_health_check=list(HealthCheck))
def test_wherever_a_counter_lies_the_program_trains_what_was_written(place: str, rate: float, start: int) -> None:
    class Anywhere(Base):
        held: Any = start

        def __init__(self) -> None:
            self.box: Any = {"deep": [start]}
            self.n = start
            self.row = [0.0] * start

        def share(self, model: nn.Module) -> float:
            if place == "attribute":
                self.n += 1
                return self.n * rate
            if place == "class":
                type(self).held += 1
                return type(self).held * rate
            if place == "module":
                model.n = getattr(model, "n", start) + 1  # type: ignore[operator,assignment]
                return model.n * rate  # type: ignore[operator,return-value]
            if place == "global":
                COUNTS["n"] += 1
                return COUNTS["n"] * rate
            if place == "item":
                self.box["deep"][0] += 1
                return self.box["deep"][0] * rate
            self.row.append(0.0)
            return len(self.row) * rate

    reset_globals()
    trial = trials(1)[0]
    expected = by_pytorch(Anywhere(), trial, BATCH)
    reset_globals()
    Anywhere.held = start
    task = Anywhere()
    program, _ = choose(task, batch_of(task), 8, work=10**7)
    found = ends(task, trials(2), program, curve_points=STEPS)["0"]
    assert [loss for _, loss in found.curve] == pytest.approx(expected, rel=1e-5)


def test_a_score_leaves_the_state_of_the_trial_as_it_is() -> None:
    task = Attribute()
    of = [Trial("0", 0, STEPS, Hyperparameters(lr=0.05), 3, rungs=(20, 40))]
    scored = ends(task, of, scoring=Scoring(("average", "probe"), 5), curve_points=STEPS)["0"]
    alone = ends(Attribute(), [Trial("0", 0, STEPS, Hyperparameters(lr=0.05), 3)], curve_points=STEPS)["0"]
    assert scored.curve == alone.curve


class Phases(Base):
    """Changes nothing till its loss is low: no call at the begin shows that it keeps anything."""

    def __init__(self) -> None:
        self.phase, self.lows = "high", []  # type: ignore[var-annotated]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        loss = super().loss(model, batch)
        if model.training and loss.item() < 0.25:
            self.phase = "low"
            self.lows.append(loss.item())
        return loss * (0.3 if self.phase == "low" else 1.0) * (1 + len(self.lows) / 100)


def test_what_is_kept_from_a_later_step_on_each_trial_has_for_itself(tmp_path: Any) -> None:
    tasks = [Phases() for _ in trials()]
    expected = [by_pytorch(task, trial, BATCH) for task, trial in zip(tasks, trials(), strict=True)]
    assert 2 < len(tasks[0].lows) < STEPS - 2
    task = Phases()
    for found in (ends(task, trials(), curve_points=STEPS), ends(task, trials(), curve_points=STEPS)):
        for trial, losses in zip(trials(), expected, strict=True):
            assert [loss for _, loss in found[trial.id].curve] == pytest.approx(losses, rel=1e-5)
    assert vars(task) == vars(Phases())
    cohort = Cohort(CohortSetup(task, task.data(), PLAIN_SGD, trials(), 8, "plain", curve_points=STEPS))
    while cohort.lane_steps < STEPS - 10:
        cohort.turn(7)
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    resumed = Cohort(CohortSetup(Phases(), task.data(), PLAIN_SGD, trials(), 8, "plain", curve_points=STEPS))
    resumed.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    list(resumed.train())
    assert {e.trial: e.curve for e in resumed.ended} == {name: e.curve for name, e in found.items()}


class Lazy(Base):
    """Draws a mask when it is first wanted, and its inputs at random, so that it trains by plain PyTorch."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if not hasattr(self, "mask"):
            self.mask = torch.rand(4) > 0.3
        return F.mse_loss(model(batch[0] * self.mask + 0.1 * torch.randn(4)), batch[1])


def test_what_is_made_when_first_wanted_comes_back_from_a_checkpoint(tmp_path: Any) -> None:
    def made() -> Cohort:
        return Cohort(CohortSetup(Lazy(), Lazy().data(), PLAIN_SGD, trials(), 8, "plain", curve_points=STEPS))

    calm = made()
    list(calm.train())
    cohort = made()
    while cohort.lane_steps < STEPS + 10:
        cohort.turn(7)
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    resumed = made()
    resumed.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    list(resumed.train())
    assert {e.trial: e.curve for e in resumed.ended} == {e.trial: e.curve for e in calm.ended}


def test_branches_and_probes_have_what_is_kept_from_a_later_step_on() -> None:
    points = [(), (0.8,), (0.9,)]
    rungs = (STEPS // 2,)
    of = [Trial(str(k), 0, STEPS, Hyperparameters(lr=0.05, decay_points=p), 3, rungs) for k, p in enumerate(points)]
    structure, scoring = Structure(SGD(), "step", BATCH), Scoring(("probe",), 5)

    def curves(of: list[Trial]) -> dict[str, Any]:
        task = Phases()
        cohort = Cohort(CohortSetup(task, task.data(), structure, of, 8, "plain", curve_points=STEPS, scoring=scoring))
        events = list(cohort.train())
        scores = {e.trial: e.values for e in events if isinstance(e, Scored)}
        return {e.trial: (e.curve, scores[e.trial]) for e in events if isinstance(e, Ended)}

    together = curves(of)
    for trial in of:
        assert curves([trial])[trial.id] == together[trial.id]


@pytest.mark.parametrize("profiled", ["cProfile", "a function"])
def test_training_can_be_profiled(profiled: str) -> None:
    """A profiler that is on beforehand is on afterwards, and changes neither what is trained nor by what."""
    called = Counter[str]()

    def train() -> list[float]:
        cohort = Cohort(
            CohortSetup(Base(), Base().data(), PLAIN_SGD, trials(3), 3, "vmap")
        )  # which refuses what has hidden state
        return [event.values["valid_loss"] for event in cohort.train() if isinstance(event, Ended)]

    def count(frame: FrameType, event: str, function: Any) -> None:
        called.update([frame.f_code.co_name] if event == "call" else [])

    expected = train()
    if profiled == "cProfile":
        running = cProfile.Profile()
        found = running.runcall(train)
        called.update(name for _, _, name in pstats.Stats(running).stats)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        before = sys.getprofile()
        sys.setprofile(count)
        found = train()
        on = sys.getprofile()
        sys.setprofile(before)
        assert on is count
    assert found == expected and len(found) == 3
    assert {"find_python_state", "first_call", "turn"} <= called.keys()
