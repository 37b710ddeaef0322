"""A person's code: found with the files beside it, its faults said on one line, its fingerprint that of all of it."""

import importlib
import os
import pickle
import random
import sys
import types
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.core.loading import folders
from espalier.core.loading.dependencies import sources_of
from espalier.core.loading.fingerprint import fingerprint
from espalier.core.loading.references import load_class

LINE = """
import torch
from espalier.core.task import Data
{imports}

class Line:
    value = {value}

    def model(self):
        {later}
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def data(self):
        return Data((torch.ones(4, 1),) * 2, (torch.ones(4, 1),) * 2)
"""


def written(folder: Path, imports: str = "", value: str = "0", later: str = "pass", **others: str) -> str:
    """Write a task and other files into a folder; return the task's reference."""
    for name, text in others.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mytask.py").write_text(LINE.format(imports=imports, value=value, later=later))
    return f"{folder / 'mytask.py'}:Line"


def value_of(reference: str) -> object:
    return load_class(reference).value  # pyright: ignore[reportAttributeAccessIssue]


def refused(reference: str) -> str:
    with pytest.raises(BadInput) as caught:
        load_class(reference)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1500
    return message


# --- the files beside a task -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "imports, value, others",
    [
        ("from nets import SLOPE", "SLOPE", {"nets": "SLOPE = 3"}),
        ("import nets", "nets.SLOPE", {"nets": "from sizes import SLOPE", "sizes": "SLOPE = 3"}),
        ("import models.net", "models.net.SLOPE", {"models/__init__": "", "models/net": "SLOPE = 3"}),
        ("import models.net as net", "net.SLOPE", {"models/__init__": "", "models/net": "SLOPE = 3"}),
        ("from models import net", "net.SLOPE", {"models/net": "SLOPE = 3"}),
        ("from models import S", "S", {"models/__init__": "from .net import S", "models/net": "S = 3"}),
        ("from models import S", "S", {"models/__init__": "from nets import S", "nets": "S = 3"}),
        ("from .nets import S", "S", {"nets": "S = 3"}),
        ("import importlib", "importlib.import_module('a_net').S", {"a_net": "S = 3"}),
        ("from nets import *", "S", {"nets": "S = 3"}),
    ],
)
def test_a_task_imports_the_files_beside_it(tmp_path: Path, imports: str, value: str, others: dict[str, str]) -> None:
    assert value_of(written(tmp_path, imports, value, **others)) == 3


def test_two_folders_each_have_their_own_files_also_of_what_is_imported_late(tmp_path: Path) -> None:
    late = "import nets; self.late = nets.SLOPE"
    references = [
        written(tmp_path / name, "from nets import SLOPE", "SLOPE", late, nets=f"SLOPE = {slope}")
        for name, slope in (("a", 3), ("b", 4))
    ]
    found = [load_class(reference) for reference in references]
    assert [value_of(reference) for reference in references] == [3, 4]
    for kind, slope in ((found[0], 3), (found[1], 4), (found[0], 3)):
        made = kind()
        made.model()
        assert made.late == slope


@pytest.mark.parametrize("name", ("random", "types", "core", "sweeps", "services", "queue", "numpy", "espalier"))
def test_a_file_named_as_a_module_of_others_changes_nothing_for_them(tmp_path: Path, name: str) -> None:
    before = {name: sys.modules.get(name) for name in ("random", "types", "core", "sweeps", "numpy")}
    path = list(sys.path)
    imports = "" if name == "core" else f"import {name}"
    assert (
        value_of(written(tmp_path, imports, "7", **{name: "raise RuntimeError"} if imports == "" else {name: ""})) == 7
    )
    assert {name: sys.modules.get(name) for name in before} == before and sys.path == path
    assert importlib.import_module("random") is random and importlib.import_module("types") is types


def test_a_project_has_packages_under_our_names(tmp_path: Path) -> None:
    """Its core has no task.py, and so core.task is ours; core.models is its own, with or without an __init__.py."""
    for number, others in enumerate(({"core/__init__": ""}, {})):
        folder = tmp_path / str(number)
        reference = written(
            folder,
            "from core.models import SLOPE\nimport services.app2\nimport core.sizes\n"
            "from core import models\nfrom core import task",
            "(SLOPE, services.app2.NAME, models.SLOPE, core.sizes.S, task.__name__)",
            **{
                "core/models": "from core.sizes import S as SLOPE",
                "core/sizes": "S = 3",
                "services/app2": "NAME = 'own'",
            },
            **others,
        )
        assert value_of(reference) == (3, "own", 3, 3, "espalier.core.task")


