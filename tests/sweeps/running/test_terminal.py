"""What a person sees on a terminal of 80 columns and 24 lines: Ctrl-C while a sweep trains, and how a sweep ends."""

import os
import sys
from pathlib import Path

from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parents[3]
STOPPING = """
import time

from espalier.sweeps.running.display import shown
from espalier.sweeps.running.interrupt import Interrupt
from tests.sweeps.running.test_display import training

interrupt, progress = Interrupt(), training()
progress.stopping = interrupt.asked.is_set
with interrupt.listening(), shown(progress):
    interrupt.asked.wait()
    time.sleep(1)
"""
CLOSING = """
home = None
from espalier.sweeps.cli.output import print_summary
from espalier.sweeps.home import Home
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.results.trial_result import TrialResult
from tests.sweeps.made import spec_with

space = {
    "lr_exponent": {"low": -3, "high": -1}, "schedule": ["step", "linear"], "momentum": {"low": 0.5, "high": 0.9},
    "decay_points": {"low": 0.3, "high": 0.9}, "hidden": [100, 200, 300], "embedding": [10, 20],
    "decay_factor": [0.1, 0.3], "weight_decay": {"low": 0, "high": 0.1}, "warmup": {"low": 0, "high": 0.1},
}
spec = spec_with(space=space, trials=32)
params = {
    "lr_exponent": -1.234567, "schedule": "linear", "momentum": 0.87654321, "decay_points": [0.41234], "hidden": 200,
    "embedding": 10, "decay_factor": 0.3, "weight_decay": 0.012345678, "warmup": 0.0123456, "seed": 0,
}
trials = [TrialResult(n, "complete", 2.3 + n / 100, params, verdict="healthy") for n in range(31)]
why = "IndexError: Target -1 is out of bounds (mine.py, line 7)"
trials.append(TrialResult(31, "failed", None, params, evidence=why))
summary = Summary("names-20261129-ab12cd34", spec, trials, trials[0], False, True, 61.0, 120000, 3000, 4.0)
print_summary(summary, Home.at(home, reading=True), as_json=False)
"""


def run(script: str, folder: Path) -> Terminal:
    (folder / "script.py").write_text(script)
    return Terminal([sys.executable, str(folder / "script.py")], os.environ | {"PYTHONPATH": str(ROOT)})


def test_ctrl_c_shows_that_the_sweep_stops_and_tears_no_panel(tmp_path: Path) -> None:
    """The terminal echoes ^C where the cursor stands, beside the panel, which is drawn over its own lines again."""
    terminal = run(STOPPING, tmp_path)
    pressed, stopping = False, []
    for lines in terminal.pictures():
        if not pressed and any(line.startswith("╰") for line in lines):
            terminal.press(b"\x03")
            pressed = True
        elif any(line.startswith("│ stopping") for line in lines):
            stopping.append(lines)
    assert terminal.process.returncode == 0 and stopping, "\n".join(terminal.lines())
    for lines in stopping:
        text = "\n".join(lines)
        assert text.count("╭") == text.count("╰") == 1 and "│ training" not in text, text
        assert "stopping: checkpoints are being written (once more to stop at once)" in text
        top, bottom = (next(n for n, line in enumerate(lines) if line.startswith(corner)) for corner in "╭╰")
        assert all(line.startswith("│") for line in lines[top + 1 : bottom]), text
    assert not any(line.startswith(("╭", "│", "╰")) for line in terminal.lines())


def test_the_end_of_a_sweep_fits_one_screen_though_its_configurations_are_long(tmp_path: Path) -> None:
    terminal = run(CLOSING, tmp_path)
    *_, lines = terminal.pictures()
    text = "\n".join(lines)
    assert terminal.process.returncode == 0, text
    assert lines[0].startswith("trial") and not terminal.screen.history.top, text
    rows = [line for line in lines if "complete" in line and "…" in line]
    assert len(rows) == 8 and all(row.endswith("healthy") for row in rows), text
    assert "31 complete, 1 failed" in " ".join(text.split()) and "rerun   sweep rerun best.yaml" in lines
    best = " ".join(text[text.index("best: ") :].split())
    assert all(word in best for word in ("schedule linear", "hidden 200", "decay at 41 %")), text


def test_the_command_that_goes_on_after_an_interrupt_is_a_line_of_its_own_to_be_copied(tmp_path: Path) -> None:
    """It is longer than a line of the terminal, which alone may break it: no newline is written into it."""
    home = "/srv/shared/experiments with spaces/2026/names and surnames/sweeps of the last week"
    script = CLOSING.replace("trials[0], False, True", "trials[0], True, False")
    script = script.replace("home = None", f"home = {home!r}")
    command = f"sweep resume names-20261129-ab12cd34 --home '{home}'"
    terminal = run(script, tmp_path)
    *_, lines = terminal.pictures()
    assert terminal.process.returncode == 130
    for label in ("continue: ", "send it: "):
        first = next(n for n, line in enumerate(lines) if line.startswith(label))
        whole = f"{label}{command}"
        assert "".join(line.ljust(80) for line in lines[first:])[: len(whole)] == whole, "\n".join(lines)
