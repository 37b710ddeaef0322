"""Which files of a folder are its code, and why others are not."""

import socket
from pathlib import Path

import pytest

from espalier.sweeps.code.listing import FILE_MIB, Listing, list_code
from tests.sweeps.code.project import CODE, FILES, make_project


def names(listing: Listing, root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in listing.files}


def why(listing: Listing, root: Path) -> dict[str, str]:
    return {Path(entry.path).relative_to(root).as_posix(): entry.why for entry in listing.left_out}


def test_what_git_does_not_ignore_is_code_tracked_or_not(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    assert names(list_code(project), project) == CODE


@pytest.mark.parametrize("git", [True, False])
def test_secrets_are_never_code(git: bool, tmp_path: Path) -> None:
    secrets = [
        ".env",
        ".env.local",
        "deploy.pem",
        "id_ed25519",
        "credentials.json",
        "secrets.yaml",
        "service-account.json",
    ]
    more = dict.fromkeys([*secrets, "secrets/token.txt", "sub/.env", "secretary.py", "credentials.py"], "x")
    project = make_project(tmp_path / "project", FILES | more, git)
    listing = list_code(project)
    taken = names(listing, project)
    assert taken.isdisjoint([*secrets, "secrets/token.txt", "sub/.env"])
    assert {"secretary.py", "credentials.py"} <= taken
    assert not git or why(listing, project)["sub/.env"] == "a secret by its name"


def test_what_is_large_a_link_out_or_no_file_is_left_out_with_its_reason(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (tmp_path / "outside.py").write_text("")
    (project / "large.bin").write_bytes(b"x" * (int(1.5 * 2**20)))
    (project / "large.txt").write_bytes(b"x" * (int(FILE_MIB * 2**20) + 1))
    (project / "out.py").symlink_to(tmp_path / "outside.py")
    (project / "inside.py").symlink_to(project / "nets.py")
    (project / "__pycache__").mkdir()
    (project / "__pycache__" / "nets.pyc").write_text("")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(project / "s"))
        listing = list_code(project)
    assert names(listing, project) == CODE | {"inside.py"}
    reasons = why(listing, project)
    assert "more than 1" in reasons["large.bin"] and "more than 8" in reasons["large.txt"]
    assert reasons["out.py"] == "a link out of the folder"
    assert reasons["__pycache__/nets.pyc"] == "a cache"


def test_a_home_in_the_folder_is_no_code(tmp_path: Path) -> None:
    home = {
        "sweep-data/optuna.journal": "",
        "sweep-data/sweeps/a/spool.jsonl": "",
        "runs/service.db": "",
        "runs/a.py": "",
    }
    project = make_project(tmp_path / "project", FILES | home | {"mlflow.db": ""})
    assert names(list_code(project), project) == CODE | {"mlflow.db"}


def test_without_git_it_is_what_looks_like_code(tmp_path: Path) -> None:
    more = {"venv/pyvenv.cfg": "", "venv/lib/a.py": "", "node_modules/a.json": "", "weights.pt": "", "train.sh": ""}
    project = make_project(tmp_path / "project", FILES | more, git=False)
    assert names(list_code(project), project) == CODE | {"train.sh", "data/large.txt"}


def test_without_git_a_package_is_its_own_folder(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", git=False)
    assert names(list_code(project, project / "package"), project) == {name for name in CODE if "/" in name}


def test_a_folder_that_git_ignores_is_listed_as_without_git(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", FILES | {".gitignore": "inner/\n", "inner/a.py": ""})
    assert names(list_code(project / "inner"), project) == {"inner/a.py"}
