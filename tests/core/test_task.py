"""What a user brings: how it is found by name, and what each mistake is answered with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from espalier.core.checks import preflight
from espalier.core.errors import BadInput, nearest
from espalier.core.loading.ready import READY
from espalier.core.order import shuffled
from espalier.core.task import (
    Batch,
    Data,
    Task,
    call,
    code_fingerprint,
    load_task,
    options_of,
    recorded_options,
    task_class,
)
from espalier.core.tasks.thermometer import Thermometer

Write = Callable[[str], str]

GOOD = '''
import torch
from torch import nn
from espalier.core.task import Data

class Line:
    """A class of its own, no subclass of Task."""

    def __init__(self, slope: float = 1.0, *, width: int = 3):
        self.slope = slope
        self.width = width

    def model(self):
        return nn.Linear(2, 1)

    def loss(self, model, batch):
        x, y = batch
        return ((model(x) - y) ** 2).mean()

    def data(self):
        x = torch.arange(12.0).reshape(6, 2)
        return Data((x, x.sum(1, keepdim=True)), (x[:2], x[:2].sum(1, keepdim=True)))

class Other:
    pass
'''


def refused(call: Callable[[], object]) -> str:
    """Return the message of the BadInput that a call raises."""
    with pytest.raises(BadInput) as caught:
        call()
    return str(caught.value)


# --- found by name ---------------------------------------------------------------------------------------------------


def test_a_task_is_found_in_a_package_and_made_with_its_options() -> None:
    task = load_task("espalier.core.tasks.thermometer:Thermometer", {"scale": 1})
    assert isinstance(task, Thermometer) and task.scale == 1


def test_a_task_is_found_in_a_file_once(write_task: Write) -> None:
    path = write_task(GOOD)
    assert task_class(f"{path}:Line").__mro__[1] is task_class(f"{path}:Line").__mro__[1]
    assert load_task(f"{path}:Line", {"width": 5}).width == 5  # pyright: ignore[reportAttributeAccessIssue]


def test_a_file_may_be_named_from_the_current_folder_and_from_home(
    write_task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write_task(GOOD))
    monkeypatch.chdir(path.parent)
    assert task_class(f"{path.name}:Line").__name__ == "Line"
    monkeypatch.setenv("HOME", str(path.parent))
    assert task_class(f"~/{path.name}:Line").__name__ == "Line"


def test_a_class_with_the_three_methods_is_a_task(write_task: Write) -> None:
    """It need not know of ours, and gets the rest: an order, metrics, the size of an evaluation."""
    task = load_task(f"{write_task(GOOD)}:Line", {})
    assert isinstance(task, Task)
    assert torch.equal(task.order(3, 6, 2)(0, 9), shuffled(3, 6, 2)(0, 9))
    assert list(task.metrics(task.model(), task.data().valid)) == ["loss"]


def test_the_options_of_a_task_are_the_arguments_of_its_init(write_task: Write) -> None:
    assert options_of(task_class(f"{write_task(GOOD)}:Line")) == {"slope": 1.0, "width": 3}
    assert options_of(Thermometer) == {"scale": 0.1}
    assert options_of(Task) == {}


INHERITING = """
from espalier.core.task import Task
class A(Task):
    def __init__(self, width=3, slope=1.0): self.width, self.slope = width, slope
    def model(self): ...
    def loss(self, model, batch): ...
    def data(self): ...
class B(A):
    def __init__(self, extra=1, slope=2.0, **options): super().__init__(slope=slope, **options); self.extra = extra
class C(B): ...
class Mixin:
    def __init__(self, *args, noise=0.1, **options): super().__init__(*args, **options); self.noise = noise
class D(Mixin, C): ...
class E(D):
    def __init__(self, only=5): super().__init__(); self.only = only
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("B", {"extra": 1, "slope": 2.0, "width": 3}),
        ("C", {"extra": 1, "slope": 2.0, "width": 3}),
        ("D", {"noise": 0.1, "extra": 1, "slope": 2.0, "width": 3}),
        ("E", {"only": 5}),
    ],
)
def test_options_that_are_passed_on_are_those_of_the_classes_inherited_from(
    name: str, options: dict[str, object], write_task: Write
) -> None:
    reference = f"{write_task(INHERITING)}:{name}"
    assert options_of(task_class(reference)) == options
    made = load_task(reference, options)
    assert {key: getattr(made, key) for key in options} == options
    assert "unknown option" in refused(lambda: load_task(reference, {"wid": 3}))


