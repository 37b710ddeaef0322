"""The package is `espalier`, and nothing else: a person's own `core`, `sweeps` and `services` stay theirs."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from espalier.core import own
from espalier.core.loading.ready import READY
from espalier.core.loading.references import load_class
from espalier.sweeps.spec.spec import load_spec
from tests.project import SMALL, write_project

ROOT = Path(__file__).resolve().parents[1]


def python(code: str, folder: Path, executable: Path | str = sys.executable, **environment: str) -> str:
    """Run code in a process of its own, from `folder`; return what it printed."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SWEEP_HOME")}
    done = subprocess.run(
        [str(executable), "-c", code], cwd=folder, env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_importing_espalier_takes_neither_torch_nor_pandas(tmp_path: Path) -> None:
    printed = python("import espalier, sys; print(*{name.split('.')[0] for name in sys.modules})", tmp_path)
    assert "espalier" in printed.split()
    assert not {"torch", "numpy", "pandas", "ray", "optuna", "mlflow", "pydantic"} & set(printed.split())


def test_every_name_of_the_front_door_is_there_and_listed() -> None:
    import espalier

    assert all(getattr(espalier, name).__doc__ for name in espalier.__all__)
    assert set(espalier.__all__) <= set(dir(espalier))
    with pytest.raises(AttributeError, match="no attribute 'sweeep'; it has "):
        espalier.sweeep  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", own.FORMER_NAMES)
def test_a_folders_name_is_no_module_of_ours_outside_the_package(name: str, tmp_path: Path) -> None:
    assert "No module" in python(f"try:\n import {name}\nexcept ImportError as error: print(error)", tmp_path)


@pytest.mark.parametrize("beside", ["the working directory", "a script"])
def test_a_clone_of_the_repository_beside_a_persons_work_hides_no_package(beside: str, tmp_path: Path) -> None:
    """It is a folder `espalier` without `__init__.py`, which is a namespace package, if Python finds no other."""
    (tmp_path / "espalier" / "core").mkdir(parents=True)
    code = "import espalier as es; print(es.Task.__name__)"
    if beside == "a script":
        (tmp_path / "script.py").write_text(code)
        (tmp_path / "elsewhere").mkdir()
        code = f"import runpy, sys; sys.path[0] = {str(tmp_path)!r}; runpy.run_path({str(tmp_path / 'script.py')!r})"
    assert python(code, tmp_path / "elsewhere" if beside == "a script" else tmp_path) == "Task\n"


@pytest.mark.parametrize("short, reference", READY.items())
def test_a_ready_task_has_a_short_name(short: str, reference: str) -> None:
    source, _, name = reference.partition(":")
    assert load_class(short) is load_class(f"espalier.{source}:{name}")


@pytest.mark.parametrize(
    "former, present",
    [
        ("core.tasks.thermometer:Thermometer", "espalier.core.tasks.thermometer:Thermometer"),
        ("core.watch:Activations", "espalier.core.training.watch:Activations"),
        ("espalier.core.watch:Activations", "espalier.core.training.watch:Activations"),
    ],
)
def test_what_an_earlier_version_wrote_is_found(
    former: str, present: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_class(former) is load_class(present)


@pytest.mark.parametrize("former, present", own.MOVED.items())
def test_a_module_that_moved_is_found_by_its_former_name(former: str, present: str, write_task: Callable) -> None:
    parent, _, last = former.rpartition(".")
    text = f"from {parent} import {last} as a\nimport {former}\n"
    text += f"from espalier.{former} import __name__ as c\n"
    text += f"class Mine: names = a.__name__, {former}.__name__, c"
    assert load_class(f"{write_task(text)}:Mine").names == (f"espalier.{present}",) * 3


def test_a_task_that_was_written_for_an_earlier_version_still_reads(write_task: Callable[[str], str]) -> None:
    text = (
        "import core.ratios\nfrom core import order, watch\nfrom core.schedule import torch_scheduler\n"
        "from core.task import Data, Task\n"
        "class Mine(Task): kept, used = Data, (core.ratios.RatioMeter, watch.Watcher, torch_scheduler, order)"
    )
    from espalier.core.task import Data, Task

    kind = load_class(f"{write_task(text)}:Mine")
    assert issubclass(kind, Task) and kind.kept is Data
    assert not set(own.FORMER_NAMES) & set(sys.modules)


def test_a_spec_of_an_earlier_version_still_reads(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("name: old\ntask: core.tasks.names:Names\nwatchers: [core.watch:Activations]\n")
    spec = load_spec(str(tmp_path / "old.yaml"))
    assert load_class(spec.task) is load_class("names")


def test_no_file_of_ours_is_imported_under_a_former_name() -> None:
    """It would be there twice: an error that one raises would not be the one that the other catches."""
    assert not [name for name in sys.modules if name.partition(".")[0] in own.FORMER_NAMES]


# --- a wheel, and a project that has packages of these names ---------------------------------------------------------


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment in which the wheel is installed, beside the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*wheel, str(ROOT)], check=True, capture_output=True)
    (file,) = folder.glob("espalier-*.whl")
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    target = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages)]
    subprocess.run([*target, str(file)], check=True, capture_output=True)
    (here,) = {str(path) for path in map(Path, sys.path) if path.name == "site-packages" and (path / "torch").is_dir()}
    (packages / "others.pth").write_text(here)
    return folder / "env" / "bin" / "python"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A person's project, with packages core, services, sweeps and utils."""
    return write_project(tmp_path / "project")


