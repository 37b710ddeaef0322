"""A recorded copy: what is in it, how it is laid out, and what runs from there."""

import inspect
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from espalier.core.loading.folders import restoring_folder, use_copy
from espalier.core.loading.references import load_class
from espalier.core.task import code_fingerprint, load_task
from espalier.sweeps.code.changes import changed_files, sentence
from espalier.sweeps.code.copies import CodeRecord, keep, laid_out
from espalier.sweeps.code.sources import Source, source_of, source_of_command, sources_of
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.code.project import CODE, FILES, SPEC, make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    with restoring_folder():
        yield folder


def sweep_folder(project: Path, sweep: str = "line-1") -> Path:
    return project.parent / "home" / "sweeps" / sweep


def kept_code(project: Path, sweep: str = "line-1", limit_mib: float = 32.0) -> CodeRecord:
    spec = project.parent / "spec.yaml"
    spec.write_text(yaml.safe_dump(SPEC | {"task": "project/mytask.py:Line"}))
    kept = keep(sources_of(load_spec(str(spec))), Path.cwd(), sweep_folder(project, sweep), limit_mib)
    assert kept
    return kept


def used(project: Path, kept: CodeRecord) -> Path:
    """Use a recorded copy; return the folder of the project in it."""
    copy = laid_out(sweep_folder(project), kept.fact())
    assert copy
    use_copy(copy)
    return Path(f"{copy.folder}{project}")


def test_a_task_runs_from_the_copy_as_it_was_whatever_became_of_its_files(project: Path) -> None:
    reference = f"{project}/mytask.py:Line"
    before = load_task(reference, {})
    code = code_fingerprint(before)
    kept = kept_code(project)
    for name in ("nets.py", "package/beside.py"):
        (project / name).write_text("SLOPE = BIAS = 7.0\n")
    (project / "config.json").write_text('{"gain": 7.0}')
    (project / "mytask.py").unlink()
    copied = used(project, kept)
    after = load_task(reference, {})
    assert after.data().fingerprint() == before.data().fingerprint()
    assert code_fingerprint(after) == code
    assert inspect.getfile(type(after)) == str(copied / "mytask.py")


def test_what_was_left_out_is_read_where_it_was(project: Path) -> None:
    kept = kept_code(project)
    used(project, kept)
    (project / "data" / "large.txt").write_text("9")
    (project.parent / "offset.txt").write_text("8")
    task = load_class(f"{project}/mytask.py:Line")()
    assert (task.large, task.offset) == (9.0, 8.0)


def test_a_module_is_taken_from_the_copy_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "package" / "line.py").write_text(
        "from pathlib import Path\nfrom . import beside\nfrom package.inner import BIAS\nclass Line: bias = BIAS\n"
    )
    monkeypatch.chdir(project)
    source = source_of("package.line:Line")
    assert source
    kept = keep([source], project, sweep_folder(project), 32.0)
    assert kept
    (project / "package" / "beside.py").write_text("BIAS = 7.0\n")
    used(project, kept)
    assert load_class("package.line:Line").bias == 0.5  # pyright: ignore[reportAttributeAccessIssue]


def test_the_class_of_a_notebook_keeps_the_modules_that_it_was_written_beside(project: Path) -> None:
    """Its file lies in the home, and lists the notebook's folder."""
    captured = project.parent / "home" / "tasks" / "0123456789abcdef"
    captured.mkdir(parents=True)
    file = captured / "line.py"
    file.write_text(
        f"__folders__ = [{str(project)!r}]\nfrom pathlib import Path\nfrom nets import SLOPE\n"
        "from package.inner import BIAS\nTEXT = (Path(__file__).parent / 'w.txt').read_text()\n"
        "class Line: values = SLOPE, BIAS, TEXT\n"
    )
    (captured / "w.txt").write_text("1")
    kept = keep([Source(captured, file)], Path.cwd(), sweep_folder(project), 32.0)
    assert kept
    (project / "nets.py").write_text("SLOPE = 7.0\n")
    shutil.rmtree(project / "package")
    shutil.rmtree(captured)
    used(project, kept)
    assert load_class(f"{file}:Line").values == (3.0, 0.5, "1")  # pyright: ignore[reportAttributeAccessIssue]


def test_code_is_found_beside_its_folder_as_before(project: Path) -> None:
    """Such as a data folder of the project, or a module that the file puts on Python's path."""
    (project / "runs").mkdir()
    (project / "runs" / "train.py").write_text(
        "from pathlib import Path\nclass Line: text = (Path(__file__).parents[1] / 'config.json').read_text()\n"
    )
    kept = keep([Source(project / "runs", project / "runs" / "train.py")], project, sweep_folder(project), 32.0)
    assert kept and kept.files == 1
    used(project, kept)
    assert load_class(f"{project}/runs/train.py:Line").text == FILES["config.json"]  # pyright: ignore[reportAttributeAccessIssue]


