"""Laws of functions and commands that misbehave: one clear line each, and the worker, which trains others, goes on."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from espalier.core.foreign import run
from espalier.core.foreign.folder import STEP_MOST
from espalier.core.foreign.launch import CommandLauncher, FunctionLauncher, environment
from espalier.core.foreign.output import OutputReader
from espalier.core.foreign.template import Template
from espalier.core.training.events import Ended
from tests.core.foreign.made import assignment, cohort, command_cohort, end_of, ends, function_cohort, train
from tests.core.foreign.test_commands import all_gone

HUGE = "1" + "0" * 400

PRINTED = {
    "an integer beyond all floats": (f'{{"step": 1, "valid_loss": {HUGE}}}', "diverged", "NaN or infinite at step 1"),
    "a step beyond all floats": (f'{{"step": {HUGE}, "valid_loss": 1}}', "failed", "it ended without a report"),
    "a step that no database holds": ('{"step": 1e300, "valid_loss": 1}', "failed", "the most that is taken"),
    "an integer that Python does not read": (f'{{"step": 1, "loss": {HUGE * 20}}}', "failed", "without a report"),
    "nesting": ('{"a":' * 10_000, "failed", "it ended without a report"),
    "a step before the first": ('{"step": -5, "valid_loss": 1}', "failed", "it ended without a report"),
}


@pytest.mark.parametrize("what", PRINTED)
def test_numbers_that_nothing_holds_are_said_in_one_line(tmp_path: Path, what: str) -> None:
    line, status, why = PRINTED[what]
    end = end_of(command_cohort(tmp_path, f"print('''{line}''')", [assignment("0/0")]))
    assert (end.status, end.evidence.isprintable()) == (status, True) and why in end.evidence


@pytest.mark.parametrize(
    ("values", "why"), [({"name": "a\0b"}, "null byte"), ({"name": "x" * (1 << 18)}, "Argument list too long")]
)
def test_a_value_that_no_command_can_get_fails_its_trial_alone(
    tmp_path: Path, values: Mapping[str, Any], why: str
) -> None:
    source = 'print(\'{"step": 1, "valid_loss": 1}\')'
    made = command_cohort(tmp_path, source, [assignment("0/0", values), assignment("1/0")])
    first, second = (event for event in made.train() if hasattr(event, "evidence") and hasattr(event, "status"))
    assert (first.status, second.status) == ("failed", "complete") and why in first.evidence


def test_a_command_whose_folder_is_gone_is_said_in_one_line(tmp_path: Path) -> None:
    launcher = CommandLauncher(["true"], str(tmp_path / "gone"), environment(), 1.0)
    end = end_of(cohort(tmp_path, launcher, [assignment("0/0")], OutputReader))
    assert end.status == "failed" and f"No such file or directory: {tmp_path}/gone" in end.evidence


def test_a_worker_waits_for_a_process_that_has_closed_its_output(tmp_path: Path) -> None:
    source = """
        import os, time
        print('{"step": 1, "valid_loss": 1}', flush=True)
        os.close(1)
        os.close(2)
        time.sleep(1)
    """
    made = command_cohort(tmp_path, source, [assignment("0/0")])
    turns = 0
    while not made.done:
        made.turn()
        turns += 1
    assert turns < 500  # each waits up to 50 ms; without a wait there are a hundred thousand


def test_thousands_of_reports_are_all_taken_and_judged_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []
    verdict = run.verdict
    monkeypatch.setattr(run, "verdict", lambda losses, *a, **k: judged.append(len(losses)) or verdict(losses, *a, **k))
    source = """
        for step in range(1, 5001):
            print('{"step": %d, "train_loss": 1, "valid_loss": 1}' % step)
    """
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")]))
    assert [step for step, _ in end.reports] == list(range(1, 5001))
    assert judged[:100] == list(range(1, 101)) and len(judged) < 600 and judged[-1] == 5000


FUNCTIONS = {
    "losses whose sum is none": ("for k in range(1, 60): report(k, valid_loss=1, train_loss=1e308)", "complete", ""),
    "an integer beyond all floats": ("report(1, valid_loss=10**400)", "failed", "a number of 1329 bits; give a number"),
    "a step that no database holds": (f"report({STEP_MOST + 1}, valid_loss=1)", "failed", "the most that is taken"),
    "an error without words": (
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "failed",
        "Odd (train.py",
    ),
    "an error that no file holds": ("raise ValueError('a\\0b\\udc80')", "failed", r"a\x00b\udc80"),
    "an error of megabytes": ("raise ValueError('x' * 10**7)", "failed", "xxx ... xxx"),
    "no stderr": ("import os; os.close(2); raise ValueError('no')", "failed", "ValueError: no (train.py, line"),
    "files that cannot be written": (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); report(1, valid_loss=1)",
        "failed",
        "OSError: [Errno 27] File too large",
    ),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Ended]:
    """How trials of all these ended, forked from one process."""
    folder = tmp_path_factory.mktemp("functions")
    cases = [f"    if config.case == {what!r}:\n        {line}\n" for what, (line, _, _) in FUNCTIONS.items()]
    trials = [assignment(f"{k}/0", {"case": what}) for k, what in enumerate(FUNCTIONS)]
    found = ends(train(function_cohort(folder, "def train(config, report):\n" + "".join(cases), trials)))
    return {what: found[f"{k}/0"] for k, what in enumerate(FUNCTIONS)}


@pytest.mark.parametrize("what", FUNCTIONS)
def test_how_a_function_fails_is_said_in_one_line(ended: Mapping[str, Ended], what: str) -> None:
    _, status, why = FUNCTIONS[what]
    end = ended[what]
    assert end.status == status and why in end.evidence and end.evidence.isprintable()
    assert end.trace.encode() is not None and len(end.trace) < 100_000


@pytest.mark.parametrize("forks", [pytest.param(True, marks=pytest.mark.slow), False])
def test_an_import_that_asks_for_input_gets_none(tmp_path: Path, forks: bool) -> None:
    source = "answer = input('which one? ')\ndef train(config, report): report(1, valid_loss=1)"
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")], forks))
    assert end.status == "failed" and "EOFError: EOF when reading a line (train.py, line 1)" in end.evidence


@pytest.mark.parametrize("forks", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_folder_may_have_any_name(tmp_path: Path, forks: bool) -> None:
    folder = tmp_path / " a\nb 'c\" ü "
    folder.mkdir()
    source = "def train(config, report): report(1, valid_loss=1)"
    assert end_of(function_cohort(folder, source, [assignment("0/0")], forks)).status == "complete"


@pytest.mark.parametrize("of", ["function", "command"])
def test_a_trial_that_removes_its_folder_takes_nothing_from_others(tmp_path: Path, of: str) -> None:
    removes = "import os, shutil; shutil.rmtree(os.environ['ESPALIER_TRIAL']); print('removed', flush=True)"
    trials = [assignment("0/0", {"removes": True}), assignment("1/0", {"removes": False})]
    if of == "function":
        source = f"""
            def train(config, report):
                report(1, valid_loss=1)
                if config.removes:
                    {removes}
                report(2, valid_loss=2)
        """
        made = function_cohort(tmp_path, source, trials)
    else:
        source = f"""
            import json, sys, time
            def report(step):
                print(json.dumps({{"step": step, "valid_loss": step}}), flush=True)
            report(1)
            if "--removes" in sys.argv:
                {removes}
            report(2)
        """
        made = command_cohort(tmp_path, source, trials)
    found = ends(train(made))
    assert [(end.status, end.values) for end in found.values()] == [("complete", {"valid_loss": 2.0})] * 2


ENDLESS = """
    import os, sys, time
    child = os.fork()
    if child:
        open("pids", "w").write(f"{os.getpid()} {child}")
    time.sleep(3600)
