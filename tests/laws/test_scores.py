"""The eight laws of the engine, over every optimizer, schedule and task.

"The same" means the same bits: events are compared by the hexadecimal form of every number in them.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from espalier.core import checkpoint
from espalier.core.optimizers import SGD, Adam, AdamW, Optimizer
from espalier.core.order import Order, shuffled
from espalier.core.programs import PROGRAMS
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.programs.program import Program
from espalier.core.rows import seeded
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.task import Batch, Data, Task
from espalier.core.tasks.names import Lecture, Names
from espalier.core.training.averages import AVERAGE_EVERY
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Forked, Reported, Scored, Started
from espalier.core.training.history import history
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.tiers import examples

pytestmark = pytest.mark.each_value

STEPS, REPORTS, BATCH = 13, 3, 7
UNSCORED = Scoring()  # for trials that have no rungs
DIVERGENT = 1e38  # a rate at which every task's loss is NaN or infinite within two steps

OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(momentum=False),
    "momentum": SGD(),
    "Nesterov": SGD(nesterov=True),
    "Adam": Adam(),
    "AdamW": AdamW(),
}
COMMON = ("constant", "step", "cosine")
OTHERS = [kind for kind in SCHEDULES if kind not in COMMON]
PHASES = ((0.3, "cosine", 0.1, 1.0), (0.7, "exponential", 1.0, 0.05))
TASKS = ("names", "names with BatchNorm", "thermometer")


@dataclass(frozen=True)
class Case:
    """One task under one optimizer and one schedule, with or without warm-up."""

    task: str
    optimizer: str
    schedule: str
    warmup: float

    def __str__(self) -> str:
        return f"{self.task}, {self.optimizer}, {self.schedule}{' after warm-up' if self.warmup else ''}"

    @property
    def structure(self) -> Structure:
        return Structure(OPTIMIZERS[self.optimizer], self.schedule, BATCH, phases=PHASES)

    @property
    def hyper(self) -> Hyperparameters:
        """Numbers under which the case trains without diverging."""
        lr = 0.02 if self.optimizer.startswith("Adam") else 0.05 if self.task == "thermometer" else 0.1
        return Hyperparameters(
            lr=lr / 5 if self.task == "thermometer" else lr,
            decay_points=() if self.schedule == "cosine" else (4 / STEPS, 9 / STEPS),
            warmup=self.warmup,
            floor=0.1,
            momentum=0.0 if self.optimizer == "SGD" else 0.7,
            weight_decay=0.01,
        )

    def trials(self) -> list[Trial]:
        """Return five trials: two that share a trunk where the schedule lets them, one that diverges, two others."""
        hyper = self.hyper
        numbers = {
            "trunk": (3, hyper),
            "branch": (3, replace(hyper, decay_points=(4 / STEPS,), floor=0.2)),
            "diverging": (3, replace(hyper, lr=DIVERGENT)),
            "other": (4, replace(hyper, lr=hyper.lr / 3, momentum=0.3, weight_decay=0.0)),
            "slow": (3, replace(hyper, lr=hyper.lr / 50, decay_factor=0.5)),
        }
        return [Trial(key, seed, STEPS, numbers_, REPORTS) for key, (seed, numbers_) in numbers.items()]


CASES = [Case(*each) for each in itertools.product(TASKS, OPTIMIZERS, COMMON, (0.0, 3.5 / STEPS))]
CASES += [  # every other schedule once, with the tasks, the optimizers and the warm-up taking turns
    Case(TASKS[i % len(TASKS)], list(OPTIMIZERS)[i % len(OPTIMIZERS)], kind, i % 2 * 3.5 / STEPS)
    for i, kind in enumerate(OTHERS)
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_task = pytest.mark.parametrize("task_name", TASKS)
every_program = pytest.mark.parametrize(
    "program", [pytest.param(name, marks=[pytest.mark.slow] if name == "compiled" else []) for name in PROGRAMS]
)


def exact(value: Any) -> Any:
    """Return a form in which `==` means the same bits, NaN included."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return value


