"""The report among the records of a sweep: whatever a figure raises, the records are complete."""

import subprocess
import sys
from pathlib import Path

import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.recording.report_files import report_text, write_report_files
from espalier.sweeps.report.document import Document
from tests.sweeps.report.made import material_of

ROOT = Path(__file__).resolve().parents[3]
PICTURES = ["curves.png", "map.png", "ratios.png", "valley.png"]


def test_the_report_and_its_pictures_are_files(tmp_path: Path) -> None:
    material = material_of(20)
    files, problem = write_report_files(material, answer_of(material.spec, material.trials), tmp_path)
    assert problem == "" and sorted(path.name for path in files) == sorted([*PICTURES, "report.html"])
    assert all(path.stat().st_size > 1000 for path in files)
    assert report_text(material)[0].startswith("<!doctype html>")


def test_a_limit_of_the_address_space_ends_no_process() -> None:
    """V8 would abort it, and with it the driver of a sweep that has trained for hours."""
    code = (
        "from espalier.sweeps.recording.report_files import report_text\n"
        "from tests.sweeps.report.made import material_of\n"
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))\n"
        "print(report_text(material_of(5))[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "figures need 128 GiB of addresses" in done.stdout and "`ulimit -v` allows 16" in done.stdout


def test_a_figure_that_raises_ends_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(document: Document, name: str) -> None:
        raise ZeroDivisionError(f"in {name}")

    monkeypatch.setattr(Document, "figure", broken)
    material = material_of(3)
    files, problem = write_report_files(material, answer_of(material.spec, material.trials), tmp_path)
    assert files == []
    assert problem == (
        "report.html could not be drawn (ZeroDivisionError: in valley); the records are complete without it"
    )
