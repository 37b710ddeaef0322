"""`sweep report --open`: the browser is asked, or one line says that there is none."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from espalier.sweeps.cli.app import main
from tests.sweeps.cli.test_compare import make

OPENER = "open" if sys.platform == "darwin" else "xdg-open"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that alone is searched for programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def report(tmp_path: Path, *options: str) -> Result:
    make(tmp_path / "home", "warm-1", {0: 2.5, 1: 2.4, 2: 2.6})
    return CliRunner().invoke(main, ["report", "warm-1", "--open", "--home", str(tmp_path / "home"), *options])


def put(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("script", ["", "echo 'x-www-browser: not found' >&2; echo noise; exit 3"])
def test_without_a_browser_one_line_has_the_path(
    script: str, programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if script:
        put(programs / OPENER, script)
    result = report(tmp_path)
    file = tmp_path / "report-warm-1.html"
    assert file.exists() and result.exit_code == 0
    assert result.stdout == "report-warm-1.html: the report of warm-1\n"
    assert result.stderr == f"no browser was found here; the report is at {file}\n"
    assert capfd.readouterr() == ("", "")


def test_the_browser_gets_the_path(programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(programs / OPENER, f'echo "$1" > {tmp_path}/opened; echo noise')
    result = report(tmp_path)
    assert (tmp_path / "opened").read_text() == f"{tmp_path}/report-warm-1.html\n"
    assert result.stderr == "" and capfd.readouterr() == ("", "")


def test_what_is_printed_as_json_stays_json(programs: Path, tmp_path: Path) -> None:
    result = report(tmp_path, "--json")
    assert result.stdout.startswith("{") and "no browser" in result.stderr
