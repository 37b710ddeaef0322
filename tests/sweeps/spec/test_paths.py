"""Where a spec's files are: beside it, in the current folder, in the package; what is no path stays as it is."""

import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from espalier.core.errors import BadInput
from espalier.sweeps.spec import paths
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.made import THERMOMETER, read_best

TASK = """
from pathlib import Path
class Mine:
    def __init__(self, corpus: Path = Path("x"), *, more: "Path | None" = None, activation: str = "tanh"): ...
"""


def options_of(folder: Path, options: dict[str, Any], task: str = "mine.py:Mine", **changed: Any) -> dict[str, Any]:
    """Return the options that a spec in a folder has once it is loaded."""
    (folder / "mine.py").write_text(TASK)
    fields = dict(THERMOMETER) | {"task": task, "task_options": options} | changed
    (folder / "s.yaml").write_text(yaml.safe_dump(fields))
    return load_spec(str(folder / "s.yaml")).task_options


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec and files, which is not the current one."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "there"


@pytest.mark.parametrize(
    "name, text, file",
    [
        ("table", "data.csv", "data.csv"),  # it has a suffix
        ("table", "more/words", "more/words"),  # ... a separator
        ("table", "../there/data.csv", "data.csv"),
        ("path", "words", "words"),  # its name says so
        ("train_file", "words", "words"),
        ("corpus", "words", "words"),  # its annotation does
        ("more", "words", "words"),
        ("root", "more", "more"),  # a folder
    ],
)
def test_an_option_that_is_a_path_is_looked_for_beside_the_spec(there: Path, name: str, text: str, file: str) -> None:
    (there / "more").mkdir()
    for one in ("data.csv", "words", "more/words"):
        (there / one).write_text("")
    assert options_of(there, {name: text}) == {name: str(there / file)}
    nested = options_of(
        there, {"inputs": {name: [text, "none.csv"]}} if name not in ("corpus", "more") else {name: [text]}
    )
    assert str(there / file) in str(nested)


def test_beside_the_spec_comes_first_and_the_current_folder_after_it(there: Path) -> None:
    Path("data.csv").write_text("")
    assert options_of(there, {"path": "data.csv"}) == {"path": str(Path("data.csv").absolute())}
    (there / "data.csv").write_text("")
    assert options_of(there, {"path": "data.csv"}) == {"path": str(there / "data.csv")}


def test_a_file_that_is_named_as_a_choice_turns_no_choice_into_a_path(there: Path) -> None:
    for folder in (there, Path()):
        for name in ("tanh", "relu", "adam", "1.5"):
            (folder / name).write_text("")
    options = {"activation": "tanh", "layers": ["tanh", "relu"], "kind": {"name": "adam"}, "version": "1.5"}
    assert options_of(there, options) == options


def test_home_and_variables_are_expanded_where_they_lead_to_a_file(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(there))
    monkeypatch.setenv("DATA", str(there))
    (there / "data.csv").write_text("")
    wanted = str(there / "data.csv")
    options = {"a": "~/data.csv", "b": "$DATA/data.csv", "c": "${DATA}/data.csv", "path": "~/none", "price": "$5/kg"}
    expected = {"a": wanted, "b": wanted, "c": wanted, "path": str(there / "none"), "price": "$5/kg"}
    assert options_of(there, options) == expected
    assert load_spec(str(there / "s.yaml"), ["task=$DATA/mine.py:Mine"]).task == f"{there / 'mine.py'}:Mine"


def test_the_tasks_own_choices_in_the_space_are_paths_too(there: Path) -> None:
    (there / "a.csv").write_text("")
    options_of(there, {}, space={"path": ["a.csv", "b.csv"], "lr_exponent": -2})
    own = load_spec(str(there / "s.yaml")).space.own()
    assert own == {"path": [str(there / "a.csv"), "b.csv"]}


@pytest.mark.parametrize(
    "value", ["x" * 300, "x" * 300 + ".csv", "~nobody/x.py", "a\0b", "a\0b.csv", "/", "", "~", ".", "$", "x" * 10**6]
)
@pytest.mark.parametrize("name", ("path", "text"))
def test_no_text_is_a_traceback(there: Path, name: str, value: str) -> None:
    with nullcontext() if "\0" not in value else pytest.raises(BadInput):
        options_of(there, {name: value})
    for reference in (f"{value}:Mine", f"{value}.py:Mine"):
        try:
            load_spec(str(there / "s.yaml"), [f"task={yaml.safe_dump(reference)}"])
        except BadInput as error:
            assert "\n" not in str(error)


def test_the_annotations_of_a_task_are_read_and_nothing_of_it_is_run(there: Path) -> None:
    (there / "mine.py").write_text(TASK + "\nraise SystemExit\n")
    assert paths.path_options(f"{there / 'mine.py'}:Mine") == {"corpus", "more"}
    assert paths.path_options("espalier.core.tasks.names:Names") == set() == paths.path_options("no.such:Thing")
    assert paths.path_options(None) == set() == paths.path_options("core:Task")


# --- the spec itself -------------------------------------------------------------------------------------------------


def test_a_spec_comes_from_standard_input(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(TASK)
    text = yaml.safe_dump(dict(THERMOMETER) | {"task": "mine.py:Mine"})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    spec = load_spec("-", ["trials=3"])
    assert spec.task == f"{Path('mine.py').absolute()}:Mine" and spec.trials == 3


@pytest.mark.parametrize("text", (b"", b"\xff", b"trials: ["))
def test_a_wrong_spec_from_standard_input_is_named(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    with pytest.raises(BadInput, match=r"^standard input"):
        load_spec("-")


def test_a_ready_sweep_is_known_by_its_name_unless_a_file_has_it(there: Path) -> None:
    assert set(paths.ready_sweeps()) >= {"names", "line", "digits", "thermometer"}
    Path("names").mkdir()  # as `sweep pull names` makes it
    assert load_spec("names").name == "names"
    (Path("line")).write_text(yaml.safe_dump(dict(THERMOMETER) | {"name": "own"}))
    assert load_spec("line").name == "own"


def test_an_unknown_name_is_answered_with_the_nearest_ready_sweep(sweep: Callable[..., Result]) -> None:
    for command in ("run", "check", "lr-range"):
        said = sweep(command, "nmaes")
        assert said.exit_code == 2 and "did you mean 'names'?" in said.output


def test_an_argument_in_quotes_is_expanded_as_a_shell_would(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(there))
    monkeypatch.setenv("PLACE", str(there))
    options_of(there, {"corpus": "words.txt"})
    (there / "words.txt").write_text("a")
    for spec in ("~/s.yaml", "$PLACE/s.yaml", "${PLACE}/s.yaml"):
        assert load_spec(spec).task_options == {"corpus": str(there / "words.txt")}, "beside the spec"
    Path("$PLACE").mkdir()  # as it is written comes first
    (Path("$PLACE") / "s.yaml").write_text((there / "s.yaml").read_text())
    assert load_spec("$PLACE/s.yaml").task_options == {"corpus": "words.txt"}
    for spec in ("~/none.yaml", "~nobody-of-that-name/s.yaml", "~/\0.yaml"):
        with pytest.raises(BadInput, match="cannot be read"):
            load_spec(spec)
    (there / "best.yaml").write_text("- 1\n")
    with pytest.raises(BadInput, match=r"~/best\.yaml: not a best file"):
        read_best("~/best.yaml")
