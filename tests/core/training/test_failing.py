"""What a task raises for one trial ends that trial, with its own error and place, and no other."""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from espalier.core.errors import located
from espalier.core.optimizers import SGD
from espalier.core.order import Order
from espalier.core.task import Batch, Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Scored
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Look, Watcher

STEPS, BATCH, AT, BAD = 40, 8, 13, 3
F = nn.functional


class Sound(Task):
    """A classifier of which nothing breaks. `breaks` marks, in a batch, the example at which a subclass breaks."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))

    def data(self) -> Data:
        x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
        y = x.argmax(1) % 3
        return Data((x, y), (x[:40], y[:40]))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        """The batch of seed 3 at step 13 is the last example again and again, which no other batch has."""
        usual = super().order(seed, examples - 1, batch_size)

        def order(first: int, last: int) -> Tensor:
            index = usual(first, last).clone()
            if seed == BAD and first <= AT < last:
                index[AT - first] = examples - 1
            return index

        return order


class Raises(Sound):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if bool((batch[0] == batch[0][0]).all()):
            raise ValueError("a broken example")
        return super().loss(model, batch)


class Leaves(Raises):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if bool((batch[0] == batch[0][0]).all()):
            sys.exit("usage: train.py")
        return Sound.loss(self, model, batch)


class NoSuchClass(Sound):
    """The last example is of a class that the model does not have."""

    def data(self) -> Data:
        data = super().data()
        y = data.train[1].clone()
        y[-1] = 7
        return Data((data.train[0], y), data.valid)


class NoSuchRow(NoSuchClass):
    """Likewise, where the step is machine code that finds an index out of range."""

    def model(self) -> nn.Module:
        return nn.Embedding(3, 3)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[1]), batch[1].clamp(max=2))


class NoModel(Sound):
    """No weights can be drawn for one seed."""

    def model(self) -> nn.Module:
        model = super().model()
        if torch.initial_seed() == BAD:
            raise RuntimeError("no weights today")
        return model


class NoOrder(Sound):
    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        usual = super().order(seed, examples, batch_size)

        def order(first: int, last: int) -> Tensor:
            if seed == BAD and first <= AT < last:
                raise LookupError(f"no batch for step {AT}")
            return usual(first, last)

        return order


class NoOrderAtAll(Sound):
    def order(self, seed: int, examples: int, batch_size: int) -> Order:
        if seed == BAD:
            raise LookupError("no order for this seed")
        return super().order(seed, examples, batch_size)


class Unmeasured(Sound):
    """Its validation raises where a model says that it has seen the last example."""

    def model(self) -> nn.Module:
        model = super().model()
        model.register_buffer("seen", torch.zeros(()))
        return model

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if model.training:
            model.seen += (batch[0] == batch[0][0]).all()  # type: ignore[operator]
        return super().loss(model, batch)

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        torch.ones(1)[(model.seen * 5).long()]  # type: ignore[operator]
        return super().metrics(model, batch)


CASES = [
    *[(Raises, "plain"), (Leaves, "plain")],
    *[(task, program) for task in (NoSuchClass, NoSuchRow) for program in ("plain", "vmap", "native", "captured")],
    *[(task, program) for task in (NoModel, NoOrder, NoOrderAtAll) for program in ("plain", "vmap", "native")],
]


def trials(seeds: list[int]) -> list[Trial]:
    return [Trial(f"{k}/0", seed, STEPS, Hyperparameters(lr=0.1), 2) for k, seed in enumerate(seeds)]


def ends(task: Task, of: list[Trial], program: str, **more: Any) -> dict[str, Event]:
    cohort = Cohort(CohortSetup(task, task.data(), Structure(SGD(), "constant", BATCH), of, 8, program, **more))
    return {event.trial: event for event in cohort.train() if isinstance(event, Ended)}


def compared(event: Event) -> str:
    return str(event.to_json() | {"trial": "", "leader": ""})


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("make", "program"), CASES)
def test_only_the_trial_for_which_the_task_raises_fails(make: type[Sound], program: str) -> None:
    found = ends(make(), trials([0, 1, 2, BAD]), program)
    bad = found.pop("3/0")
    assert bad.status == "failed" and bad.verdict == "" and "Traceback" in bad.trace
    for name, event in found.items():
        assert event.status == "complete" and event.trace == ""
        alone = ends(make(), [trial for trial in trials([0, 1, 2]) if trial.id == name], program)
        assert compared(event) == compared(alone[name])


@pytest.mark.parametrize("program", ["plain", "vmap", "native"])
def test_a_validation_that_raises_at_a_trials_own_state_is_its_alone(program: str) -> None:
    found = ends(Unmeasured(), trials([0, BAD, 2]), program)
    assert found["1/0"].status == "diverged" and "the model raised at step 20: IndexError" in found["1/0"].evidence
    assert {found["0/0"].status, found["2/0"].status} == {"complete"}


def test_the_evidence_is_the_error_its_place_and_the_step() -> None:
    bad = ends(Raises(), trials([0, BAD]), "plain")["1/0"]
    assert bad.evidence.startswith("ValueError: a broken example (test_failing.py, line ")
    assert bad.evidence.endswith(f", at step {AT}") and bad.step == AT
    assert "SystemExit: usage: train.py" in ends(Leaves(), trials([BAD]), "plain")["0/0"].evidence
    assert ends(NoSuchClass(), trials([BAD]), "native")["0/0"].step == AT
    assert ends(NoOrder(), trials([0, BAD]), "vmap")["1/0"].step == AT
    assert ends(NoModel(), trials([0, BAD]), "vmap")["1/0"].step == 0


def test_all_trials_of_a_trunk_that_raises_fail_and_their_scores_are_none() -> None:
    hypers = [Hyperparameters(lr=0.1, decay_points=(p,)) for p in (0.5, 0.8)]
    of = [Trial(f"{k}/0", BAD, STEPS, hyper, 2, (5, 20)) for k, hyper in enumerate(hypers)]
    scoring, structure = Scoring(("average", "probe"), 4), Structure(SGD(), "step", BATCH)
    cohort = Cohort(CohortSetup(Raises(), Raises().data(), structure, of, 8, "plain", scoring=scoring))
    events = list(cohort.train())
    assert {e.status for e in events if isinstance(e, Ended)} == {"failed"}
    assert {(e.trial, e.step) for e in events if isinstance(e, Scored)} == {(t.id, 5) for t in of}


class Breaks(Watcher):
    """A watcher that raises at one trial."""

    def measure(self, look: Look) -> Mapping[str, float]:
        if look.trial.seed == BAD:
            raise ZeroDivisionError("in a watcher")
        return {}


@pytest.mark.parametrize("program", ["plain", "vmap"])
def test_a_watcher_that_raises_at_a_trial_fails_that_trial(program: str) -> None:
    found = ends(Sound(), trials([0, BAD, 2]), program, watchers=(Breaks(),))
    statuses = {name: event.status for name, event in found.items()}
    assert statuses == {"0/0": "complete", "1/0": "failed", "2/0": "complete"}
    assert found["1/0"].evidence.startswith(
        "watchers: Breaks.measure() raised ZeroDivisionError: in a watcher (test_failing.py"
    )


SCORE = """
from espalier.core.scores.score import Score