def test_the_standard_library_is_what_it_is_unless_only_the_file_beside_has_the_name(tmp_path: Path) -> None:
    imports = "import random\nfrom random import Random\nfrom profile import SPEED\nfrom test import evaluate"
    reference = written(tmp_path, imports, "(random.random, SPEED, evaluate)", random="", profile="SPEED = 3",
                        test="evaluate = 4")  # fmt: skip
    assert value_of(reference) == (random.random, 3, 4)


def test_a_folder_of_data_does_not_hide_a_library(tmp_path: Path) -> None:
    (tmp_path / "yaml").mkdir()
    assert value_of(written(tmp_path, "import yaml", "yaml.safe_load('3')")) == 3


def test_a_module_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "inner", "from nets import S\nfrom inner.more import T", "S + T", nets="S = 9")
    (tmp_path / "nets.py").write_text("S = 3")
    (tmp_path / "inner" / "more.py").write_text("T = 4")
    monkeypatch.chdir(tmp_path)
    assert value_of("inner.mytask:Line") == 7
    assert value_of("inner/mytask.py:Line") == 13  # as a file, whose folder comes first, and the current one last
    monkeypatch.chdir("/")
    assert "ModuleNotFoundError" in refused("inner.mytask:Line")
    with folders.restoring_folder():
        folders.work_in(str(tmp_path))
        assert value_of("inner.mytask:Line") == 7
    assert folders.current_folder() == Path("/")


def test_classes_of_the_files_beside_can_be_pickled(tmp_path: Path) -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass Size:\n    x: 'int' = 3\n"
    kind = load_class(written(tmp_path, "from shapes import Size", "Size", shapes=text))
    made = kind.value()  # pyright: ignore[reportAttributeAccessIssue]
    assert pickle.loads(pickle.dumps(made)) == made
    by_plain_name = pickle.loads(b"cshapes\nSize\n.")
    assert by_plain_name is kind.value  # pyright: ignore[reportAttributeAccessIssue]


