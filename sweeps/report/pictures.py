"""Figures as PNGs and for a page, and the JavaScript that draws them there: by vl-convert, which has Vega in itself.

A page has figures as Vega, compiled from Vega-Lite here: it then draws them without compiling each.
vl-convert asks no network. Only this file imports it.
"""

import resource
from functools import cache
from pathlib import Path

from espalier.core import cache as files
from espalier.core.errors import BadInput
from espalier.sweeps.home import naming
from espalier.sweeps.report.figure import LIGHT, Chart, Figure, described, whole

ADDRESSES_GIB = 128  # with 64 V8 aborts, with 96 it starts
SCALE = 1.5  # pixels of a picture to a pixel of a page
SNIPPET = "window.vegaEmbed = vegaEmbed;"


def _check_address_space() -> None:
    """Raise BadInput where V8 has not the addresses that it reserves: it would abort the whole process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < ADDRESSES_GIB * 2**30:
        raise BadInput(
            f"figures need {ADDRESSES_GIB} GiB of addresses, of which few become memory, and `ulimit -v` allows "
            f"{limit / 2**30:.3g}; set it to unlimited"
        )


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG on white, with its title. Raises BadInput where the address space is limited."""
    import vl_convert

    _check_address_space()
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
    """Return a figure as Vega, without data. config: its looks. Raises BadInput where the address space is limited."""
    import vl_convert

    _check_address_space()
    return vl_convert.vegalite_to_vega(described(figure, config))


@cache
def javascript() -> str:
    """Return vega-embed as a script that sets `window.vegaEmbed`. Made once for each version."""
    import vl_convert

    file = files.folder("vega") / f"vega-{vl_convert.get_vega_version()}.js"
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        _check_address_space()
        script = vl_convert.javascript_bundle(SNIPPET).replace("</script", r"<\/script")
        files.keep(file, script.encode())
        return script
