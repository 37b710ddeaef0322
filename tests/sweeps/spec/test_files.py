"""Files that are no specs, and the file of a task beside its spec."""

from pathlib import Path

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.made import THERMOMETER


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere.yaml: cannot be read: No such file.*give a sweep's YAML file"):
        load_spec(str(tmp_path / "nowhere.yaml"))


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_spec(str(tmp_path))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"s\.yaml: cannot be read"):
        load_spec(str(path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(BadInput, match="empty; a spec needs name and task"):
        load_spec(str(path))


def test_a_task_file_is_found_beside_the_spec_and_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path, tmp_path / "there"):
        (folder / "s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | {"task": "mine.py:Mine"}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there" / "mine.py").write_text("")
    assert load_spec("there/s.yaml").task == f"{tmp_path / 'there' / 'mine.py'}:Mine"
    (tmp_path / "mine.py").write_text("")
    assert load_spec("there/s.yaml").task == f"{tmp_path / 'mine.py'}:Mine"