# --- refused, each with what would work ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference", ("core.tasks.thermometer", "espalier.core.tasks.thermometer:", ":Thermometer", "", "my_task.py")
)
def test_a_reference_without_a_class_is_refused(reference: str) -> None:
    message = refused(lambda: task_class(reference))
    wanted = f"task: '{reference}' has no class; write 'package.module:Class' or 'path/file.py:Class'"
    assert message == f"{wanted}, or a ready task: {', '.join(READY)}"


@pytest.mark.parametrize("name", (":Line", "a:Line", "Line:", " Line", "Line.x", "/Line", ""))
def test_a_class_that_cannot_be_one_is_told_how_to_be_written(name: str, write_task: Write) -> None:
    message = refused(lambda: task_class(f"{write_task(GOOD)}:{name}"))
    assert "package.module:Class' or 'path/file.py:Class'" in message and "\n" not in message


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "my_task.py").write_text(GOOD)
    assert task_class(f"{folder}/my_task.py:Line").__name__ == "Line"
    assert "has no class" in refused(lambda: task_class(f"{folder}/my_task.py"))


def test_a_missing_file_is_named() -> None:
    assert refused(lambda: task_class("nowhere/my_task.py:Line")) == "task: no file nowhere/my_task.py"


def test_a_missing_module_is_named() -> None:
    message = refused(lambda: task_class("espalier.core.tasks.nowhere:Line"))
    assert message.startswith("task: cannot import 'espalier.core.tasks.nowhere': ModuleNotFoundError: ")


@pytest.mark.parametrize(
    "source, error",
    [("1 / 0", "ZeroDivisionError"), ("def f(:", "SyntaxError"), ("import not_there", "ModuleNotFoundError")],
)
def test_a_file_that_cannot_be_run_is_refused_every_time(write_task: Write, source: str, error: str) -> None:
    """A half-made module must not be found the second time."""
    path = write_task(source)
    for _ in range(2):
        message = refused(lambda: task_class(f"{path}:Line"))
        assert message.startswith(f"task: cannot import '{path}': {error}: ")


def test_a_file_that_was_mended_is_found(write_task: Write) -> None:
    path = write_task("1 / 0")
    refused(lambda: task_class(f"{path}:Line"))
    write_task(GOOD)
    assert task_class(f"{path}:Line").__name__ == "Line"


def test_a_misspelt_class_is_answered_with_the_nearest(write_task: Write) -> None:
    path = write_task(GOOD)
    assert refused(lambda: task_class(f"{path}:Lin")) == f"task: '{path}' has no class 'Lin'; did you mean 'Line'?"
    assert refused(lambda: task_class(f"{path}:Zzz")).endswith("has no class 'Zzz'; known here: Line, Other")
    assert refused(lambda: task_class(f"{path}:nn")).endswith("has no class 'nn'; known here: Line, Other")
    assert (
        refused(lambda: task_class("core.order:Line")) == "task: 'core.order' has no class 'Line'; there is none here"
    )


@pytest.mark.parametrize("method", ("model", "loss", "data"))
@pytest.mark.parametrize("bases", ("", "(Task)"))
def test_a_class_that_lacks_a_method_is_told_which(write_task: Write, method: str, bases: str) -> None:
    """Here it is there, under a misspelt name."""
    misspelt = GOOD.replace(f"def {method}(", f"def {method[1:]}(").replace("class Line", f"class Line{bases}")
    path = write_task(misspelt.replace("import Data", "import Data, Task"))
    message = refused(lambda: task_class(f"{path}:Line"))
    assert message == f"task: {path}:Line has no {method}(); a task is a class with model(), loss() and data()"


