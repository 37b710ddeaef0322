"""The report of a sweep that has ended, and its figures, as files for the sweep's own run in MLflow."""

from collections.abc import Sequence
from pathlib import Path

from espalier.core.errors import briefly
from espalier.sweeps.answer.answer import Answer
from espalier.sweeps.home import naming
from espalier.sweeps.recording.names import REPORT
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.material import Material
from espalier.sweeps.report.page import page_of
from espalier.sweeps.report.pictures import write_png

PICTURED = ("valley", "map", "curves", "ratios")  # the figures that are PNGs too; the report has all


def write_report_files(material: Material, answer: Answer, folder: Path) -> tuple[Sequence[Path], str]:
    """Write the report and its pictures to a folder; return the files, and a sentence on what could not be drawn.

    Whatever a figure raises, the sweep is recorded without it. Raises OSError if the disk is full.
    """
    files: list[Path] = []
    try:
        document = Document.of(material, answer)
        for name in PICTURED:
            figure = document.figure(name)
            if isinstance(figure, Figure):
                files.append(write_png(figure, folder / f"{name}.png"))
        with naming(folder / REPORT):
            (folder / REPORT).write_text(page_of(document), encoding="utf-8")
        files.append(folder / REPORT)
    except OSError:
        raise
    except Exception as error:  # names and values are the author's: the records must not depend on a picture of them
        return files, _problem(error)
    return files, ""


def report_text(material: Material) -> tuple[str, str]:
    """Return the report, and "", or else "" and a sentence on why it could not be drawn."""
    try:
        return page_of(Document.of(material)), ""
    except Exception as error:  # as above
        return "", _problem(error)


def _problem(error: Exception) -> str:
    return f"{REPORT} could not be drawn ({briefly(error)}); the records are complete without it"
