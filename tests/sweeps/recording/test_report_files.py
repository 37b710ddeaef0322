"""The report among the records of a sweep: whatever a figure raises, the records are complete."""

from pathlib import Path

import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.recording.report_files import report_text, write_report_files
from espalier.sweeps.report.document import Document
from tests.sweeps.report.made import material_of

PICTURES = ["curves.png", "map.png", "ratios.png", "valley.png"]


def test_the_report_and_its_pictures_are_files(tmp_path: Path) -> None:
    material = material_of(20)
    files, problem = write_report_files(material, answer_of(material.spec, material.trials), tmp_path)
    assert problem == "" and sorted(path.name for path in files) == sorted([*PICTURES, "report.html"])
    assert all(path.stat().st_size > 1000 for path in files)
    assert report_text(material)[0].startswith("<!doctype html>")


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
