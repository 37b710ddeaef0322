"""The environment that is recorded: every installed package, as its metadata say."""

import sys
from importlib import metadata
from pathlib import Path

from espalier.sweeps.code.environment import environment, installed_packages, normal_name, packages_of, read_environment


def test_the_packages_are_those_that_importlib_finds() -> None:
    search = [place for place in sys.path if "site-packages" not in Path(place).parent.parts]
    found = {normal_name(each.name): each.version for each in reversed(list(metadata.distributions(path=search)))}
    assert installed_packages() == dict(sorted(found.items()))


def test_what_a_package_brings_along_inside_itself_does_not_count(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for place in (
        site / "a_b-1.0.dist-info",
        site / "ray" / "parts" / "psutil-9.dist-info",
        site / "old-2-py3.egg-info",
    ):
        place.mkdir(parents=True)
    assert installed_packages([str(site / "ray" / "parts"), str(site)]) == {"a-b": "1.0", "old": "2"}


def test_an_environment_is_written_once_and_read_back(tmp_path: Path) -> None:
    now = environment()
    assert now.write(tmp_path) == now.write(tmp_path) == environment().hash
    assert read_environment(tmp_path, now.hash) == now
    assert read_environment(tmp_path, "") is None


def test_modules_are_found_in_packages_of_another_name() -> None:
    assert packages_of(["yaml", "torch", "os", "nets"], installed_packages()) == ["pyyaml", "torch"]
