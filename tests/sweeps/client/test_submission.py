"""What goes along with a spec that is handed in: its task's file and those that it imports."""

import importlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.core.loading.references import load_class
from espalier.sweeps.client.submission import submit

TASK = (
    "import nets\nfrom package.inner import SLOPE\nfrom espalier.core.task import Data, Task\n\nclass Line(Task): ...\n"
)
FILES = {
    "mytask.py": TASK,
    "nets.py": "import json, far\n",
    "far.py": "",
    "package/__init__.py": "",
    "package/inner.py": "from . import beside\nSLOPE = 3.0\n",
    "package/beside.py": "",
    "unused.py": "",
    "notes.txt": "",
    "table.csv": "1",
}
IMPORTED = {"mytask.py", "nets.py", "far.py", "package/__init__.py", "package/inner.py", "package/beside.py"}


class Counter:
    """A service that takes everything."""

    def submit(self, fields: Mapping[str, Any], archive: bytes | None, hours: float | None, key: str) -> dict[str, Any]:
        self.fields = fields
        self.archive = archive or b""
        self.names = set(zipfile.ZipFile(io.BytesIO(archive)).namelist()) if archive else set()
        return {}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    monkeypatch.chdir(tmp_path / "project")
    forget_modules()
    yield tmp_path / "project"
    forget_modules()