def test_an_unknown_option_is_answered_with_those_that_are_known(write_task: Write) -> None:
    reference = f"{write_task(GOOD)}:Line"
    assert refused(lambda: load_task(reference, {"slop": 1})) == (
        f"task_options.slop: unknown option of {reference}; did you mean 'slope'?"
    )
    assert refused(lambda: load_task(reference, {"zzz": 1})).endswith("known here: slope, width")


def test_an_option_of_a_task_that_takes_none_is_refused(write_task: Write) -> None:
    reference = f"{write_task(GOOD.replace('def __init__', 'def set'))}:Line"
    message = refused(lambda: load_task(reference, {"slope": 1}))
    assert message == f"task_options.slope: unknown option of {reference}; there is none here"


def test_a_task_that_cannot_be_made_says_with_what_and_why(write_task: Write) -> None:
    reference = f"{write_task(GOOD.replace('self.slope = slope', 'self.slope = 1 / slope'))}:Line"
    why = "ZeroDivisionError: division by zero (my_task.py, line 10)"
    assert refused(lambda: load_task(reference, {"slope": 0})) == (
        f"task: {reference} cannot be made with {{'slope': 0}}: {why}"
    )


def test_a_missing_option_is_named(write_task: Write) -> None:
    reference = f"{write_task(GOOD.replace('slope: float = 1.0', 'slope'))}:Line"
    assert "missing 1 required positional argument: 'slope'" in refused(lambda: load_task(reference, {}))


def test_a_task_may_refuse_its_options_in_its_own_words() -> None:
    assert refused(lambda: load_task("espalier.core.tasks.thermometer:Thermometer", {"scale": -1})).startswith(
        "task_options.scale: -1 "
    )


@pytest.mark.parametrize(
    "method, needed", [("model", "torch.nn.Module"), ("loss", "mean loss"), ("data", "espalier.Data")]
)
def test_a_task_without_a_method_says_what_it_must_return(method: str, needed: str) -> None:
    class Mine(Task):
        pass

    arguments = (nn.Linear(1, 1), ()) if method == "loss" else ()
    message = refused(lambda: getattr(Mine(), method)(*arguments))
    assert message.startswith(f"task: Mine has no {method}(); it must return ") and needed in message


# --- data ------------------------------------------------------------------------------------------------------------

X, Y = torch.zeros(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])


def test_good_data_is_returned_as_it_is() -> None:
    data = Data((X, Y), (X[:1], Y[:1]))
    assert data.checked() is data


@pytest.mark.parametrize("split", ("training", "validation"))
def test_tensors_that_disagree_about_the_number_of_examples_are_refused(split: str) -> None:
    good, bad = (X, Y), (X, Y[:4])
    data = Data(bad, good) if split == "training" else Data(good, bad)
    message = refused(data.checked)
    assert message == f"task data: the tensors of the {split} split have [4, 6] examples; all must agree"


@pytest.mark.parametrize("split", ("training", "validation"))
@pytest.mark.parametrize("empty", ((X[:0], Y[:0]), ()), ids=("no examples", "no tensors"))
def test_an_empty_split_is_refused(split: str, empty: Batch) -> None:
    data = Data(empty, (X, Y)) if split == "training" else Data((X, Y), empty)
    assert refused(data.checked) == f"task data: the {split} split is empty; at least one example is needed"


def test_a_tensor_without_axes_is_refused() -> None:
    message = refused(Data((X, Y), (X, torch.tensor(1.0))).checked)
    assert message.startswith("task data: the validation split ") and "axis" in message


def test_a_single_class_is_refused() -> None:
    data = Data((X, torch.full((6,), 7)), (X, Y))
    message = refused(data.checked)
    assert message == "task data: all 6 training targets are of one class (7); at least two are needed"


def test_equal_targets_of_a_regression_are_no_class() -> None:
    Data((X, torch.ones(6)), (X, torch.ones(6))).checked()