class Raising(Score):
    {kind}

    def values(self, rung):
        if rung.budget == 44 and rung.step > 10:
            raise ZeroDivisionError("in a score")
        return rung.values
"""
BEFORE_RUNG = 20
SCORES = {
    "own weights": ("pass", BEFORE_RUNG),
    "averaged": ("averaged = True", BEFORE_RUNG),
    "copy": ("trains_on = True", 5),
}


@pytest.mark.parametrize("program", ["plain", "vmap"])
@pytest.mark.parametrize("kind", SCORES)
def test_a_score_that_raises_at_a_trial_fails_that_trial(kind: str, program: str, tmp_path: Path) -> None:
    """Two branches of one trunk have the same rung, so it raises for both; other trials are as without a score."""
    line, step = SCORES[kind]
    file = tmp_path / "scores.py"
    file.write_text(SCORE.format(kind=line))
    score, structure = f"{file}:Raising", Structure(SGD(), "step", BATCH)
    hypers = [Hyperparameters(lr=0.1, decay_points=(p,)) for p in (0.7, 0.8)]
    bad = [Trial(f"{k}/0", 0, 44, hyper, 2, (5, 20)) for k, hyper in enumerate(hypers)]
    of = [*bad, *[Trial(f"{k}/0", k, STEPS, hypers[0], 2, (5, 20)) for k in (2, 3)]]

    def trained(of: list[Trial], scoring: Scoring) -> list[Event]:
        cohort = Cohort(CohortSetup(Sound(), Sound().data(), structure, of, 8, program, scoring=scoring))
        return list(cohort.train())

    events = trained(of, Scoring((score,), 8))
    found = {event.trial: event for event in events if isinstance(event, Ended)}
    assert {trial.id: found[trial.id].status for trial in bad} == {"0/0": "failed", "1/0": "failed"}
    for trial in bad:
        end = found[trial.id]
        assert (end.step, end.verdict) == (step, "") and "Traceback" in end.trace
        assert end.evidence.startswith(
            f"stopping.score: {score} raised ZeroDivisionError: in a score (scores.py, line "
        )
        assert end.evidence.endswith(f", at step {step}")
    alone = trained(of[2:], Scoring(("value",)))
    assert [compared(found[e.trial]) for e in alone if isinstance(e, Ended)] == [
        compared(e) for e in alone if isinstance(e, Ended)
    ]
    assert [(e.trial, e.step) for e in events if isinstance(e, Scored)].count(("2/0", 20)) == 1


class Always(Sound):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        raise ValueError("always")


def test_where_every_trial_raises_every_trial_fails_with_its_own_error() -> None:
    found = ends(Raises(), trials([BAD, BAD]), "plain")
    assert {event.status for event in found.values()} == {"failed"}


def test_memory_that_runs_out_is_no_trials_fault() -> None:
    class Large(Sound):
        def loss(self, model: nn.Module, batch: Batch) -> Tensor:
            raise MemoryError

    with pytest.raises(MemoryError):
        ends(Large(), trials([0, 1]), "plain")


def test_a_file_that_is_away_for_a_moment_is_no_trials_fault() -> None:
    class Once(Sound):
        calls = 0

        def loss(self, model: nn.Module, batch: Batch) -> Tensor:
            type(self).calls += 1
            if type(self).calls == 30:
                raise OSError("stale file handle")
            return super().loss(model, batch)

    with pytest.raises(OSError, match="stale"):
        ends(Once(), trials([0, 1]), "plain")


def test_a_failed_trial_is_kept_in_a_checkpoint() -> None:
    def made() -> Cohort:
        return Cohort(
            CohortSetup(Raises(), Raises().data(), Structure(SGD(), "constant", BATCH), trials([BAD, 0]), 8, "plain")
        )

    whole, first = made(), made()
    expected = {e.trial: e.status for e in whole.train() if isinstance(e, Ended)}
    while not first.ended:
        first.turn(4)
    resumed = made()
    resumed.load_state(copy.deepcopy(first.state()))
    list(resumed.train())
    assert {e.trial: e.status for e in resumed.ended} == expected == {"0/0": "failed", "1/0": "complete"}
    assert all(e.trace for e in resumed.ended if e.status == "failed")


def test_an_error_names_the_last_place_in_a_persons_code() -> None:
    try:
        Always().loss(nn.Linear(1, 1), ())
    except ValueError as error:
        assert located(error).startswith("ValueError: always (test_failing.py, line ")