"""


def pids_of(folder: Path) -> list[int]:
    """Return the processes of an import that does not end, once it has begun."""
    deadline = time.monotonic() + 60
    while not (words := written(folder / "pids").split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(word) for word in words]


def written(file: Path) -> str:
    """Return what is in a file; "" where there is none."""
    return file.read_text() if file.exists() else ""


def test_nothing_stays_of_an_import_that_does_not_end(tmp_path: Path) -> None:
    made = function_cohort(tmp_path, ENDLESS, [])
    pids = pids_of(tmp_path)
    made.setup.launcher.close()
    assert all_gone(*pids)


def test_a_worker_that_waits_for_an_import_hears_what_it_is_asked(tmp_path: Path) -> None:
    made = function_cohort(tmp_path, ENDLESS, [assignment("0/0")])
    pids, beats = pids_of(tmp_path), list[int]()
    made.observe(beats.append, lambda _: None)
    assert not made.turn() and beats
    made.stop("0/0", "asked")
    assert [(event.trial, event.status) for event in train(made) if isinstance(event, Ended)] == [("0/0", "stopped")]
    assert all_gone(*pids)


@pytest.mark.slow
def test_an_import_does_not_outlive_its_worker(tmp_path: Path) -> None:
    if not (worker := os.fork()):
        function_cohort(tmp_path, ENDLESS.replace("os.fork()", "os.getpid()"), [])
        time.sleep(3600)
    pids = pids_of(tmp_path)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert all_gone(*pids)


@pytest.mark.slow
def test_a_trial_whose_import_takes_too_long_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template is given up first, and its process with it."""
    monkeypatch.setattr("espalier.core.foreign.launch.IMPORT_S", 0.5)
    made = function_cohort(tmp_path, ENDLESS, [assignment("0/0")], timeout_s=1.0)
    assert isinstance(made.setup.launcher, FunctionLauncher) and isinstance(made.setup.launcher.template, Template)
    pids = pids_of(tmp_path)
    (tmp_path / "pids").unlink()
    end = end_of(made)
    assert (end.status, end.evidence) == ("failed", "it took longer than resources.timeout, 1 s")
    again = written(tmp_path / "pids").split()  # if it came so far
    assert all_gone(*pids, *map(int, again))