def test_the_fingerprint_of_data_changes_with_every_bit_type_and_shape() -> None:
    ones, twelve = torch.ones(12), torch.arange(12)
    next_up = ones.clone()
    next_up[7] = 1 + 2**-23
    several = [
        Data((ones,), (twelve,)),
        Data((next_up,), (twelve,)),
        Data((ones.reshape(3, 4),), (twelve,)),
        Data((ones.reshape(4, 3),), (twelve,)),
        Data((ones.double(),), (twelve,)),
        Data((twelve,), (ones,)),
        Data((ones,), (twelve, twelve)),
        Data((ones, twelve), (twelve,)),
    ]
    assert len({data.fingerprint() for data in several}) == len(several)
    assert Data((ones.clone(),), (twelve.clone(),)).fingerprint() == several[0].fingerprint()


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.complex64))
def test_data_of_every_type_has_a_fingerprint(dtype: torch.dtype) -> None:
    zeros, ones = (Data((filled.to(dtype),), (Y,)).fingerprint() for filled in (torch.zeros(6), torch.ones(6)))
    assert zeros != ones


def test_the_fingerprint_of_data_does_not_depend_on_how_it_lies_in_memory() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    assert Data((x,), (x.T.contiguous().T,)).fingerprint() == Data((x.T.contiguous().T,), (x,)).fingerprint()


def test_data_moves_its_numbers_to_a_precision_and_leaves_its_indexes() -> None:
    moved = Data((X, Y), (X, Y)).to("cpu", torch.float64)
    assert [t.dtype for t in (*moved.train, *moved.valid)] == [torch.float64, torch.int64] * 2


def test_the_fingerprint_of_code_is_that_of_the_file_of_the_task(write_task: Write, tmp_path: Path) -> None:
    first = code_fingerprint(load_task(f"{write_task(GOOD)}:Line", {}))
    copy, changed = tmp_path / "copy.py", tmp_path / "changed.py"
    copy.write_text(GOOD)
    changed.write_text(GOOD + "\n# another line\n")
    assert code_fingerprint(load_task(f"{copy}:Line", {})) == first
    assert code_fingerprint(load_task(f"{changed}:Line", {})) != first
    assert code_fingerprint(Thermometer()) not in (first, "unknown")


def test_the_metrics_of_a_task_are_its_loss_unless_it_says_more() -> None:
    class Scored(Thermometer):
        def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            return {**super().metrics(model, batch), "worst": (model(batch[0]) - batch[1]).abs().max()}

    task = Scored()
    assert list(task.metrics(task.model(), task.data().valid)) == ["loss", "worst"]


# --- the hint at the end of a message --------------------------------------------------------------------------------


def test_a_hint_names_the_nearest_word_or_all_of_them() -> None:
    assert nearest("bugdet", ["budget", "space"]) == "did you mean 'budget'?"
    assert nearest("zzz", ["space", "budget"]) == "known here: budget, space"


def test_bad_input_is_a_value_error() -> None:
    assert issubclass(BadInput, ValueError)


OF_DATA = """
import dataclasses
import torch
import espalier as es

{decorator}
class Line(es.Task):
    hidden: int = 3

    def model(self):
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def data(self):
        return es.Data((torch.ones(4, 1),) * 2, (torch.ones(4, 1),) * 2)
"""


@pytest.mark.parametrize("options", ["", "eq=False", "frozen=True", "unsafe_hash=True", "order=True"])
def test_a_task_may_be_a_dataclass_of_any_kind(write_task: Write, options: str) -> None:
    kind = task_class(f"{write_task(OF_DATA.format(decorator=f'@dataclasses.dataclass({options})'))}:Line")
    tasks = [kind(), kind(hidden=4), kind(hidden=4)]  # the last two are equal
    assert [recorded_options(task) for task in tasks] == [{}, {"hidden": 4}, {"hidden": 4}]
    assert preflight.check(tasks[1], 2, "float32").parameters == 2


def test_a_loss_may_be_an_object_that_has_no_hash() -> None:
    @dataclass
    class Loss:
        power: float

        def __call__(self, model: nn.Module, batch: Batch, step: Tensor) -> Tensor:
            return step**self.power

    step = torch.full((), 3.0)
    assert call(Loss(2.0), nn.Linear(1, 1), (torch.ones(1),), (step, step)).item() == 9.0
