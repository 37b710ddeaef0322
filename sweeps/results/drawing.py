"""Pictures by matplotlib: one look for all, and text that leaves room for the axes however long it is."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import brief
from espalier.sweeps.home import naming

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, FAINT = "#1f2933", "#c2410c", "#9aa5b1"
LABEL_MOST = 28  # characters beside the axes: a quarter of a picture's width
TICKS_MOST = 40  # names along an axis
TALLEST = 32.0  # inches
TITLE_CHARS = 11  # characters of a title to an inch


@contextmanager
def picture(path: Path, width: float = 8, height: float = 4.8) -> "Iterator[Figure]":
    """Yield a figure of a size in inches, and write it as a PNG at the end of the block.

    The user's own style does not apply, and matplotlib's warnings are silent: a sweep prints none of them.
    matplotlib is imported here, since that takes most of a second.
    """
    import matplotlib
    from matplotlib.backends import backend_agg  # noqa: F401 - a figure imports it when it is saved
    from matplotlib.figure import Figure

    settings = ("backend", "font.family", "font.sans-serif")  # the user's fonts may have letters that ours lack
    style: Any = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith(settings)}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(width, min(height, TALLEST)), dpi=120, layout="constrained")
        yield figure
        with naming(path):
            figure.savefig(path)


def plain(axes: "Axes") -> "Axes":
    """Give axes a faint grid and no frame; return them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def title(axes: "Axes", *lines: str, inches: float = 7.2, size: float = 11) -> None:
    """Set a title of some lines, each wrapped to a width."""
    width = int(inches * TITLE_CHARS * 11 / size)
    wrapped = [part for line in lines if line for part in textwrap.wrap(line, width)]
    axes.set_title(_no_mathematics("\n".join(wrapped)), loc="left", color=INK, fontsize=size)


def label(text: object, most: int = LABEL_MOST) -> str:
    """Return a text as a label, with its middle left out where it is long.

    >>> label("net.encoder.layers.11.self_attention.out_proj.weight"), label("_w")
    ('net.encoder ... _proj.weight', ' _w')
    """
    short = _no_mathematics(brief(text, most))
    return f" {short}" if short.startswith("_") else short  # matplotlib hides labels that begin with _


def labels(texts: Sequence[str], most: int = LABEL_MOST) -> list[str]:
    """Return texts as labels: of long ones, what they do not share.

    >>> labels([f"net.encoder.layers.{i}.self_attention.out_proj.weight" for i in (2, 13)])
    ['...layers.2.self_a...', '...layers.13.self_a...']
    """
    if len(texts) < 2 or max(map(len, texts)) <= most:
        return [label(text, most) for text in texts]
    first = max(_shared(texts) - 7, 0)
    last = max(_shared([text[first:][::-1] for text in texts]) - 7, 0)
    parts = [text[first : len(text) - last] for text in texts]
    return [label(f"{'...' * (first > 0)}{part}{'...' * (last > 0)}", most) for part in parts]


def _shared(texts: Sequence[str]) -> int:
    """Return how many characters texts begin with alike."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def _no_mathematics(text: str) -> str:
    return text.replace("$", r"\$")  # between two of them matplotlib reads TeX


def ticks(names: Sequence[str], most: int = LABEL_MOST) -> tuple[Sequence[int], Sequence[str]]:
    """Return the places and the labels of names along an axis: every second or third where there are many.

    >>> ticks(["a", "b"]), len(ticks(["a"] * 1000)[0])
    ((range(0, 2), ['a', 'b']), 40)
    """
    places = range(0, len(names), -(-len(names) // TICKS_MOST) or 1)
    return places, labels([names[place] for place in places], most)
