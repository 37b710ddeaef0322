"""Ctrl-C ends a command whatever the code of a task does in its process."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

HELD = {
    "python": "while True: pass",
    "sleep": "time.sleep(1000)",
    "swallows": """
        while True:
            try:
                time.sleep(1)
            except BaseException:
                pass""",
    "lock": "sum(range(10**13))",
}

SCRIPT = """
import sys, time
from sweeps import interrupt
from sweeps.cli import spoken

interrupt.GRACE_S = 1.0
interrupt.Guard.__init__.__defaults__ = (1.0,)

@spoken
def command():
    with interrupt.guarded():
        interrupt.guard_says("sweep: stopped at once; continue: sweep resume warm-1")
        print("ready", flush=True)
{body}

command()
"""


@pytest.mark.parametrize("how", HELD)
def test_control_c_ends_a_process_that_is_held_up(how: str, tmp_path: Path) -> None:
    script = SCRIPT.format(body=textwrap.indent(textwrap.dedent(HELD[how]).strip(), " " * 8))
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    time.sleep(1.0)  # it said so a moment before it is held up
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    if how in ("python", "sleep"):
        assert (process.returncode, said) == (130, "sweep: stopped\n")
    else:
        assert process.returncode == -signal.SIGKILL
        assert said == "sweep: stopped at once; continue: sweep resume warm-1\n"


def test_a_guard_that_is_dismissed_ends_nobody(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from sweeps import interrupt

interrupt.Guard.__init__.__defaults__ = (0.2,)
signal.signal(signal.SIGINT, lambda *_: None)
with interrupt.guarded():
    os.kill(os.getpid(), signal.SIGINT)
time.sleep(1)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "alive\n"


def test_a_guard_goes_with_its_process() -> None:
    script = """
import os
from sweeps import interrupt

guard = interrupt.Guard("x")
print(guard._process.pid, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    for _ in range(600):
        try:
            state = Path(f"/proc/{int(done.stdout)}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return

        time.sleep(0.1)
    pytest.fail("the guard is still there")