def stream(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return every event whole, in order."""
    return [exact(event.to_json()) for event in events]


def results(events: Iterable[Event]) -> dict[str, list[dict[str, Any]]]:
    """Return what each trial measured: its reports and its end, without who rode with whom."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if isinstance(event, Reported | Ended):
            written = exact(event.to_json()) | {"leader": ""}
            found.setdefault(written.pop("trial"), []).append(written)
    return found


class Engine:
    """Cohorts of some tasks, and each trial's results when it trains alone, computed once."""

    def __init__(self, tasks: Mapping[str, Task]):
        self.tasks = tasks
        self.data = {name: task.data() for name, task in tasks.items()}
        self._alone: dict[Any, list[dict[str, Any]]] = {}
        self._programs: dict[Any, Program] = {}

    def cohort(
        self,
        task: str,
        structure: Structure,
        trials: Sequence[Trial],
        lanes: int,
        program: str = "vmap",
        new: bool = False,
        scoring: Scoring = UNSCORED,
    ) -> Cohort:
        """Return a cohort whose program others have used before it, unless it must be `new`."""
        key = (task, structure.optimizer, program)
        if key not in self._programs:
            self._programs[key] = PROGRAMS[program](self.tasks[task], structure.optimizer)
        used = PROGRAMS[program](self.tasks[task], structure.optimizer) if new else self._programs[key]
        return Cohort(CohortSetup(self.tasks[task], self.data[task], structure, trials, lanes, used, scoring=scoring))

    def alone(self, task: str, structure: Structure, trial: Trial, program: str = "vmap") -> list[dict[str, Any]]:
        """Return the results of a trial that trains alone."""
        key = (task, structure, replace(trial, id=""), program)
        if key not in self._alone:
            self._alone[key] = results(self.cohort(task, structure, [trial], 1, program).train())[trial.id]
        return self._alone[key]

    def all_alone(
        self, task: str, structure: Structure, trials: Iterable[Trial], program: str = "vmap"
    ) -> dict[str, list[dict[str, Any]]]:
        return {trial.id: self.alone(task, structure, trial, program) for trial in trials}


class Regression(Task):
    """The sine of the sum of some inputs, by a model of any kind."""

    def __init__(self, make: Callable[[], nn.Module], inputs: tuple[int, ...] = (3,)):
        self.make, self.inputs = make, inputs

    def model(self) -> nn.Module:
        return self.make()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        x, y_B = batch
        return ((model(x).flatten(1).mean(1) - y_B) ** 2).mean()

    def data(self) -> Data:
        x = torch.randn(61, *self.inputs, generator=torch.Generator().manual_seed(0))
        y_N = torch.sin(x.flatten(1).sum(1))
        return Data((x[:50], y_N[:50]), (x[50:], y_N[50:]))


def through(layer: nn.Module) -> nn.Module:
    """Return a small network of odd sizes with a layer in the middle."""
    return nn.Sequential(nn.Linear(3, 9), layer, nn.Linear(9, 1))


@pytest.fixture(scope="session")
def engine(small_tasks: Mapping[str, Task]) -> Engine:
    odd = {"dropout": Regression(lambda: through(nn.Dropout(0.4))), "linear": Regression(lambda: nn.Linear(3, 1))}
    return Engine({**small_tasks, **odd})


@st.composite
def crowds(draw: st.DrawFn, tasks: Sequence[str] = TASKS, most: int = 7) -> tuple[str, Structure, list[Trial]]:
    """Draw a task, a structure and trials that may share a beginning, repeat each other, decay anywhere, or diverge."""
    case = draw(st.sampled_from([case for case in CASES if case.warmup == 0]))
    hypers = st.builds(
        Hyperparameters,
        lr=st.sampled_from((case.hyper.lr, case.hyper.lr / 10, DIVERGENT)),
        decay_points=st.lists(st.integers(0, STEPS - 1), max_size=3, unique=True).map(
            lambda steps: tuple(step / STEPS for step in sorted(steps))
        ),
        decay_factor=st.sampled_from((0.1, 0.5)),
        warmup=st.sampled_from((0.0, 0.2, 0.55)),
        floor=st.sampled_from((0.0, 0.3)),
        momentum=st.sampled_from((0.0, 0.9)),
        weight_decay=st.sampled_from((0.0, 0.02)),
    )
    each = st.tuples(st.sampled_from((0, 1)), hypers)
    drawn = draw(st.lists(each, min_size=1, max_size=most))
    trials = [Trial(f"t{i}", seed, STEPS, hyper, REPORTS) for i, (seed, hyper) in enumerate(drawn)]
    return draw(st.sampled_from(tasks)), case.structure, trials


# --- law 1: a lane equals a solo run ---------------------------------------------------------------------------------


batched = pytest.mark.parametrize("program", ("vmap", "native"))


@batched
@every_case
def test_a_lane_equals_a_solo_run(engine: Engine, case: Case, program: str) -> None:
    """An odd number of lanes with refills and parked branches, and a lane for everyone: the numbers of the solo run."""
    alone = engine.all_alone(case.task, case.structure, case.trials(), program)
    for lanes in (3, 5):
        together = engine.cohort(case.task, case.structure, case.trials(), lanes, program)
        assert results(together.train()) == alone, f"{lanes} lanes"


@examples(40)
@given(crowd=crowds(most=9), lanes=st.integers(1, 9))
def test_any_crowd_in_any_number_of_lanes_equals_its_solo_runs(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]], lanes: int
) -> None:
    task, structure, trials = crowd
    together = results(engine.cohort(task, structure, trials, lanes).train())
    assert together == engine.all_alone(task, structure, trials)