def forget_modules() -> None:
    """Have none of the folder's modules be imported, as at the start of a process."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mytask", "nets", "far", "package")]:
        del sys.modules[name]


def submitted(folder: Path, task: str = "", code: str | None = None, **fields: Any) -> Counter:
    (folder / "spec.yaml").write_text(yaml.safe_dump({"name": "line"} | ({"task": task} if task else {}) | fields))
    service: Any = Counter()
    submit(service, str(folder / "spec.yaml"), (), code, None)
    return service


def test_a_tasks_file_goes_along_with_those_that_it_imports(folder: Path) -> None:
    took = submitted(folder, "mytask.py:Line")
    assert (took.names, took.fields["task"]) == (IMPORTED, "mytask.py:Line")
    took = submitted(folder, "mytask.py:Line", task_options={"path": "table.csv"})
    assert took.names == {*IMPORTED, "table.csv"} and took.fields["task_options"] == {"path": "table.csv"}


def test_a_module_of_the_current_folder_goes_along_too(folder: Path) -> None:
    took = submitted(folder, "mytask:Line", watchers=["package.inner:Watch"])
    assert (took.names, took.fields["task"]) == (IMPORTED, "mytask:Line")


@pytest.mark.parametrize("imported", [False, True])
def test_a_module_of_the_current_folder_goes_along_where_python_searches_that_folder_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, imported: bool
) -> None:
    """As with `python -m`, PYTHONPATH=. and a project that is installed to be edited."""
    monkeypatch.syspath_prepend(str(folder))
    for name in ("nets", "package") if imported else ():
        importlib.import_module(name)
    (folder / "loose").mkdir()
    (folder / "loose" / "line.py").write_text("import nets\n")
    assert submitted(folder, "mytask:Line").names == IMPORTED
    assert submitted(folder, "nets:Line").names == {"nets.py", "far.py"}
    assert submitted(folder, "package.inner:Line").names == {f for f in IMPORTED if f.startswith("package/")}
    assert submitted(folder, "loose.line:Line").names == {"loose/line.py", "nets.py", "far.py"}
    assert submitted(folder, "yaml:Line").names == submitted(folder, "espalier.core.tasks.line:Line").names == set()


def test_a_module_goes_along_though_another_folders_is_imported_under_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "mytask.py").write_text("")
    with monkeypatch.context() as there:
        there.syspath_prepend(str(folder.parent / "other"))
        importlib.import_module("mytask")
    assert submitted(folder, "mytask:Line").names == IMPORTED
    sys.modules["mytask"] = ModuleType("mytask")
    assert submitted(folder, "mytask:Line").names == IMPORTED


def test_a_module_of_a_package_goes_along_with_what_the_package_and_the_current_folder_have(folder: Path) -> None:
    (folder / "package" / "inner.py").write_text("import nets\nfrom package.deep import Y\nfrom . import beside\n")
    (folder / "package" / "__init__.py").write_text("from .first import X\n")
    for name in ("deep", "first", "unused"):
        (folder / "package" / f"{name}.py").write_text("")
    inside = {f"package/{name}.py" for name in ("__init__", "inner", "deep", "first", "beside")}
    assert submitted(folder, "package.inner:Line").names == {*inside, "nets.py", "far.py"}
    assert submitted(folder, "package:Line").names == {"package/__init__.py", "package/first.py"}
    assert submitted(folder, "package/inner.py:Line").names == {"inner.py", "beside.py"}  # from its own folder
    (folder / "linked.py").symlink_to(folder / "package" / "deep.py")
    assert "linked.py" not in submitted(folder, "mytask:Line").names


def test_a_captured_class_takes_along_the_modules_that_it_was_written_beside_and_its_arrays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = tmp_path / "home" / "tasks" / "0123456789abcdef"
    captured.mkdir(parents=True)
    text = FILES["mytask.py"].replace("import", f"__folders__ = [{str(folder)!r}]\nimport", 1)
    (captured / "line.py").write_text(text)
    (captured / "weights.npy").write_bytes(b"1")
    took = submitted(folder, f"{captured / 'line.py'}:Line")
    assert took.names == {"line.py", "weights.npy", *IMPORTED - {"mytask.py"}} and took.fields["task"] == "line.py:Line"
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "gone")
    there = tmp_path / "there"
    zipfile.ZipFile(io.BytesIO(took.archive)).extractall(there)
    forget_modules()
    assert load_class(f"{there / 'line.py'}:Line").__name__ == "Line"


def test_what_is_installed_stays_where_it_is(folder: Path) -> None:
    assert submitted(folder, "espalier.core.tasks.line:Line").names == set()
    assert submitted(folder, "elsewhere.tasks:Line").names == set()


def test_a_folder_that_is_named_goes_along_whole(folder: Path) -> None:
    assert submitted(folder, "mytask.py:Line", code=str(folder)).names == {*FILES, "spec.yaml"}


def test_with_git_what_it_does_not_ignore_goes_along_but_no_secret(folder: Path) -> None:
    more = {
        ".gitignore": "table.csv\n",
        ".env": "KEY=1",
        "secrets.yaml": "",
        "conf/model.json": "{}",
        "other.csv": "",
    }
    for name, text in more.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    sent = {*FILES, "spec.yaml", "conf/model.json", "other.csv"} - {"table.csv"}
    assert submitted(folder, "mytask.py:Line").names == sent
    assert submitted(folder, "mytask.py:Line", resources={"code_mib": 0}).names == IMPORTED
    named = submitted(folder, "mytask.py:Line", task_options={"path": "table.csv"})
    assert named.names == {*sent, "table.csv"}
    assert submitted(folder, "mytask.py:Line", code=str(folder)).names == {*sent, "table.csv"}


def test_the_script_of_a_command_and_the_file_of_a_function_go_along_with_what_they_import(folder: Path) -> None:
    space = {"lr": {"low": 0.1, "high": 1, "log": True}}
    took = submitted(folder, command="python mytask.py ${args}", space=space)
    assert (took.names, took.fields["command"]) == (IMPORTED, ["python", "mytask.py", "${args}"])
    took = submitted(folder, function="mytask.py:train", space=space)
    assert (took.names, took.fields["function"]) == (IMPORTED, "mytask.py:train")


def test_code_of_several_folders_needs_one_that_holds_all(folder: Path) -> None:
    with pytest.raises(BadInput, match="lie in several folders; name one that holds all: --code FOLDER"):
        submitted(folder, "mytask.py:Line", watchers=["package/inner.py:Watch"])


def test_a_link_to_the_folder_is_the_folder(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert submitted(folder.parent / "link", "mytask.py:Line").names == IMPORTED
