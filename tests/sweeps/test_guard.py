"""Ctrl-C ends a command whatever the code of a task does in its process."""

import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from espalier.sweeps import guard

ROOT = Path(__file__).resolve().parents[2]

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
import signal, sys, time
from espalier.sweeps import guard
from espalier.sweeps.cli.errors import handle_errors

signal.signal(signal.SIGINT, signal.default_int_handler)  # though whoever runs the tests may ignore it

@handle_errors()
def command():
    with guard.guarded(grace_s=1.0):
        guard.set_messages("sweep: stopped at once; continue: sweep resume warm-1", "")
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
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        time.sleep(1.0)  # it said so a moment before it is held up
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in said
    if how in ("python", "sleep"):
        assert (process.returncode, said) == (130, "sweep: stopped\n")
    else:
        assert process.returncode == -signal.SIGKILL
        assert said == "sweep: stopped at once; continue: sweep resume warm-1\n"


def test_a_guard_that_is_dismissed_ends_nobody(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from espalier.sweeps import guard

signal.signal(signal.SIGINT, lambda *_: None)
with guard.guarded(grace_s=0.2):
    os.kill(os.getpid(), signal.SIGINT)
time.sleep(1)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "alive\n"


def test_a_guard_goes_with_its_process() -> None:
    script = """
import os
from espalier.sweeps import guard

watcher = guard.Guard("x")
print(watcher._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    for _ in range(600):
        try:
            state = Path(f"/proc/{int(done.stdout)}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return

        time.sleep(0.1)
    pytest.fail("the guard is still there")


ENDS = {
    "os._exit(0)": ("os._exit(0)", 2, "os._exit(0) in {where} (mine.py, line {line})"),
    "os._exit(3)": ("os._exit(3)", 3, "os._exit(3) in {where} (mine.py, line {line})"),
    "a thread": ("threading.Thread(target=lambda: os._exit(0)).start(); time.sleep(9)", 2, "os._exit(0) in <lambda>()"),
    "abort": ("os.abort()", -signal.SIGABRT, "Aborted in {where} (mine.py, line {line})"),
    "segfault": ("ctypes.string_at(0)", -signal.SIGSEGV, "Segmentation fault in {where} (mine.py, line {line})"),
    "a kill": ("os.kill(os.getpid(), 9)", -signal.SIGKILL, "killed (SIGKILL"),
    "libc": ("ctypes.CDLL(None)._exit(5)", 5, "ended by code outside Python"),
}


def run_guarded(folder: Path, body: str) -> "subprocess.CompletedProcess[str]":
    """Run a file of a task in a process that has a guard, as every command does that runs such code."""
    (folder / "mine.py").write_text("import ctypes, os, sys, threading, time\n" + body)
    script = """
import runpy
from espalier.sweeps import guard

with guard.guarded():
    guard.guard_task("mine.py:Mine")
    runpy.run_path("mine.py")
print("went on")
"""
    command, env = [sys.executable, "-c", script], os.environ | {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": ""}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("way", ENDS)
@pytest.mark.parametrize("where", ["its import", "loss()"])
def test_a_process_that_a_task_ends_says_how_in_one_line(way: str, where: str, tmp_path: Path) -> None:
    statement, code, how = ENDS[way]
    ended = run_guarded(tmp_path, statement if where == "its import" else f"def loss():\n    {statement}\nloss()")
    assert ended.returncode == code, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("sweep: task: mine.py:Mine: the process that ran its code ended: ")
    assert how.format(where=where, line=2 if where == "its import" else 3) in line


@pytest.mark.parametrize(
    "body",
    [
        "if os.fork() == 0: os._exit(3)\nos.wait()",
        "if os.fork() == 0: os.abort()\nos.wait()",
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print, args=('',)).run()",
        "import subprocess\nsubprocess.run([sys.executable, '-c', 'import os; os.abort()'])",
    ],
)
def test_what_a_tasks_own_processes_do_is_no_end_of_the_command(body: str, tmp_path: Path) -> None:
    ended = run_guarded(tmp_path, body)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("went on\n")


def test_a_command_that_has_ended_leaves_the_process_as_it_was() -> None:
    before = os._exit, faulthandler.is_enabled()
    with guard.guarded():
        guard.guard_task("mine.py:Mine")
    assert (os._exit, faulthandler.is_enabled()) == before
