"""The bound on what deciding may compute."""

import subprocess
import sys
import time

import pytest

from espalier.core import deadline


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_what_is_loaded_once_in_a_process_is_not_counted() -> None:
    with deadline.bounded(0.05):
        with deadline.paused():
            compute(0.1)
        deadline.check()
        compute(0.1)
        with pytest.raises(deadline.TooLong):
            deadline.check()
    assert deadline.left() is None


FRESH = """
from espalier.core import deadline
from espalier.core.programs.choose import choose
from espalier.core.tasks.line import Line

with deadline.bounded(0.5):
    task = Line()
    print(*choose(task, tuple(tensor[:8] for tensor in task.data().train), lanes=8, hidden=""))
"""


def test_a_process_that_has_yet_to_load_torchs_transforms_chooses_as_any_other() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True)
    assert done.stdout == "vmap many lanes\n", done.stderr
