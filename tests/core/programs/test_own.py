"""A program of a person's own: one file, named in a spec as file.py:Class."""

from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS, own
from espalier.core.programs.choose import choose
from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Reported
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.core.programs.test_program import Small, one_batch

MINE = """
from espalier.core.programs import steps
from espalier.core.programs.program import Program


class LaneAfterLane(Program):
    def step(self, rows, train, index_NB, c_CN1, stream, keep=False):
        def differentiate(rows, batch, clock_N):
            return steps.autograd_by_lane(self.functions, rows, batch, stream, clock_N)

        clocked = self.functions.clocked
        return steps.take_step(differentiate, self.optimizer, clocked, rows, train, index_NB, c_CN1, keep)


class Refusing(LaneAfterLane):
    def why_not(self, train, batch_size):
        return "it is Sunday"


class NoProgram:
    pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")


def test_a_cohort_trains_by_a_program_of_ones_own(mine: str) -> None:
    """Each lane's numbers are those of its solo run, and PyTorch's own but for rounding."""
    task, structure = Thermometer(0.1), Structure(SGD(momentum=True), "step", 4)
    trials = [Trial(str(k), k, 40, Hyperparameters(0.01 * (k + 1), (0.5,), momentum=0.5), reports=2) for k in range(3)]

    def values(some: list[Trial], program: str) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {trial.id: [] for trial in some}
        for event in Cohort(CohortSetup(task, task.data(), structure, some, 3, program)).train():
            if isinstance(event, Reported):
                found[event.trial].append(event.values["valid_loss"])
        return found

    together, plain = values(trials, f"{mine}:LaneAfterLane"), values(trials, "plain")
    assert all(len(reports) == 2 for reports in together.values())
    for trial in trials:
        assert values([trial], f"{mine}:LaneAfterLane") == {trial.id: together[trial.id]}
        assert together[trial.id] == pytest.approx(plain[trial.id], rel=1e-5)


def test_it_is_chosen_when_a_spec_names_it(mine: str) -> None:
    task = Small()
    assert choose(task, one_batch(task), 4, f"{mine}:LaneAfterLane") == (f"{mine}:LaneAfterLane", "as the spec says")
    program, why = choose(task, one_batch(task), 4, f"{mine}:Refusing")
    assert program == "plain" and "it is Sunday" in why


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vmpa", ["resources.program", "vmpa", "did you mean 'vmap'?"]),
        ("zzz", ["captured, compiled, native, plain, vmap", "file.py:Class"]),
        ("MINE:NoProgram", ["NoProgram is no Program", "inherit from espalier.Program"]),
        ("MINE:Missing", ["resources.program", "Missing", "LaneAfterLane"]),
    ],
)
def test_what_is_no_program_is_refused_with_what_would_be(mine: str, name: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as refused:
        PROGRAMS[name.replace("MINE", mine)]
    assert all(word in str(refused.value) for word in words)


WRONG = """
from espalier.core.programs import steps
from mine import LaneAfterLane
import espalier as es

class Stepless(es.Program):
    pass

class Nothing(LaneAfterLane):
    def step(self, *args, **more):
        pass

class Raising(LaneAfterLane):
    def step(self, *args, **more):
        return 1 / 0

class Short(LaneAfterLane):
    def step(self, rows, train):
        pass

class Argued(LaneAfterLane):
    def __init__(self, task):
        pass

class Mean(LaneAfterLane):
    def step(self, *args, **more):
        loss_N, grads = super().step(*args, **more)
        return loss_N.mean(), grads

class Ungraded(LaneAfterLane):
    def step(self, *args, **more):
        return super().step(*args, **more)[0], {}

class Wide(LaneAfterLane):
    def width(self, lanes):
        return "two"
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nothing", r"Nothing: step\(\) returned None; it must return the losses \(N,\), and the gradients by name"),
        ("Raising", r"Raising: ZeroDivisionError: division by zero \(wrong.py, line \d+\)$"),
        ("Short", r"Short: TypeError: .*step\(\)"),
        ("Argued", r"Argued: TypeError: .*__init__\(\)"),
        ("Mean", r"Mean: step\(\) returned losses of shape \(\)"),
        ("Ungraded", "Ungraded: step.. returned not the gradients of all parameters"),
        ("Wide", r"Wide: width\(1\) is 'two'"),
        ("Refusing", r"Refusing: it cannot train the model \(it is Sunday\); write auto"),
    ],
)
def test_a_wrong_program_of_ones_own_is_refused_in_a_line(mine: str, name: str, words: str) -> None:
    file = Path(mine) if name == "Refusing" else Path(mine).with_name("wrong.py")
    Path(mine).with_name("wrong.py").write_text(WRONG)
    task = Thermometer(0.1)
    with pytest.raises(BadInput, match=rf"^resources.program: .*{words}") as refused:
        own.try_program(f"{file}:{name}", task, task.data().train, 4, SGD(momentum=True), "float32")
    assert "\n" not in str(refused.value)


def test_a_program_without_a_step_is_refused_by_its_class_and_a_whole_one_is_not(mine: str) -> None:
    Path(mine).with_name("wrong.py").write_text(WRONG)
    with pytest.raises(BadInput, match=r"Stepless has no step\(\); a program trains every lane by a step"):
        own.check_complete(f"{Path(mine).with_name('wrong.py')}:Stepless")
    own.check_complete(f"{mine}:LaneAfterLane")
    task = Thermometer(0.1)
    own.try_program(f"{mine}:LaneAfterLane", task, task.data().train, 4, SGD(), "float64")
