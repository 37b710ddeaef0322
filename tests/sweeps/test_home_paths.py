"""A home may lie at any path that the system takes: its store is there and nowhere else, or one line says why not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from espalier.core.errors import BadInput
from espalier.sweeps.address import sqlite_file, sqlite_url
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.stories import read_trial
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.recording.saying import SWEEP, assert_everything, new_home, recorded, recorder_at, say_everything

NAMES = ["a?b", "a%20b", "50%", "%3F", "a#b", "a b", "a'b", 'a"b', "a\nb", "ä漢", "x" * 240, "a;b&c=d@e:f", "a\\b"]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_path_reads_back_from_its_address(name: str) -> None:
    file = Path("/home") / name / "mlflow.db"
    assert sqlite_file(sqlite_url(file)) == file
    assert make_url(sqlite_url(file)).database == str(file)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("a?b", "a%20b", "a\nb") else pytest.mark.slow) for n in NAMES]
)
def test_whatever_a_home_is_called_everything_is_recorded_in_it(name: str, tmp_path: Path, empty_store: Path) -> None:
    place = tmp_path / "homes"
    place.mkdir()
    home = new_home(place / name, empty_store)
    check_reachable(default_uri(home))
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close(), recorder.trouble
    assert_everything(recorded(default_uri(home)))
    assert read_trial(default_uri(home), SWEEP, 1)["program"] == "vmap"
    assert os.listdir(place) == [name], "nothing lies beside the home"
    assert (home / "mlartifacts" / "warm").is_dir()


def test_a_path_of_2400_characters_is_one_line_of_bad_input_at_once(tmp_path: Path) -> None:
    home = Home.at(str(tmp_path / "/".join(["y" * 199] * 12)))
    with pytest.raises(BadInput, match="sqlite opens none of more than 500") as refused:
        check_reachable(default_uri(home.path))
    assert "\n" not in str(refused.value)


def test_a_name_that_the_system_does_not_take_is_one_line_of_bad_input(tmp_path: Path) -> None:
    for name in ("z" * 2400, os.fsdecode(b"a\xff")):
        with pytest.raises(BadInput) as refused:
            Home.at(str(tmp_path / name))
        assert "\n" not in str(refused.value)
        str(refused.value).encode()
