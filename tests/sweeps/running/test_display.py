"""What a person sees while a sweep runs: on a terminal of 80 columns, and where stderr is no terminal."""

import io
import threading
import time

import pytest
from rich.console import Console

from espalier.sweeps.running.display import panel, show_lines, shown
from espalier.sweeps.running.progress import Progress, best_text, facts, share_done
from espalier.sweeps.search.study import Work


def training() -> Progress:
    """A sweep in the middle, with long names."""
    progress = Progress("names-20261129-ab12", 32, 10_000, "min", "valid_loss", time.monotonic() - 60)
    progress.searched = {"lr_exponent", "decay_points", "schedule", "hidden"}
    progress.phase = "training"
    progress.states = dict.fromkeys(range(12), "complete") | {12: "diverged", 13: "running", 14: "running"}
    progress.steps_done = {13: 5000, 14: 2500}
    progress.best = (7, 2.31706, {"lr_exponent": -0.5, "decay_points": [0.6, 0.8], "schedule": "step", "hidden": 200})
    progress.training_begin = time.monotonic() - 50
    progress.work.by_cohort["cohort-0"] = Work(120_000, 3_000)
    progress.program = (
        "compiled (many lanes, and a reason that is much longer than one line of a terminal has room for)"
    )
    return progress


def text_of(progress: Progress) -> list[str]:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(panel(progress))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_best_is_shown_in_all_that_was_searched_and_its_rate_is_a_number() -> None:
    said = best_text(training())
    assert said == (
        "valid_loss 2.31706  trial 7: rate 0.316, lr_exponent -0.5, decay_points 0.6 0.8, schedule step, hidden 200"
    )


def test_the_bar_has_the_share_of_all_steps_and_the_time_left() -> None:
    progress = training()
    assert share_done(progress) == (13 + 0.5 + 0.25) / 32
    first = text_of(progress)[1]
    assert "training" in first and "43%" in first and "1:00 passed, 1:06 left" in first


def test_a_panel_fits_a_terminal_of_80_columns() -> None:
    lines = text_of(training())
    assert max(map(len, lines)) <= 80 and len(lines) <= 10
    whole = " ".join(line.strip("│ ") for line in lines)
    assert "schedule step, hidden 200" in whole
    assert "compiled (many lanes" in whole and "…" in whole


@pytest.mark.parametrize("phase", ["starting Ray", "starting workers"])
def test_a_phase_is_named_and_has_no_share_yet(phase: str) -> None:
    progress = Progress("a-1", 4, 100, "min", "valid_loss", phase=phase)
    assert phase in text_of(progress)[1] and "%" not in text_of(progress)[1]


@pytest.mark.parametrize(
    ("phase", "said"),
    [("training", "stopping"), ("starting Ray", "stopping"), ("recording", "recording"), ("done", "done")],
)
def test_a_sweep_that_was_asked_to_end_is_stopping(phase: str, said: str) -> None:
    progress = training()
    progress.phase, progress.stopping = phase, lambda: True
    assert dict(facts(progress))["phase"] == said


def test_without_a_terminal_each_phase_and_each_note_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("a-1", 4, 100, "min", "valid_loss", phase="starting Ray")
    with shown(progress):
        time.sleep(0.5)
        progress.phase = "training"
        progress.note("cohort-0: its worker ended")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("[a-1] ") for line in lines)
    assert [line.split("; ")[0] for line in lines if "phase" in line] == [
        "[a-1] phase: starting Ray",
        "[a-1] phase: training",
    ]
    assert "[a-1] cohort-0: its worker ended" in lines


def test_a_note_of_the_last_moment_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    progress, over = Progress("a-1", 4, 100, "min", "valid_loss"), threading.Event()
    over.set()
    progress.note("MLflow did not answer")
    show_lines(progress, over)
    assert "MLflow did not answer" in capsys.readouterr().err


def test_a_sweep_that_stops_has_no_forecast() -> None:
    progress = training()
    assert " left" in dict(facts(progress))["time"]
    progress.stopping = lambda: True
    assert "left" not in dict(facts(progress))["time"] and "passed" in dict(facts(progress))["time"]