def test_neither_large_data_nor_secrets_are_copied(project: Path) -> None:
    (project / ".env").write_text("KEY=1")
    (project / "credentials.json").write_text("{}")
    kept = kept_code(project)
    copied = used(project, kept)
    real = {p.relative_to(copied).as_posix() for p in copied.rglob("*") if p.is_file() and not p.is_symlink()}
    assert real == CODE
    reasons = {Path(entry.path).name: entry.why for entry in kept.left_out}
    assert reasons["data"] == "ignored" and reasons[".env"] == reasons["credentials.json"] == "a secret by its name"
    archive = sweep_folder(project) / "code" / f"{kept.hash}.zip"
    assert b"credentials.json" not in archive.read_bytes() and b".env" not in archive.read_bytes()


def test_a_home_in_the_project_is_neither_copied_nor_linked(project: Path) -> None:
    shutil.copytree(project.parent / "project", project / "sweep-data" / "tasks")
    (project / "sweep-data" / "optuna.journal").write_text("")
    copied = used(project, kept_code(project))
    assert not os.path.lexists(copied / "sweep-data")


def test_too_much_code_is_said_in_one_line_and_what_the_task_imports_is_recorded(project: Path) -> None:
    (project / "table.csv").write_bytes(b"1" * 2**20)
    kept = kept_code(project, limit_mib=0.5)
    assert kept.files == len(CODE) - 1  # all but config.json
    assert "\n" not in kept.note and "table.csv" in kept.note and "resources.code_mib is 0.5" in kept.note
    used(project, kept)
    assert load_class(f"{project}/mytask.py:Line")().gain == 2.0  # by a link


def test_equal_code_is_stored_once(project: Path) -> None:
    (project / "noise.txt").write_bytes(os.urandom(10**6).hex().encode())
    first, second = kept_code(project, "line-1"), kept_code(project, "line-2")
    assert first.hash == second.hash
    places = [sweep_folder(project, sweep) / "code" / f"{first.hash}.zip" for sweep in ("line-1", "line-2")]
    assert os.path.samefile(*places)
    (project / "nets.py").write_text("SLOPE = 4.0\n")
    assert kept_code(project, "line-3").hash != first.hash


def test_a_copy_that_somebody_has_edited_is_repaired_and_a_lost_one_is_none(project: Path) -> None:
    kept = kept_code(project)
    copied = used(project, kept)
    (copied / "nets.py").write_text("SLOPE = 9.0\n")
    (copied / "package" / "inner.py").unlink()
    used(project, kept)
    assert (copied / "nets.py").read_text() == FILES["nets.py"] and (copied / "package" / "inner.py").is_file()
    archive = sweep_folder(project) / "code" / f"{kept.hash}.zip"
    archive.write_bytes(archive.read_bytes()[:-50])
    assert laid_out(sweep_folder(project), kept.fact()) is None
    archive.unlink()
    assert laid_out(sweep_folder(project), kept.fact()) is None


def test_changed_and_missing_files_are_named_those_that_the_task_imports_first(project: Path) -> None:
    for name in ("README.md", "spec.yaml"):
        (project / name).write_text("name: a\ntask: mytask.py:Line\n")
    kept = kept_code(project)
    assert changed_files(sweep_folder(project), kept.fact()) == []
    for name in ("README.md", "spec.yaml"):
        (project / name).write_text("name: b\ntask: mytask.py:Line\n")
    (project / "config.json").write_text('{"gain": 3.0}')
    (project / "nets.py").unlink()
    changes = changed_files(sweep_folder(project), kept.fact())
    assert [change.path.name for change in changes] == ["nets.py", "config.json"]
    assert sentence(changes) == "config.json has changed since, nets.py is gone"


def test_the_manifest_says_what_was_left_out(project: Path) -> None:
    kept = kept_code(project)
    manifest = json.loads((sweep_folder(project) / "code" / f"{kept.hash}.json").read_text())
    assert [f"{project}/data", "ignored"] in manifest["left_out"]


def test_the_source_of_a_command_is_its_first_file_else_its_folder(project: Path) -> None:
    script = project / "train.py"
    script.write_text("")
    (project / "run.sh").write_text("")
    for command, file in (
        (["python", "train.py", "--lr", "1"], "train.py"),
        (["torchrun", "--nproc-per-node", "4", "train.py"], "train.py"),
        (["./run.sh", "nets.py"], "run.sh"),
        (["/bin/sh", "run.sh"], "run.sh"),
    ):
        assert source_of_command(command, project) == Source(project, project / file)
    assert source_of_command(["python", "-m", "train"], project) == Source(project, None)


def test_a_command_may_run_what_could_run_before(project: Path) -> None:
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    kept = keep([Source(project, None)], project, sweep_folder(project), 32.0)
    assert kept
    copied = used(project, kept)
    assert os.access(copied / "run.sh", os.X_OK) and not os.stat(copied / "nets.py").st_mode & 0o100


def test_what_is_installed_is_not_copied(project: Path) -> None:
    assert source_of("names") is None
    assert source_of("torch.nn:Module") is None
    assert keep([], project, sweep_folder(project), 32.0) is None
    assert not sweep_folder(project).exists()