@batched
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_lane_equals_a_solo_run_at_the_sizes_of_the_lecture(
    optimizer: str, program: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Products of other sizes take other kernels: 27 symbols, 200 hidden units, batches of 32, and up to 64 lanes."""
    lecture_sizes(optimizer, program, tmp_path_factory)


def lecture_sizes(optimizer: str, program: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    letters, draw = "abcdefghijklmnopqrstuvwxyz", random.Random(1)
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join("".join(draw.choices(letters, k=6)) for _ in range(300)))
    engine = Engine({"names": Names(str(path), batchnorm=optimizer != "SGD", validation=100)})
    structure = Structure(OPTIMIZERS[optimizer], "step", 32)
    trials = [Trial(f"t{k}", k % 5, 6, Hyperparameters(lr=0.001 * (k + 1), momentum=0.9), reports=2) for k in range(64)]
    for lanes in (2, 3, 13, 64):
        together = results(engine.cohort("names", structure, trials[:lanes], lanes, program).train())
        chosen = [*trials[:lanes:7], trials[lanes - 1]]
        alone = engine.all_alone("names", structure, chosen, program)
        assert {t.id: together[t.id] for t in chosen} == alone, f"{lanes} lanes"


class Recurrent(nn.GRU):
    """A GRU that returns its outputs alone."""

    def forward(self, x_BTF: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x_BTF)[0]


def convolutions(*norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), *norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 3))


MODELS: dict[str, Task] = {
    "sigmoid": Regression(lambda: through(nn.Sigmoid())),
    "softplus": Regression(lambda: through(nn.Softplus())),
    "GELU": Regression(lambda: through(nn.GELU())),
    "SiLU": Regression(lambda: through(nn.SiLU())),
    "ELU": Regression(lambda: through(nn.ELU())),
    "Mish": Regression(lambda: through(nn.Mish())),
    "softmax": Regression(lambda: through(nn.Softmax(-1))),
    "LayerNorm": Regression(lambda: through(nn.LayerNorm(9))),
    "GroupNorm": Regression(lambda: through(nn.GroupNorm(3, 9))),
    "BatchNorm1d": Regression(lambda: through(nn.BatchNorm1d(9))),
    "Conv2d": Regression(convolutions, (1, 8, 8)),
    "BatchNorm2d": Regression(lambda: convolutions(nn.BatchNorm2d(8)), (1, 8, 8)),
    "Transformer": Regression(lambda: nn.TransformerEncoderLayer(6, 2, 13, 0.0, batch_first=True), (5, 6)),
    "GRU": Regression(lambda: Recurrent(5, 7, batch_first=True), (4, 5)),
}

NOT_NATIVE = {"Conv2d": "convolution", "BatchNorm2d": "convolution"}  # and by which operation one sees it


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of attention under vmap: a loop over the lanes
@batched
@pytest.mark.parametrize("model", MODELS)
def test_a_lane_equals_a_solo_run_in_a_model_of_any_kind(model: str, program: str) -> None:
    """The last few elements of a tensor, or the groups of a convolution, may go through other code at another K."""
    engine = Engine({model: MODELS[model]})
    structure = Structure(SGD(), "constant", BATCH)
    if program == "native" and model in NOT_NATIVE:
        made = NativeProgram(MODELS[model], structure.optimizer)
        assert NOT_NATIVE[model] in str(made.why_not(engine.data[model].train, BATCH))
        return
    trials = [Trial(f"t{k}", k % 3, 5, Hyperparameters(lr=0.02 * (k + 1), momentum=0.5), 1) for k in range(9)]
    alone = engine.all_alone(model, structure, trials, program)
    for lanes in (3, 4, 9):
        assert results(engine.cohort(model, structure, trials, lanes, program).train()) == alone, f"{lanes} lanes"


@pytest.mark.parametrize("lanes", (1, 2, 4))
def test_trials_of_different_lengths_give_the_numbers_of_their_solo_runs(engine: Engine, lanes: int) -> None:
    """At a constant rate they share a lane until the shorter ends; neither may see the other's reports."""
    case = Case("names", "momentum", "constant", 0.0)
    trials = [Trial(f"{steps}", 0, steps, case.hyper, REPORTS) for steps in (20, 7, 13, 31)]
    together = results(engine.cohort(case.task, case.structure, trials, lanes).train())
    assert together == engine.all_alone(case.task, case.structure, trials)


@pytest.mark.parametrize("lanes", (1, 2, 4))
def test_trials_that_report_at_different_steps_give_the_numbers_of_their_solo_runs(engine: Engine, lanes: int) -> None:
    case = Case("names", "Adam", "step", 0.0)
    trials = [Trial(f"{reports}", 0, STEPS, case.hyper, reports) for reports in (2, 3, 7, STEPS)]
    together = results(engine.cohort(case.task, case.structure, trials, lanes).train())
    assert together == engine.all_alone(case.task, case.structure, trials)


# --- law 2: a branch equals the run that was never forked ------------------------------------------------------------


@examples(40)
@given(
    case=st.sampled_from([case for case in CASES if case.schedule == "step" and not case.warmup]),
    decays=st.lists(st.sets(st.integers(0, STEPS - 1), max_size=3), min_size=2, max_size=6),
    lanes=st.integers(1, 5),
)
def test_a_branch_equals_the_run_that_was_never_forked(
    engine: Engine, case: Case, decays: list[set[int]], lanes: int
) -> None:
    """Forks at arbitrary steps, parked where there are more branches than lanes; no step is trained twice."""
    points = [tuple(step / STEPS for step in sorted(steps)) for steps in decays]
    trials = [Trial(f"t{i}", 0, STEPS, replace(case.hyper, decay_points=p), REPORTS) for i, p in enumerate(points)]
    cohort = engine.cohort(case.task, case.structure, trials, lanes)
    assert results(cohort.train()) == engine.all_alone(case.task, case.structure, trials)
    table_SCR = history(case.structure, trials, [0] * len(trials), STEPS)
    prefixes = {tuple(table_SCR[: s + 1, :, r].flatten().tolist()) for s in range(STEPS) for r in range(len(trials))}
    assert cohort.lane_steps == len(prefixes)
    assert cohort.steps_shared == STEPS * len(trials) - len(prefixes)


def test_a_fork_names_its_step_and_its_trunk(engine: Engine) -> None:
    case = Case("names", "momentum", "step", 0.0)
    hypers = {"never": (), "early": (3 / STEPS,), "late": (10 / STEPS,)}
    trials = [Trial(key, 0, STEPS, replace(case.hyper, decay_points=p), REPORTS) for key, p in hypers.items()]
    events = list(engine.cohort(case.task, case.structure, trials, 3).train())
    assert [(e.trial, e.step) for e in events if isinstance(e, Started)] == [("never", 0), ("early", 0), ("late", 0)]
    assert [(e.trial, e.step, e.trunk) for e in events if isinstance(e, Forked)] == [
        ("early", 3, "never"),
        ("late", 10, "never"),
    ]


def test_trials_that_warm_up_share_the_step_at_rate_zero(engine: Engine) -> None:
    """The first step of every warm-up has rate 0, whatever the peak: it is trained once, and the rates then part."""
    case = Case("names", "SGD", "cosine", 3.5 / STEPS)
    trials = [Trial(f"{lr}", 0, STEPS, replace(case.hyper, lr=lr), REPORTS) for lr in (0.01, 0.1, DIVERGENT)]
    cohort = engine.cohort(case.task, case.structure, trials, 2)
    events = list(cohort.train())
    assert [(e.trial, e.step) for e in events if isinstance(e, Forked)] == [("0.1", 1), (f"{DIVERGENT}", 1)]
    assert results(events) == engine.all_alone(case.task, case.structure, trials)


# --- law 3: a resumed run equals the uninterrupted run ---------------------------------------------------------------


def turns(cohort: Cohort) -> Iterator[list[Event]]:
    while not cohort.done:
        yield cohort.turn()


def counts(cohort: Cohort) -> tuple[int, ...]:
    """Return how many steps a cohort has trained, of lanes, of trials and of probes, and how many trials shared."""
    return cohort.lane_steps, cohort.work.trial_steps, cohort.work.probe_steps, cohort.steps_shared


def resumed(make: Callable[[], Cohort], kills: Sequence[int], path: Path) -> list[dict[str, Any]]:
    """Train, save and throw the cohort away after so many turns, go on in a new one, and so on; return all events."""
    seen: list[Event] = []
    cohort = make()
    for kill in kills:
        seen += itertools.chain.from_iterable(itertools.islice(turns(cohort), kill))
        counted = counts(cohort)
        checkpoint.save(path, cohort.state())
        cohort = make()
        cohort.load_state(checkpoint.load(path))
        assert counts(cohort) == counted, "what was trained before a kill is counted"
    seen += cohort.train()
    assert stream(cohort.ended) == stream(event for event in seen if isinstance(event, Ended))
    return stream(seen)


@every_case
def test_a_resumed_run_equals_the_uninterrupted_run(engine: Engine, case: Case, tmp_path: Path) -> None:
    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, case.trials(), lanes=3, new=True)

    whole = stream(engine.cohort(case.task, case.structure, case.trials(), lanes=3).train())
    kill = random.Random(str(case)).randint(1, 6)
    assert resumed(make, [kill], tmp_path / "cohort.pt") == whole, f"killed after {kill} turns"


@every_program
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_may_be_killed_after_any_turn(engine: Engine, optimizer: str, program: str, tmp_path: Path) -> None:
    """Before the first turn too, and after the last; with branches parked, a queue waiting and a lane that diverged."""
    case = Case("names with BatchNorm", optimizer, "step", 1 / STEPS)

    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, case.trials(), lanes=2, program=program)

    by_turn = list(turns(make()))
    whole = stream(itertools.chain.from_iterable(by_turn))
    wrong = [kill for kill in range(len(by_turn) + 1) if resumed(make, [kill], tmp_path / "cohort.pt") != whole]
    assert not wrong, f"other events after a kill after these turns of {len(by_turn)}"


def test_a_run_may_be_killed_between_two_reports(engine: Engine, tmp_path: Path) -> None:
    """Losses and ratios that no report has carried yet survive; a turn without any event is a kill point too.

    Each cohort has a program of its own, which traces its step anew.
    """
    case = Case("names", "Adam", "cosine", 0.1)
    trials = [Trial(f"t{seed}", seed, 150, case.hyper, reports=1) for seed in (0, 1)]

    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, trials, lanes=2, new=True)

    by_turn = list(turns(make()))
    assert [] in by_turn
    whole = stream(itertools.chain.from_iterable(by_turn))
    for kill in range(len(by_turn)):
        assert resumed(make, [kill], tmp_path / "cohort.pt") == whole


