"""Figures as objects of Altair, for notebooks. Only this file imports altair."""

from typing import TYPE_CHECKING

from espalier.core.errors import BadInput
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure, Missing, whole

if TYPE_CHECKING:
    import altair


def chart_of(document: Document, name: str) -> "altair.LayerChart":
    """Return a figure of a report as a chart, its data in it. Raises BadInput for an unknown name, or without data."""
    import altair

    return altair.LayerChart.from_dict(whole(drawn(document, name)))


def drawn(document: Document, name: str) -> Figure:
    """Return a figure of a report. Raises BadInput for an unknown name, or without data."""
    figure = document.figure(name)
    if isinstance(figure, Missing):
        raise BadInput(f"figure {name}: {figure.why}")
    return figure
