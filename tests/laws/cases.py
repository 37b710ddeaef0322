"""What the laws of the engine are held on: every optimizer, schedule and task, and results bit for bit.

"The same" means the same bits: events are compared by the hexadecimal form of every number in them.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core.optimizers import SGD, Adam, AdamW, Optimizer
from espalier.core.order import shuffled
from espalier.core.programs import PROGRAMS
from espalier.core.programs.program import Program
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.task import Batch, Data, Task
from espalier.core.tasks.names import Names
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

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


batched = pytest.mark.parametrize("program", ("vmap", "native"))


def stacked(program: Any, data: Data, seeds: Iterable[int]) -> tuple[dict[str, Tensor], Batch]:
    """Return the rows of fresh lanes, and a batch of other examples for each."""
    rows = [program.fresh_row(seed) for seed in seeds]
    index_NB = torch.stack([shuffled(k, len(data.train[0]), BATCH)(0, 1)[0] for k in range(len(rows))])
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, tuple(t[index_NB] for t in data.train)


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