@examples(30)
@given(crowd=crowds(most=5), lanes=st.integers(1, 4), kills=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_a_run_may_be_killed_again_and_again(
    engine: Engine,
    crowd: tuple[str, Structure, list[Trial]],
    lanes: int,
    kills: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def make() -> Cohort:
        return engine.cohort(*crowd, lanes)

    assert resumed(make, kills, tmp_path_factory.getbasetemp() / "again.pt") == stream(make().train())


@pytest.mark.parametrize(
    "program, lanes, tasks",
    [
        ("plain", 1, [*TASKS, "dropout"]),
        ("native", 3, TASKS),
        pytest.param("compiled", 3, [TASKS[1]], marks=pytest.mark.slow),
        ("captured", 3, TASKS),
    ],
)
@examples(20)
@given(data=st.data(), kills=st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_by_the_other_programs_a_resumed_run_equals_the_uninterrupted_run(
    engine: Engine,
    program: str,
    lanes: int,
    tasks: list[str],
    data: st.DataObject,
    kills: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    crowd = data.draw(crowds(tasks=tasks))

    def make() -> Cohort:
        return engine.cohort(*crowd, lanes, program)

    assert resumed(make, kills, tmp_path_factory.getbasetemp() / f"{program}.pt") == stream(make().train())


def test_a_resumed_run_counts_the_steps_of_the_uninterrupted_run(engine: Engine, tmp_path: Path) -> None:
    """Those of its probes too, whether they ended before the kill, were training, or came after it."""
    case = Case("names", "SGD", "step", 0.0)
    trials = with_rungs([trial for trial in case.trials() if trial.id != "diverging"], [6])

    def make() -> Cohort:
        return engine.cohort(case.task, case.structure, trials, lanes=2, scoring=Scoring(("probe",), 3))

    cohort = make()
    saved = [cohort.state() for _ in turns(cohort)]
    whole = counts(cohort)
    assert cohort.work.probe_steps == 3 * 3, "two of the trials share a lane up to the rung, and so a probe"
    for state in saved[::2]:
        checkpoint.save(tmp_path / "cohort.pt", state)
        again = make()
        again.load_state(checkpoint.load(tmp_path / "cohort.pt"))
        list(again.train())
        assert counts(again) == whole


def test_a_stop_that_was_asked_for_before_a_kill_is_not_forgotten(engine: Engine, tmp_path: Path) -> None:
    case = Case("names", "SGD", "constant", 0.0)

    def asked() -> tuple[Cohort, list[Event]]:
        cohort = engine.cohort(case.task, case.structure, case.trials(), lanes=5)
        seen = cohort.turn()
        cohort.stop("slow", "enough")
        return cohort, seen

    cohort, seen = asked()
    whole = [*seen, *cohort.train()]
    assert [event.evidence for event in whole if isinstance(event, Ended) and event.status == "stopped"] == ["enough"]
    cohort, seen = asked()
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    again = engine.cohort(case.task, case.structure, case.trials(), lanes=5)
    again.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    assert stream([*seen, *again.train()]) == stream(whole)


def test_a_saved_state_does_not_change_while_its_cohort_goes_on(engine: Engine) -> None:
    case = Case("names with BatchNorm", "Adam", "step", 0.0)
    cohort = engine.cohort(case.task, case.structure, case.trials(), lanes=3)
    seen = [*cohort.turn(), *cohort.turn()]
    state = cohort.state()
    whole = [*seen, *cohort.train()]
    for _ in range(2):
        again = engine.cohort(case.task, case.structure, case.trials(), lanes=3)
        again.load_state(state)
        assert stream([*seen, *again.train()]) == stream(whole)


# --- law 4: a NaN lane stays alone -----------------------------------------------------------------------------------


@every_case
def test_a_lane_that_diverges_does_not_change_its_neighbours(engine: Engine, case: Case) -> None:
    calm = [trial for trial in case.trials() if trial.id != "diverging"]
    wild = [Trial(f"wild {seed}", seed, STEPS, replace(case.hyper, lr=DIVERGENT), REPORTS) for seed in (3, 8)]
    beside = results(engine.cohort(case.task, case.structure, [wild[0], *calm, wild[1]], lanes=6).train())
    assert {trial.id: beside[trial.id] for trial in calm} == results(
        engine.cohort(case.task, case.structure, calm, lanes=4).train()
    )
    assert all(beside[trial.id][-1]["status"] == "diverged" for trial in wild)


LINEAR = Case("linear", "SGD", "constant", 0.0)
WILD = Trial("wild", 0, 150, Hyperparameters(lr=10.0), REPORTS)  # its loss grows at each step until it is infinite


def end_of_the_wild(engine: Engine, program: str) -> Event:
    """Return how it ends beside a calm trial, with a point of its curve for each step."""
    calm = replace(WILD, id="calm", hyper=Hyperparameters(lr=0.01))
    task, data, structure = engine.tasks["linear"], engine.data["linear"], replace(LINEAR.structure, dtype="float64")
    cohort = Cohort(
        CohortSetup(task, data, structure, [calm, WILD], 2, program, ratio_samples=37, curve_points=WILD.steps)
    )
    ends = {event.trial: event for event in cohort.train() if isinstance(event, Ended)}
    assert (ends["calm"].status, ends["wild"].status) == ("complete", "diverged")
    return ends["wild"]


@pytest.mark.parametrize("program", ("plain", "native", "vmap"))
def test_a_diverged_trial_ends_at_the_first_loss_that_is_no_number(engine: Engine, program: str) -> None:
    """As it is in an ordinary training loop, and in the midst of a turn; its curve has every loss before that one."""
    end = end_of_the_wild(engine, program)
    losses, _ = trained_by_pytorch(engine.tasks["linear"], engine.data["linear"], LINEAR, WILD)
    first = next(step for step, loss in enumerate(losses) if not math.isfinite(loss))
    assert end.step == first
    assert first % (WILD.steps // REPORTS) > 1, "in the midst of a turn"
    assert [step for step, _ in end.curve] == list(range(1, first + 1))
    assert [loss for _, loss in end.curve] == pytest.approx(losses[:first], rel=1e-6)


@pytest.mark.parametrize("program", ("plain", "native", "vmap"))
def test_the_ratios_of_a_diverged_trial_are_those_before_its_end(engine: Engine, program: str) -> None:
    end = end_of_the_wild(engine, program)
    assert [row[0] for row in end.ratios] == list(range(0, end.step, 4))
    assert all(math.isfinite(ratio) for row in end.ratios for ratio in row)


@every_task
@pytest.mark.parametrize("lanes", (2, 3, 5))
def test_gradients_beside_rows_of_nan_have_the_same_bits(engine: Engine, task_name: str, lanes: int) -> None:
    program = PROGRAMS["vmap"](engine.tasks[task_name], SGD())
    rows, batch = stacked(program, engine.data[task_name], range(lanes))
    losses, gradients, after = program.gradients(rows, batch)
    for lane in range(lanes):
        broken = {
            name: torch.full_like(tensor, math.inf if name.startswith("buffer.") else math.nan)
            for name, tensor in rows.items()
        }
        for name, tensor in rows.items():
            broken[name][lane] = tensor[lane]
        again = program.gradients(broken, batch)
        assert torch.equal(again[0][lane], losses[lane])
        assert all(torch.equal(again[1][name][lane], gradients[name][lane]) for name in gradients)
        assert all(torch.equal(again[2][name][lane], after[name][lane]) for name in after)
        assert not again[0].isfinite()[[k for k in range(lanes) if k != lane]].any()


@batched
@every_task
@pytest.mark.parametrize("lanes", (2, 3, 5))
def test_a_step_beside_rows_of_nan_has_the_same_bits(engine: Engine, task_name: str, lanes: int, program: str) -> None:
    made, train = PROGRAMS[program](engine.tasks[task_name], Adam()), engine.data[task_name].train
    index_NB = torch.stack([shuffled(k, len(train[0]), BATCH)(0, 1)[0] for k in range(lanes)])
    columns_C1 = torch.tensor([0.1, 0.5, 1e-8, 0.01, 0.1, 0.999, 0.001])[:, None, None]
    fresh, _ = stacked(made, engine.data[task_name], range(lanes))

    def stepped(rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        rows = {name: tensor.clone() for name, tensor in rows.items()}
        losses, _ = made.step(rows, train, index_NB, columns_C1.expand(-1, lanes, 1), (0, 0))
        return losses, rows

    losses, after = stepped(fresh)
    for lane in range(lanes):
        broken = {name: torch.full_like(tensor, math.nan) for name, tensor in fresh.items()}
        for name, tensor in fresh.items():
            broken[name][lane] = tensor[lane]
        again, rows = stepped(broken)
        assert torch.equal(again[lane], losses[lane])
        assert all(torch.equal(rows[name][lane], after[name][lane]) for name in rows)


def stacked(program: Any, data: Data, seeds: Iterable[int]) -> tuple[dict[str, Tensor], Batch]:
    """Return the rows of fresh lanes, and a batch of other examples for each."""
    rows = [program.fresh_row(seed) for seed in seeds]
    index_NB = torch.stack([shuffled(k, len(data.train[0]), BATCH)(0, 1)[0] for k in range(len(rows))])
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, tuple(t[index_NB] for t in data.train)


# --- law 5: permuting the trials permutes the results ----------------------------------------------------------------


@every_case
def test_permuting_the_trials_permutes_the_results(engine: Engine, case: Case) -> None:
    trials = case.trials()
    permuted = random.Random(str(case)).sample(trials, len(trials))
    in_order, again = (
        results(engine.cohort(case.task, case.structure, order, 2).train()) for order in (trials, permuted)
    )
    assert again == in_order


@examples(20)
@given(crowd=crowds(), lanes=st.integers(1, 4), draw=st.randoms(use_true_random=False))
def test_any_permutation_of_any_crowd_permutes_the_results(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]], lanes: int, draw: random.Random
) -> None:
    task, structure, trials = crowd
    permuted = draw.sample(trials, len(trials))
    together, again = (results(engine.cohort(task, structure, order, lanes).train()) for order in (trials, permuted))
    assert together == again


# --- law 6: K = 1 is PyTorch -----------------------------------------------------------------------------------------


def torch_optimizer(name: str, hyper: Hyperparameters, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    if name in ("Adam", "AdamW"):
        kind = torch.optim.Adam if name == "Adam" else torch.optim.AdamW
        return kind(parameters, lr=hyper.lr, weight_decay=hyper.get("weight_decay", 0.0))
    nesterov = name == "Nesterov"
    momentum = 0.0 if name == "SGD" else hyper.get("momentum", 0.0)
    decay = hyper.get("weight_decay", 0.0)
    return torch.optim.SGD(parameters, hyper.lr, momentum, weight_decay=decay, nesterov=nesterov)


def torch_scheduler(name: str, trial: Trial, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """PyTorch's own schedule where it has one; with warm-up, LambdaLR of the formula written out."""
    hyper, steps = trial.hyper, trial.steps
    warmup, floor, decay = hyper.get("warmup", 0.0), hyper.get("floor", 0.0), hyper.get("decay_factor", 0.1)
    if not warmup and name == "step":
        milestones = [math.ceil(point * steps - 1e-9) for point in hyper.decay_points]
        return lr_scheduler.MultiStepLR(optimizer, milestones, decay)
    if not warmup and name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps, hyper.lr * floor)
    if name not in COMMON:  # held against PyTorch's own in tests/core/schedules/test_schedule.py
        structure = Structure(schedule=name, phases=PHASES)
        table = history(structure, [trial], [0], steps + 1)[:, 0, 0] / hyper.lr
        return lr_scheduler.LambdaLR(optimizer, lambda step: table[step].item())

    def factor(step: int) -> float:
        u = step / steps
        ramp = min(1.0, u / warmup) if warmup else 1.0
        if name == "step":
            return ramp * decay ** sum(u >= point for point in hyper.decay_points)
        if name == "cosine":
            share = max(0.0, (u - warmup) / (1 - warmup))
            return ramp * (floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2)
        return ramp

    return lr_scheduler.LambdaLR(optimizer, factor)


def trained_by_pytorch(task: Task, data: Data, case: Case, trial: Trial) -> tuple[list[float], float]:
    """Return the losses of an ordinary training loop in float64, and the validation loss at its end."""
    data = data.to("cpu", torch.float64)
    with seeded(trial.seed):
        model = task.model().to(torch.float64)
    optimizer = torch_optimizer(case.optimizer, trial.hyper, model.parameters())
    scheduler = torch_scheduler(case.schedule, trial, optimizer)
    losses = []
    for indexes in task.order(trial.seed, len(data.train[0]), BATCH)(0, trial.steps):
        loss = task.loss(model, tuple(tensor[indexes] for tensor in data.train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        return losses, task.loss(model, data.valid).item()


@every_case
def test_one_lane_is_pytorch(engine: Engine, case: Case) -> None:
    """The same losses at every step and the same validation, by any program, to 1e-6 relative in float64."""
    hyper = replace(case.hyper, decay_points=(0.3, 0.7)) if case.schedule == "step" else case.hyper
    trial = Trial("t", 5, 30, hyper, reports=3)
    task, data = engine.tasks[case.task], engine.data[case.task]
    losses, validation = trained_by_pytorch(task, data, case, trial)
    compiled = str(case) in ("names with BatchNorm, AdamW, cosine after warm-up", "names, Nesterov, step")
    native = case.schedule == "step" and not case.warmup  # each step anew, in float64
    for program in PROGRAMS if compiled else ("plain", "native", "vmap") if native else ("plain", "vmap"):
        cohort = Cohort(CohortSetup(task, data, replace(case.structure, dtype="float64"), [trial], 1, program))
        *_, end = cohort.train()
        assert [step for step, _ in end.curve] == list(range(1, 31))
        assert [loss for _, loss in end.curve] == pytest.approx(losses, rel=1e-6)
        assert end.values["valid_loss"] == pytest.approx(validation, rel=1e-6)


# --- law 7: the gradient of a lane is the gradient of its own mean loss ----------------------------------------------


@every_task
@pytest.mark.parametrize("lanes", (1, 2, 3, 7))
def test_the_gradient_of_a_lane_is_the_gradient_of_its_own_mean_loss(
    engine: Engine, task_name: str, lanes: int
) -> None:
    task, data = engine.tasks[task_name], engine.data[task_name].to("cpu", torch.float64)
    for name in ("vmap",) if lanes > 1 else ("vmap", "plain"):
        program = PROGRAMS[name](task, SGD(), torch.float64)
        rows, batch = stacked(program, data, range(lanes))
        losses_N, gradients, _ = program.gradients(rows, batch)
        for lane in range(lanes):
            with seeded(lane):
                model = task.model().to(torch.float64)
            loss = task.loss(model, tuple(tensor[lane] for tensor in batch))
            named = dict(model.named_parameters())
            expected = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
            assert losses_N[lane].item() == pytest.approx(loss.item(), rel=1e-12)
            assert list(gradients) == list(expected)
            largest = max(float(gradient.abs().max()) for gradient in expected.values())
            for key, gradient in expected.items():
                torch.testing.assert_close(gradients[key][lane], gradient, rtol=1e-9, atol=1e-12 * largest)


@every_task
def test_a_step_of_a_lane_does_not_shrink_when_lanes_are_added(engine: Engine, task_name: str) -> None:
    """No 1/K anywhere, no joint clipping: the lane beside 8 others moves exactly as the lane beside none."""
    program = PROGRAMS["vmap"](engine.tasks[task_name], SGD())
    rows, batch = stacked(program, engine.data[task_name], range(9))
    rows |= {name: tensor * 100 for name, tensor in rows.items() if name.startswith("theta.")}
    _, many, _ = program.gradients(rows, batch)
    for lane in range(9):
        pair = torch.tensor([lane, lane])
        two = tuple(tensor[pair] for tensor in batch)
        _, alone, _ = program.gradients({name: tensor[pair] for name, tensor in rows.items()}, two)
        assert all(torch.equal(alone[name][0], many[name][lane]) for name in many)


# --- law 8: the order of data is a pure function of (seed, step) -----------------------------------------------------


@given(
    seed=st.integers(0, 2**32),
    examples=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), min_size=1, max_size=6),
)
def test_the_order_of_data_depends_on_seed_and_step_alone(
    seed: int, examples: int, batch_size: int, cuts: list[tuple[int, int]]
) -> None:
    """Asked in any pieces, in any order, with other seeds asked in between: the same examples."""
    whole = shuffled(seed, examples, batch_size)(0, 50)
    order = shuffled(seed, examples, batch_size)
    for first, length in cuts:
        shuffled(seed + 1, examples, batch_size)(first, first + 1)
        assert torch.equal(order(first, first + length), whole[first : first + length])


@given(seed=st.integers(0, 2**32), batches=st.integers(1, 9), batch_size=st.integers(1, 9), epoch=st.integers(0, 5))
def test_an_epoch_covers_each_example_once(seed: int, batches: int, batch_size: int, epoch: int) -> None:
    examples = batches * batch_size
    seen = shuffled(seed, examples, batch_size)(epoch * batches, (epoch + 1) * batches)
    assert sorted(seen.flatten().tolist()) == list(range(examples))


@pytest.mark.parametrize("kind", (Names, Lecture))
def test_every_task_draws_its_order_from_seed_and_step_alone(kind: type[Names], words_file: Path) -> None:
    order: Order = kind(str(words_file)).order(11, 436, BATCH)
    whole = kind(str(words_file)).order(11, 436, BATCH)(0, 90)
    for first, last in [(0, 64), (64, 90), (3, 7), (70, 71), (0, 1), (1, 90)]:
        torch.manual_seed(first)
        assert torch.equal(order(first, last), whole[first:last])
    assert not torch.equal(kind(str(words_file)).order(12, 436, BATCH)(0, 90), whole)


def test_a_lane_sees_the_examples_of_its_seed_and_step(engine: Engine) -> None:
    """With a rate of 0 nothing moves, so every loss says which examples it was taken on."""
    case = Case("names", "SGD", "constant", 0.0)
    trials = [Trial(f"t{seed}", seed, STEPS, replace(case.hyper, lr=0.0), reports=2) for seed in (0, 1, 2)]
    ends = {event.trial: event for event in engine.cohort(case.task, case.structure, trials, 2).train()}
    task, data = engine.tasks[case.task], engine.data[case.task]
    for trial in trials:
        with seeded(trial.seed):
            model = task.model()
        indexes = task.order(trial.seed, len(data.train[0]), BATCH)(0, STEPS)
        losses = [task.loss(model, tuple(tensor[i] for tensor in data.train)).item() for i in indexes]
        assert [loss for _, loss in ends[trial.id].curve] == pytest.approx(losses, rel=1e-6)


# --- scores at rungs: they change nothing, and are what their names say ----------------------------------------------

EVERY_SCORE = ("value", "probe", "cooldown", "average")


def with_rungs(trials: Sequence[Trial], rungs: Iterable[int]) -> list[Trial]:
    return [replace(trial, rungs=tuple(sorted(rungs))) for trial in trials]


def scores(events: Iterable[Event]) -> dict[tuple[str, int, str], Any]:
    """Return the values of every score by trial, rung and kind; each is said once."""
    said = [event for event in events if isinstance(event, Scored)]
    found = {(event.trial, event.step, event.score): exact(dict(event.values)) for event in said}
    assert len(found) == len(said)
    return found


@examples(40)
@given(
    crowd=crowds(),
    lanes=st.integers(1, 9),
    rungs=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=3),
    kinds=st.sets(st.sampled_from(EVERY_SCORE), min_size=1),
    steps=st.integers(1, 5),
)
def test_scores_change_no_trial_and_are_those_of_a_solo_run(
    engine: Engine,
    crowd: tuple[str, Structure, list[Trial]],
    lanes: int,
    rungs: set[int],
    kinds: set[str],
    steps: int,
) -> None:
    task, structure, bare = crowd
    trials, scoring = with_rungs(bare, rungs), Scoring(tuple(sorted(kinds)), steps)
    cohort = engine.cohort(task, structure, trials, lanes, scoring=scoring)
    events = list(cohort.train())
    assert results(events) == engine.all_alone(task, structure, bare)
    alone: dict[tuple[str, int, str], Any] = {}
    for trial in trials:
        alone |= scores(engine.cohort(task, structure, [trial], 1, scoring=scoring).train())
    assert scores(events) == alone
    ends = {event.trial: event.step for event in events if isinstance(event, Ended)}
    passed = {(trial.id, rung) for trial in trials for rung in rungs if rung <= ends[trial.id]}
    assert {(trial, rung, kind) for trial, rung in passed for kind in kinds} >= set(alone)
    complete = {event.trial for event in events if isinstance(event, Ended) and event.status == "complete"}
    assert {key for key in alone if key[0] in complete} == {
        (trial, rung, kind) for trial, rung in passed for kind in kinds if trial in complete
    }
    if len(complete) == len(trials):  # one that diverges is noticed at the end of a stretch
        plain = engine.cohort(task, structure, bare, lanes)
        list(plain.train())
        assert cohort.steps_shared == plain.steps_shared
        assert cohort.lane_steps - cohort.work.probe_steps == plain.lane_steps


@examples(25)
@given(
    crowd=crowds(),
    lanes=st.integers(1, 5),
    rungs=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=3),
    kills=st.lists(st.integers(0, 8), min_size=1, max_size=3),
)
def test_a_resumed_run_says_the_same_scores(
    engine: Engine,
    crowd: tuple[str, Structure, list[Trial]],
    lanes: int,
    rungs: set[int],
    kills: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    task, structure, trials = crowd[0], crowd[1], with_rungs(crowd[2], rungs)

    def make() -> Cohort:
        return engine.cohort(task, structure, trials, lanes, scoring=Scoring(EVERY_SCORE, 3))

    assert resumed(make, kills, tmp_path_factory.getbasetemp() / "rungs.pt") == stream(make().train())


@examples(25)
@given(
    crowd=crowds(),
    lanes=st.integers(1, 5),
    rungs=st.sets(st.integers(1, STEPS - 1), max_size=3),
    turns_=st.integers(0, 12),
)
def test_a_cohort_repeats_what_its_trials_have_said(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]], lanes: int, rungs: set[int], turns_: int
) -> None:
    def plain(events: Iterable[Event]) -> list[dict[str, Any]]:
        bare = (replace(e, verdict="", evidence="", ratios=()) if isinstance(e, Reported) else e for e in events)
        return sorted(stream(bare), key=str)

    cohort = engine.cohort(*crowd[:2], with_rungs(crowd[2], rungs), lanes, scoring=Scoring(EVERY_SCORE, 2))
    seen = list(itertools.chain.from_iterable(itertools.islice(turns(cohort), turns_)))
    assert plain(cohort.events_so_far()) == plain(seen)
    again = engine.cohort(*crowd[:2], with_rungs(crowd[2], rungs), lanes, scoring=Scoring(EVERY_SCORE, 2))
    again.load_state(cohort.state())
    assert stream(again.events_so_far()) == stream(cohort.events_so_far())


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_probe_is_the_run_that_decays_there_and_a_value_is_the_validation_there(
    engine: Engine, task_name: str, optimizer: str
) -> None:
    case = Case(task_name, optimizer, "step", 0.0)
    hyper = replace(case.hyper, decay_points=())
    trial = Trial("t", 3, STEPS, hyper, STEPS, rungs=(5,))
    found = scores(engine.cohort(task_name, case.structure, [trial], 2, scoring=Scoring(EVERY_SCORE, 4)).train())
    decaying = replace(trial, rungs=(), hyper=replace(hyper, decay_points=(5 / STEPS,), decay_factor=0.1))

    def values_by_step(trial: Trial) -> dict[int, Mapping[str, float]]:
        events = engine.cohort(task_name, case.structure, [trial], 2).train()
        return {event.step: event.values for event in events if isinstance(event, Reported)}

    reports = values_by_step(decaying)
    valid = {step: exact({k: v for k, v in values.items() if k[:5] == "valid"}) for step, values in reports.items()}
    assert found["t", 5, "probe"] == valid[9]
    assert found["t", 5, "value"] == valid[5]
    constant = values_by_step(replace(trial, rungs=()))
    assert found["t", 5, "cooldown"]["valid_loss"] == constant[9]["valid_loss"].hex(), "a constant rate stays"


def test_the_cooldown_falls_in_a_line_to_the_rate_at_the_end() -> None:
    structure = Structure(SGD(), "cosine")
    trial = Trial("t", 0, 100, Hyperparameters(lr=2.0, floor=0.1))
    lr_S = history(structure, [trial.probed(50, 10, None)], [50], 10)[:, 0, 0]
    whole_S = history(structure, [trial], [0], 100)[:, 0, 0]
    line = [whole_S[50] + (whole_S[99] - whole_S[50]) * i / 10 for i in range(1, 11)]
    torch.testing.assert_close(lr_S, torch.stack(line))
    assert float(lr_S[-1]) == pytest.approx(float(whole_S[99]))


def published_power(width: float) -> float:
    """Return the power g of an average so wide, a share of the steps so far, to the two decimals that the paper gives.

    width = sqrt((g + 1) / ((g + 2)^2 (g + 3)))   (Karras et al. 2024, arXiv:2312.02696, sigma_rel)
    """
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    power = float(max(roots.real))
    assert math.sqrt((power + 1) / ((power + 2) ** 2 * (power + 3))) == pytest.approx(width)
    return round(power, 2)


@pytest.mark.parametrize("task_name", TASKS)
def test_the_average_is_that_of_the_weights_at_every_eighth_step(engine: Engine, task_name: str) -> None:
    case = Case(task_name, "momentum", "constant", 0.0)
    rung = 4 * AVERAGE_EVERY + 3
    trial = Trial("t", 3, rung + 5, case.hyper, rung + 5, rungs=(rung,))
    cohort = engine.cohort(task_name, case.structure, [trial], 2, scoring=Scoring(("average",)))
    mean: dict[str, Tensor] = {}
    said: list[Event] = []
    while not said:
        said = [event for event in cohort.turn() if isinstance(event, Scored)]
        row, step = cohort.pool.rows.row(0), cohort.pool.active[0].step
        weights = {name: t.double() for name, t in row.items() if name.startswith(("theta.", "buffer."))}
        if step % AVERAGE_EVERY == 0:
            beta = (1 - AVERAGE_EVERY / step) ** (published_power(0.10) + 1)
            mean = {name: beta * mean.get(name, 0) + (1 - beta) * value for name, value in weights.items()}
    averaged = row | {name: value.float() for name, value in mean.items()}
    expected = cohort.program.evaluate(averaged, cohort.data.valid)
    assert said[0].values["valid_loss"] == pytest.approx(expected["loss"], rel=1e-5)
    raw = cohort.program.evaluate(row, cohort.data.valid)["loss"]
    assert abs(raw - expected["loss"]) > 1e-4 * raw, "an average that is the last weights would pass"


@batched
def test_averages_of_lanes_of_different_ages_are_those_of_solo_runs_taken_step_by_step(
    engine: Engine, program: str
) -> None:
    """However many steps a turn takes, no lane's eighth step is passed over on the way.

    The model has no matrix, whose ratios would be taken at every step.
    """
    case = Case("thermometer", "momentum", "constant", 0.0)
    lengths = {"early": 13, "middle": 61, "late": 61, "last": 45}
    trials = [
        Trial(key, seed, steps, case.hyper, reports=1, rungs=tuple(rung for rung in (11, 37, 44) if rung < steps))
        for seed, (key, steps) in enumerate(lengths.items())
    ]
    scoring = Scoring(("average",))
    alone: dict[tuple[str, int, str], Any] = {}
    for trial in trials:
        cohort = engine.cohort(case.task, case.structure, [trial], 1, program, scoring=scoring)
        events: list[Event] = []
        while not cohort.done:
            events += cohort.turn(1)
        alone |= scores(events)
    assert len(alone) == 1 + 3 * 3
    together = engine.cohort(case.task, case.structure, trials, 2, program, scoring=scoring)
    assert scores(together.train()) == alone


@pytest.mark.parametrize("kind", EVERY_SCORE)
def test_a_trial_that_is_stopped_at_its_rung_frees_its_lane_and_its_neighbours_go_on(engine: Engine, kind: str) -> None:
    case = Case("names", "SGD", "step", 0.0)
    trials = with_rungs(case.trials(), [6])
    cohort = engine.cohort(case.task, case.structure, trials, lanes=3, scoring=Scoring((kind,), 3))
    events: list[Event] = []
    while not cohort.done:
        events += cohort.turn()
        if any(isinstance(event, Scored) and event.trial == "trunk" for event in events):
            cohort.stop("trunk", "it is the worse one")
    found = results(events)
    assert found["trunk"][-1]["status"] == "stopped"
    assert found["trunk"][-1]["step"] == 6 or kind == "value"
    others = [trial for trial in case.trials() if trial.id != "trunk"]
    assert {t.id: found[t.id] for t in others} == engine.all_alone(case.task, case.structure, others)


# --- the other programs: bits of their own, at every width ------------------------------------------------------------


@pytest.mark.parametrize(
    "program, tasks, widths",
    [
        ("native", TASKS, range(1, 10)),
        ("compiled", ["names with BatchNorm"], range(1, 10)),
        ("captured", TASKS, (1, 3, 5, 7)),
    ],
)
@examples(30)
@given(data=st.data(), draw=st.randoms(use_true_random=False))
def test_by_the_other_programs_any_crowd_in_any_order_equals_its_solo_runs(
    engine: Engine, program: str, tasks: list[str], widths: Sequence[int], data: st.DataObject, draw: random.Random
) -> None:
    """Refills, forks, parked branches and neighbours that diverge.

    A captured program keeps a width, a power of two; on a CPU its bits are those of other widths only where a row is
    spare, so its lanes are odd here.
    """
    (task, structure, trials), lanes = data.draw(crowds(tasks=tasks)), data.draw(st.sampled_from(widths))
    mixed = draw.sample(trials, len(trials))
    together = results(engine.cohort(task, structure, mixed, lanes, program).train())
    assert together == engine.all_alone(task, structure, trials, program)


def test_the_captured_program_gives_the_numbers_of_the_list_it_captured(engine: Engine) -> None:
    for case in CASES[:: len(COMMON)]:
        captured = results(engine.cohort(case.task, case.structure, case.trials(), 3, "captured").train())
        assert captured == results(engine.cohort(case.task, case.structure, case.trials(), 3).train())


@pytest.mark.slow
def test_by_the_compiled_program_a_lane_equals_a_solo_run_at_the_sizes_of_the_lecture(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lecture_sizes("Nesterov", "compiled", tmp_path_factory)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task_name", TASKS)
def test_by_the_compiled_program_every_optimizer_and_task_keeps_the_laws(
    engine: Engine, task_name: str, optimizer: str, tmp_path: Path
) -> None:
    for schedule, warmup in itertools.product(COMMON, (0.0, 3.5 / STEPS)):
        case = Case(task_name, optimizer, schedule, warmup)

        def make(case: Case = case) -> Cohort:
            return engine.cohort(case.task, case.structure, case.trials(), 3, "compiled")

        whole = list(make().train())
        assert results(whole) == engine.all_alone(case.task, case.structure, case.trials(), "compiled")
        assert resumed(make, [2, 3], tmp_path / "cohort.pt") == stream(whole)


# --- the plain program: one lane at a time, any model ----------------------------------------------------------------


@examples(20)
@given(crowd=crowds(tasks=[*TASKS, "dropout"]))
def test_by_the_plain_program_any_crowd_equals_its_solo_runs(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]]
) -> None:
    """Refills, forks and parked branches in one lane; dropout masks come from (seed, step), not from what ran."""
    task, structure, trials = crowd
    together = results(engine.cohort(task, structure, trials, 1, "plain").train())
    assert together == engine.all_alone(task, structure, trials, "plain")


def test_dropout_draws_another_mask_at_each_step_and_for_each_seed(engine: Engine) -> None:
    task, data = engine.tasks["dropout"], engine.data["dropout"]
    program = PROGRAMS["plain"](task, SGD())
    rows, batch = stacked(program, data, [0])
    losses = {stream_: program.gradients(rows, batch, stream_)[0].item() for stream_ in [(0, 0), (0, 1), (1, 0)]}
    assert len(set(losses.values())) == 3
    assert program.gradients(rows, batch, (0, 1))[0].item() == losses[0, 1]