def test_nothing_is_written_beside_a_task_and_a_quick_change_is_seen(tmp_path: Path) -> None:
    reference = written(tmp_path, "from nets import S", "S", nets="S = 3")
    assert value_of(reference) == 3 and not (tmp_path / "__pycache__").exists()


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "imports, wanted",
    [
        ("import sys; sys.exit(3)", "it ends the program with 3"),
        ("exit()", "it ends the program"),
        ("raise SystemExit('no data')", "it ends the program with no data"),
        (
            "import argparse; p = argparse.ArgumentParser(); p.add_argument('--data', required=True); p.parse_args()",
            "the following arguments are required: --data",
        ),
        ("import argparse; p = argparse.ArgumentParser(); p.add_argument('data'); p.parse_args()", "required: data"),
        ("input('name? ')", "EOFError"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", "Odd"),
        ("raise ValueError('two\\nlines' * 1000)", "ValueError: two lines"),
        ("open('not there')", "FileNotFoundError"),
    ],
)
def test_what_a_file_does_when_it_is_imported_is_said_on_one_line(
    tmp_path: Path, imports: str, wanted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refused(written(tmp_path, imports))
    assert message.startswith("task: cannot import ") and wanted in message
    assert ("__main__" in message) == ("ends the program" in message)
    assert "usage" not in capfd.readouterr().err


def test_a_script_with_options_that_have_defaults_is_not_shown_ours(tmp_path: Path) -> None:
    imports = "import argparse; p = argparse.ArgumentParser(); p.add_argument('--n', default=3); A = p.parse_args()"
    assert value_of(written(tmp_path, imports, "A.n")) == 3


def test_what_a_file_prints_is_shown_on_stderr_and_its_loggers_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    imports = "import logging, sys\nprint('hello')\nOWN = logging.getLogger('own')\n"
    imports += "OWN.addHandler(logging.StreamHandler(sys.stderr))"
    value = load_class(written(tmp_path, imports, "OWN")).value  # pyright: ignore[reportAttributeAccessIssue]
    value.warning("later")
    out, err = capfd.readouterr()
    assert out == "" and "hello" in err and "later" in err


def test_control_c_while_a_file_is_imported_passes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_class(written(tmp_path, "raise KeyboardInterrupt"))


@pytest.mark.parametrize(
    "source", ("~nobody/x.py", "a\0b.py", "x" * 300 + ".py", "a\0b", ".", "..x", "a b", "a" * 5000)
)
def test_a_name_that_nothing_can_have_is_one_line(source: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_class(f"{source}:Line")
    assert "\n" not in str(caught.value)


# --- the fingerprint -------------------------------------------------------------------------------------------------

OTHERS = {
    "nets": "from sizes import S",
    "sizes": "S = 3",
    "models/__init__": "from .net import T",
    "models/net": "T = 4",
    "late": "L = 5",
    "named": "N = 6",
    "unrelated": "U = 7",
}
IMPORTS = "from nets import S\nimport models.net\nimport importlib\nnamed = importlib.import_module('named')"


def marked(folder: Path, **changed: str) -> str:
    return fingerprint(load_class(written(folder, IMPORTS, "S", "import late", **(OTHERS | changed))))


@pytest.mark.parametrize("name", OTHERS)
def test_the_fingerprint_changes_with_each_file_that_a_task_imports_and_no_other(tmp_path: Path, name: str) -> None:
    first = marked(tmp_path / "a")
    assert marked(tmp_path / "b") == first  # wherever they lie
    changed = marked(tmp_path / "c", **{name: OTHERS[name] + "\n"})
    assert (changed == first) == (name == "unrelated")


def test_the_fingerprint_does_not_depend_on_what_else_is_loaded(tmp_path: Path) -> None:
    first = marked(tmp_path / "a")
    written(tmp_path / "b", IMPORTS, "S", "import late", **OTHERS)
    (tmp_path / "b" / "other.py").write_text("import unrelated\nclass Watch: pass")
    load_class(f"{tmp_path / 'b' / 'other.py'}:Watch")
    assert fingerprint(load_class(f"{tmp_path / 'b' / 'mytask.py'}:Line")) == first


def test_the_fingerprint_of_a_class_from_elsewhere_has_the_file_that_it_was_asked_of(tmp_path: Path) -> None:
    prints = []
    for name, patch in (("a", ""), ("b", "Line.value = 4")):
        written(tmp_path / name)
        (tmp_path / name / "front.py").write_text(f"from mytask import Line\n{patch}\n")
        prints.append(fingerprint(load_class(f"{tmp_path / name / 'front.py'}:Line")))
    assert prints[0] != prints[1]


def test_the_fingerprint_of_a_ready_task_has_the_task_that_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sources_of([importlib.import_module("espalier.core.tasks.deep_names")])
    assert {Path(file).name for file in files} == {"deep_names.py", "names.py", "__init__.py"}
    assert not any(os.path.basename(os.path.dirname(file)) == "core" for file in files)


def test_the_fingerprint_of_a_package_on_pythons_path_has_its_other_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = []
    for n in (1, 2):
        name = f"mine{n}"
        written(tmp_path / name, f"from {name}.nets import S\nimport helper{n}", "S", nets=f"S = {n}", __init__="")
        (tmp_path / f"helper{n}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for n in (1, 2):
        kind = load_class(f"mine{n}.mytask:Line")
        files = sources_of([sys.modules[kind.__module__]])
        assert {Path(file).name for file in files} == {"__init__.py", "mytask.py", "nets.py", f"helper{n}.py"}
        prints.append(fingerprint(kind))
    assert prints[0] != prints[1]


def test_a_file_of_a_package_finds_its_package_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = written(tmp_path / "mypack" / "inner", "from mypack.nets import THREE", "THREE")
    for name in ("inner/__init__", "__init__"):
        (tmp_path / "mypack" / f"{name}.py").touch()
    (tmp_path / "mypack" / "nets.py").write_text("THREE = 3")
    monkeypatch.chdir("/")
    assert value_of(reference) == 3
    before = fingerprint(load_class(reference))
    (tmp_path / "mypack" / "nets.py").write_text("THREE = 3.0")
    assert fingerprint(load_class(reference)) != before
