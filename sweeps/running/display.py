"""The live display of a running sweep, on stderr: a panel on a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from espalier.sweeps.results.decimals import decimals

LINE_EVERY_S = 5.0
UNHEARD_S = 60.0
NAMED = 6  # trials; of more, how many
PANEL_EVERY_S = 0.5


@dataclass
class Progress:
    """What a person wants to know while a sweep runs. Changed by the driver, read by the display."""

    sweep: str
    wanted: int
    steps: int
    mode: str
    metric: str
    begin: float = field(default_factory=time.monotonic)
    states: dict[int, str] = field(default_factory=dict)
    best: tuple[int, float, Mapping[str, Any]] | None = None
    latest: tuple[int, int, float] | None = None
    training: tuple[int, int, float] | None = None  # before the first validation: trial, step, mean training loss
    lane_steps: dict[str, int] = field(default_factory=dict)
    steps_shared: dict[str, int] = field(default_factory=dict)
    steps_before: dict[str, int] = field(default_factory=dict)  # lane-steps of a cohort that are no news
    training_begin: float | None = None
    share_before: float = 0.0
    program: str = ""
    nodes: set[str] = field(default_factory=set)
    first_result_s: float | None = None
    steps_done: dict[int, int] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)  # when each cohort that trains was last heard of
    cohorts: dict[str, list[int]] = field(default_factory=dict)  # the trials of each cohort that trains
    notes: list[str] = field(default_factory=list)  # what went wrong, a sentence each
    phase: str = "starting"

    def count(self, *states: str) -> int:
        """Return how many trials are in any of these states."""
        return sum(state in states for state in self.states.values())

    def note(self, text: str) -> None:
        """Say once that something went wrong."""
        self.notes.append(text)

    def unheard(self) -> list[tuple[str, str]]:
        """Return the cohorts that have not been heard of for long, each with a sentence about it."""
        now, late = time.monotonic(), []
        for cohort, heard in list(self.heard.items()):
            if now - heard > UNHEARD_S:
                whom = trials_text(self.cohorts.get(cohort, []))
                late.append((cohort, f"{cohort} ({whom}) has not been heard of for {_clock(now - heard)}"))
        return late

    def left(self) -> int:
        """Return how many trials have not ended."""
        return self.wanted - len(self.states) + self.count("running")


def lane_steps_a_second(progress: Progress) -> float:
    """Return how fast lanes have trained since the first of them began."""
    if progress.training_begin is None:
        return 0.0
    trained = sum(progress.lane_steps.values()) - sum(progress.steps_before.values())
    return trained / max(1e-3, time.monotonic() - progress.training_begin)


def seconds_left(progress: Progress) -> float | None:
    """Return a forecast from the share of all steps that trials have made, None before there is one."""
    ended = progress.wanted - progress.left()
    done = ended + sum(
        step / progress.steps for t, step in progress.steps_done.items() if progress.states.get(t) == "running"
    )
    share = done / progress.wanted - progress.share_before
    if share <= 0 or progress.training_begin is None:
        return None
    return (time.monotonic() - progress.training_begin) * (1 - share - progress.share_before) / share


def _clock(seconds: float | None) -> str:
    return "-" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def trials_text(numbers: Sequence[int]) -> str:
    """Return the names of some trials.

    >>> trials_text([3]), trials_text([1, 2]), trials_text(range(10))
    ('trial 3', 'trials 1, 2', 'trials 0, 1, 2, 3, 4, 5 and 4 more')
    """
    named = ", ".join(map(str, numbers[:NAMED]))
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"trial{'s' if len(numbers) != 1 else ''} {named}{more}"


def facts(progress: Progress) -> list[tuple[str, str]]:
    """Return what the display says, as (label, text)."""
    counts = [f"{progress.count('complete')} done", f"{progress.count('running')} running"]
    counts.append(f"{progress.count('stopped')} stopped")
    counts += [f"{n} {state}" for state in ("diverged", "failed") if (n := progress.count(state))]
    best = "-"
    if progress.best:
        number, value, params = progress.best
        points = " ".join(f"{p:.3f}" for p in params.get("decay_points", []))
        best = f"{progress.metric} {decimals(value)}  trial {number}, exponent {params['lr_exponent']:.3f}"
        best += f", decay {points}" if points else ""
    elif progress.latest:
        number, step, value = progress.latest
        best = f"{progress.metric} {decimals(value)} so far (trial {number} after step {step:,})"
    elif progress.training:
        number, step, value = progress.training
        best = f"train_loss {decimals(value)} so far (trial {number} after step {step:,})"
    quiet = "; ".join(text for _, text in progress.unheard()) or "-"
    rate = lane_steps_a_second(progress)
    passed = time.monotonic() - progress.begin
    return [
        ("trials", f"{', '.join(counts)}, of {progress.wanted}"),
        ("best", best),
        (
            "speed",
            f"{rate:,.0f} lane-steps/s, {sum(progress.steps_shared.values()):,} steps shared"
            if rate
            else progress.phase,
        ),
        ("program", progress.program or "-"),
        *([("waiting", quiet)] if quiet != "-" else []),
        ("time", f"{_clock(passed)} passed, {_clock(seconds_left(progress))} left"),
    ]


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show the progress while the block runs."""
    over = threading.Event()
    show = _cell if in_notebook() else _panel if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(progress, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


def _lines(progress: Progress, over: threading.Event) -> None:
    last, seen, due, noted = "", None, 0.0, 0
    while not over.wait(0.2) or noted < len(progress.notes):
        for note in progress.notes[noted:]:
            print(f"[{progress.sweep}] {note}", file=sys.stderr, flush=True)
            noted += 1
        known = progress.phase, progress.training is not None, progress.first_result_s is not None
        if known != seen or time.monotonic() >= due:
            seen = known
            due = time.monotonic() + LINE_EVERY_S
            text = "; ".join(f"{label}: {said}" for label, said in facts(progress) if said != "-")
            if text != last:
                print(f"[{progress.sweep}] {text}", file=sys.stderr, flush=True)
                last = text


def _panel(progress: Progress, over: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live

    noted = 0
    with Live(console=Console(stderr=True), refresh_per_second=4, get_renderable=_rendered(progress)) as live:
        while not over.wait(PANEL_EVERY_S) or noted < len(progress.notes):
            for note in progress.notes[noted:]:
                live.console.print(note, markup=False, highlight=False)
                noted += 1


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML and can change what it has shown."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _cell(progress: Progress, over: threading.Event) -> None:
    """Show the progress below the cell that is run, and leave there how it ended."""
    from IPython.display import HTML, display

    shown = display(HTML(_html(progress)), display_id=True)
    assert shown
    while not over.wait(PANEL_EVERY_S):
        shown.update(HTML(_html(progress)))
    shown.update(HTML(_html(progress)))


def _html(progress: Progress) -> str:
    """Return the progress as HTML: a bar, the facts, and what went wrong."""
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


def _rendered(progress: Progress) -> Callable[[], Any]:
    from rich.panel import Panel
    from rich.table import Table

    def render() -> Any:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column()
        for label, text in facts(progress):
            grid.add_row(label, text)
        return Panel(grid, title=progress.sweep, title_align="left", border_style="green")

    return render
