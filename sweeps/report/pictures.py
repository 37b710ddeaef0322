"""Figures as PNGs and for a page, and the JavaScript that draws them there: by vl-convert, which has Vega in itself.

A page has figures as Vega, compiled from Vega-Lite here: it then draws them without compiling each.
vl-convert asks no network. Only this file imports it.
"""

from functools import cache
from pathlib import Path

from espalier.core import cache as files
from espalier.sweeps.home import naming
from espalier.sweeps.report.figure import Chart, Figure
from espalier.sweeps.report.theme import LIGHT, described, whole

SCALE = 1.5  # pixels of a picture to a pixel of a page
SNIPPET = "window.vegaEmbed = vegaEmbed;"


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG on white, with its title."""
    import vl_convert

    chart = whole(figure)
    chart["title"] = {"text": figure.title, "anchor": "start", "fontSize": 16, "offset": 12}
    chart["padding"] = 14
    return vl_convert.vegalite_to_png(chart, scale=SCALE)


def write_png(figure: Figure, file: Path) -> Path:
    """Write a figure as a PNG; return the file."""
    with naming(file):
        file.write_bytes(png(figure))
    return file


def compiled(figure: Figure, config: Chart = LIGHT) -> Chart:
    """Return a figure as Vega, without data. config: its looks."""
    import vl_convert

    return vl_convert.vegalite_to_vega(described(figure, config))


@cache
def javascript() -> str:
    """Return vega-embed as a script that sets `window.vegaEmbed`. Made once for each version."""
    import vl_convert

    file = files.folder("vega") / f"vega-{vl_convert.get_vega_version()}.js"
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        script = vl_convert.javascript_bundle(SNIPPET).replace("</script", r"<\/script")
        files.keep(file, script.encode())
        return script
