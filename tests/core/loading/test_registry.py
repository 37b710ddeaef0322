"""A registry: its own names, a person's own classes, and what it says of neither."""

from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.core.loading.registry import Registry
from espalier.core.task import Task
from espalier.core.tasks.line import Line

TASKS: Registry[Task] = Registry(
    "kind", "core.task:Task", {"line": "core.tasks.line:Line", "names": "core.tasks.names:Names"}, "kind"
)


def test_a_name_gives_its_class() -> None:
    assert TASKS["line"] is Line
    assert (TASKS.names, len(TASKS), list(TASKS)) == (("line", "names"), 2, ["line", "names"])


def test_a_class_of_a_file_is_found_by_its_reference(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from espalier.core.task import Task\n\n\nclass Mine(Task):\n    pass\n")
    found = TASKS[f"{file}:Mine"]
    assert issubclass(found, Task)
    assert TASKS[f"{file}:Mine"] is found
    assert f"{file}:Mine" not in TASKS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lime", ["kind: unknown kind 'lime'", "did you mean 'line'?", "file.py:Class"]),
        ("zzz", ["known here: line, names", "file.py:Class"]),
        ("", ["unknown kind ''", "line, names"]),
        ("nowhere.py:A", ["kind: no file nowhere.py"]),
        ("builtins:dict", ["builtins:dict is no Task", "inherit from espalier.Task"]),
    ],
)
def test_what_it_does_not_know_is_refused_with_what_it_does(name: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as refused:
        TASKS[name]
    assert all(word in str(refused.value) for word in words)
    with pytest.raises(BadInput, match=r"^other\.field: "):
        TASKS.find(name, "other.field")
