"""The live display of a running sweep, on stderr: a bar and a panel on a terminal, HTML in a notebook, else lines."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

from espalier.sweeps.running.progress import Progress, facts, phase_text, share_done, time_text

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_EVERY_S = 5.0
PANEL_EVERY_S = 0.25
CLOSING_S = 5.0  # how long the end of a sweep waits for the last refresh
ECHO = 3  # columns kept free: a terminal echoes ^C there; at the edge it would break the line and tear the panel
TRAINING = ("training", "stopping", "recording")  # phases with a progress bar
WRAPPED = ("best", "waiting")  # rows that may wrap in the panel; others are cut at its edge


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show the progress while the block runs."""
    over = threading.Event()
    show = show_html if in_notebook() else show_panel if sys.stderr.isatty() else show_lines
    thread = threading.Thread(target=show, args=(progress, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(CLOSING_S)


# --- no terminal: a line at intervals ---------------------------------------------------------------------------------


def show_lines(progress: Progress, over: threading.Event) -> None:
    last, seen, due, noted = "", None, 0.0, 0
    while not over.wait(0.2) or noted < len(progress.notes):
        for note in progress.notes[noted:]:
            print(f"[{progress.sweep}] {note}", file=sys.stderr, flush=True)
            noted += 1
        milestones = phase_text(progress), progress.training is not None, progress.first_result_s is not None
        if milestones != seen or time.monotonic() >= due:
            seen = milestones
            due = time.monotonic() + LINE_EVERY_S
            line = "; ".join(f"{label}: {text}" for label, text in facts(progress) if text != "-")
            if line != last:
                print(f"[{progress.sweep}] {line}", file=sys.stderr, flush=True)
                last = line


# --- a terminal -------------------------------------------------------------------------------------------------------


def show_panel(progress: Progress, over: threading.Event) -> None:
    """Show a panel that is removed at the end, when the summary is printed."""
    from rich.console import Console
    from rich.live import Live

    noted, console = 0, Console(stderr=True)
    render = lambda: panel(progress, console.width - ECHO)  # noqa: E731
    with Live(console=console, refresh_per_second=4, get_renderable=render, transient=True) as live:
        while not over.wait(PANEL_EVERY_S) or noted < len(progress.notes):
            for note in progress.notes[noted:]:
                live.console.print(note, markup=False, highlight=False)
                noted += 1


def panel(progress: Progress, width: int | None = None) -> "RenderableType":
    """Return the progress as a panel: a bar with the time left, below it the facts."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1)
    for label, text in facts(progress):
        if label not in ("phase", "time") and text != "-":
            row = Text(text) if label in WRAPPED else Text(text, no_wrap=True, overflow="ellipsis")
            grid.add_row(label, row)
    return Panel(
        Group(_bar(progress), grid), title=Text(progress.sweep), title_align="left", border_style="green", width=width
    )


def _bar(progress: Progress) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    phase, share = phase_text(progress), share_done(progress)
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True, style="bold")
    line.add_column(ratio=1)
    line.add_column(no_wrap=True, justify="right")
    line.add_column(no_wrap=True, style="dim")
    trains = phase in TRAINING
    line.add_row(
        phase, ProgressBar(1.0, share, pulse=not trains), f"{share:4.0%}" if trains else "", time_text(progress)
    )
    return line


# --- a notebook -------------------------------------------------------------------------------------------------------


def in_notebook() -> bool:
    """Whether this process is a notebook kernel, which can display and update HTML."""
    shell: Callable[[], object] = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return type(shell()).__name__ == "ZMQInteractiveShell"


def show_html(progress: Progress, over: threading.Event) -> None:
    """Show the progress below the running cell; the last state remains there."""
    from IPython.display import HTML, display

    handle = display(HTML(_html(progress)), display_id=True)
    assert handle
    while not over.wait(2 * PANEL_EVERY_S):
        handle.update(HTML(_html(progress)))
    handle.update(HTML(_html(progress)))


def _html(progress: Progress) -> str:
    """Return the progress as HTML: a bar, the facts, and the notes on problems."""
    ended = progress.wanted - progress.left()
    left = "style='text-align:left"
    rows = "".join(
        f"<tr><td {left};opacity:.6'>{escape(label)}</td><td {left}'>{escape(text)}</td></tr>"
        for label, text in facts(progress)
        if text != "-"
    )
    notes = "".join(f"<div>{escape(note)}</div>" for note in progress.notes)
    bar = f"<progress value='{ended}' max='{progress.wanted}' style='width:20em'></progress>"
    return f"<div><b>{escape(progress.sweep)}</b> {bar} {ended} of {progress.wanted}<table>{rows}</table>{notes}</div>"