def test_a_wheel_has_nothing_but_espalier(installed: Path) -> None:
    (packages,) = installed.parents[1].glob("lib/python*/site-packages")
    assert {path.name for path in packages.iterdir() if path.suffix not in (".pth", ".dist-info")} == {
        "bin",
        "espalier",
    }
    assert "espalier/core/task.py" in python("import espalier.core.task as t; print(t.__file__)", packages, installed)
    page = {path.name for path in (packages / "espalier" / "sweeps" / "report").glob("page.*")}
    assert page == {"page.css", "page.html", "page.js", "page.py"}
    web = {path.name for path in (packages / "espalier" / "services" / "http" / "web").iterdir()}
    assert web == {path.name for path in (ROOT / "services" / "http" / "web").iterdir()} >= {"index.html", "main.js"}


RUN = """
import espalier as es
from core.mine import Line


class Mine(Line):
    pass


for task in {tasks}:
    fields = {small}
    if isinstance(task, str):
        fields |= {{"name": "line", "task": task}}
        result = es.sweep(fields, progress=False, home={home!r})
    else:
        result = es.sweep(task, **fields, progress=False, home={home!r})
    print(result.state, result.best is not None, es.rerun(result.best).reproduced)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("searched", "tasks"),
    [
        ("the current folder", ["Mine", "'core.mine:Line'"]),
        ("PYTHONPATH", ["Line", "Mine", "'core.mine:Line'", "'{project}/top.py:Line'"]),
    ],
)
def test_a_project_with_packages_of_our_folders_names_trains(
    searched: str, tasks: list[str], installed: Path, project: Path, tmp_path: Path
) -> None:
    """In the driver, in its workers and in a rerun, by whatever way Python finds the project."""
    here = searched == "the current folder"
    listed = f"[{', '.join(tasks)}]".format(project=project)
    (project / "run.py").write_text(RUN.format(tasks=listed, small=SMALL, home=str(tmp_path / "home")))
    folder = project if here else tmp_path
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SWEEP_HOME")}
    environment |= {} if here else {"PYTHONPATH": str(project)}
    run = [str(installed), str(project / "run.py")]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == ["finished True True"] * len(tasks), done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["file", "module", "kinds"])
def test_the_command_trains_such_a_project_too_and_its_best_reruns(
    spec: str, installed: Path, project: Path, tmp_path: Path
) -> None:
    """Also with five kinds of its own: schedule, optimizer, sampler, program, score."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"SWEEP_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> str:
        command = [str(installed), "-m", "espalier.services.cli", *arguments]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    states = json.loads(run("run", f"{spec}.yaml", "--json"))["states"]
    assert sum(states.values()) == 4 and set(states) <= {"complete", "stopped"} and states["complete"] >= 2
    (project / "best.yaml").write_text(run("best", spec))
    assert "bit for bit" in run("rerun", "best.yaml")
