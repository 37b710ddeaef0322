"""Writing a report to a file."""

from os import PathLike
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.page import page_of


def default_file(sweep: str) -> Path:
    """Return where the report of a sweep is written unless another file is named: in the current folder."""
    return Path(f"report-{sweep}.html")


def write_report(document: Document, path: str | PathLike[str] | None = None) -> Path:
    """Write a report as one HTML file; return its path. Raises BadInput if it cannot be written."""
    file = Path(path) if path is not None else default_file(document.material.id)
    text = page_of(document)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file}: cannot be written ({error.strerror}); name another file") from error
    return file
