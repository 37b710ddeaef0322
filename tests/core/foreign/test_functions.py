"""Laws of trials that are processes of a function: their numbers, their ends, and what they leave behind."""

import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.core.foreign import sharing
from espalier.core.foreign.child import load_function
from espalier.core.foreign.cohort import NOTHING_SAVED
from espalier.core.foreign.folder import Assignment, TrialFolder
from espalier.core.foreign.launch import FunctionLauncher
from espalier.core.foreign.process import TrialProcess
from espalier.core.foreign.run import ProcessTrial
from espalier.core.measures.verdicts import OUT_OF_MEMORY
from espalier.core.training.events import Compared, Ended, Forked, Parked, Repeated, Reported, Scored, Started
from tests.core.foreign.made import DESCENT, STEPS, assignment, end_of, ends, function_cohort, train


def descended(lr: float, momentum: float = 0.0, at: int = STEPS, decay: int = STEPS) -> float:
    """Compute what DESCENT reports after some steps."""
    x, velocity = 1.0, 0.0
    for step in range(at):
        velocity = momentum * velocity + x
        x -= (lr if step < decay else lr * 0.1) * velocity
    return x * x


@pytest.mark.parametrize("forks", [True, False])
def test_each_trial_has_the_numbers_of_its_own_values_and_reports_them_in_order(tmp_path: Path, forks: bool) -> None:
    trials = [assignment("0/0"), assignment("1/0", {"momentum": 0.5}), assignment("2/0", {"lr": 0.3}, points=[0.5])]
    events = train(function_cohort(tmp_path, DESCENT, trials, forks))
    known = ends(events)
    assert [known[f"{k}/0"].values["valid_loss"] for k in range(3)] == pytest.approx(
        [descended(0.1), descended(0.1, 0.5), descended(0.3, decay=STEPS // 2)], rel=1e-12
    )
    first = [event for event in events if event.trial == "0/0"]
    assert [type(event) for event in first] == [Started, *[Reported] * 4, Ended]
    assert [event.step for event in first] == [0, 10, 20, 30, 40, 40]


def test_a_parked_trial_goes_on_and_branches_leave_it_with_the_bits_of_whole_trainings(tmp_path: Path) -> None:
    whole = [assignment("8/0", points=[0.5]), assignment("9/0", points=[0.75])]
    expected = ends(train(function_cohort(tmp_path, DESCENT, whole)))
    trunk = assignment("0/0", until=30, kept=(20,))
    events = train(function_cohort(tmp_path, DESCENT, [ProcessTrial(trunk, rungs=(30,))]))
    assert isinstance(events[-1], Parked) and events[-1].step == 30
    assert [event.step for event in events if isinstance(event, Scored)] == [30]
    folder = TrialFolder(tmp_path / "trials" / "0-0")
    assert folder.checkpoint_steps() == [20, 30]
    branch = ProcessTrial(assignment("1/0", points=[0.5]), source="0/0", begin=20)
    goes_on = ProcessTrial(assignment("0/0", points=[0.75]), begin=30)
    events = train(made := function_cohort(tmp_path, DESCENT, [branch, goes_on], shares=True))
    known = ends(events)
    assert known["1/0"].reports == expected["8/0"].reports
    assert known["0/0"].reports == expected["9/0"].reports
    assert [event for event in events if isinstance(event, Forked)] == [Forked("1/0", 20, "0/0")]
    compared = {event.trial: event.steps for event in events if isinstance(event, Compared)}
    assert list(compared) == ["1/0", "0/0"]
    assert made.lane_steps == 20 + 10 + sum(compared.values())
    assert sum(compared.values()) == COMPARED
    assert [note.partition(" at step")[2] for note in made.take_notes()] == [
        " 20 as it would without one, bit for bit",
        " 30 as it would without one, bit for bit",
    ]


def test_a_trial_that_cannot_be_scored_where_it_is_parked_has_failed(tmp_path: Path) -> None:
    source = "def train(config, report):\n    report(20, train_loss=1.0)\n"
    end = end_of(function_cohort(tmp_path, source, [ProcessTrial(assignment("0/0", until=20), rungs=(20,))]))
    assert (end.status, end.evidence) == (
        "failed",
        "it did not report valid_loss, by which it is scored, up to step 20",
    )


def test_it_is_said_that_code_saves_nothing_where_it_is_to_go_on(tmp_path: Path) -> None:
    source = "def train(config, report):\n    for step in (20, 40):\n        report(step, valid_loss=1.0)\n"
    trials = [assignment("0/0", until=20), ProcessTrial(assignment("1/0"), source="0/0", begin=20)]
    made = function_cohort(tmp_path, source, trials, shares=True)
    events = train(made)
    assert [step for step, _ in ends(events)["1/0"].reports] == [20, 40]
    assert made.take_notes() == [NOTHING_SAVED]
    assert [event.lost for event in events if isinstance(event, Parked)] == [True]
    assert [event for event in events if isinstance(event, Repeated)] == [Repeated("1/0", 0, 20)]
    assert made.lane_steps == 20 + STEPS


@pytest.mark.parametrize("removed", [(20,), (20, 30), ()])
def test_a_trial_goes_on_from_what_is_left_of_its_checkpoints_to_the_same_numbers(
    tmp_path: Path, removed: Sequence[int]
) -> None:
    expected = end_of(function_cohort(tmp_path, DESCENT, [assignment("9/0")]))
    (parked,) = [e for e in train(function_cohort(tmp_path, DESCENT, [PARKED], shares=True)) if isinstance(e, Parked)]
    assert not parked.lost
    for step in removed:
        shutil.rmtree(tmp_path / "trials" / "0-0" / "checkpoints" / str(step))
    begin = max({0, 20, 30} - set(removed))
    sharing.write(tmp_path / "trials", "goes on", sharing.Finding(True, "compared before"))
    made = function_cohort(tmp_path, DESCENT, [ProcessTrial(assignment("0/0"), begin=30)], shares=True)
    events = train(made)
    assert ends(events)["0/0"].reports == expected.reports
    assert made.lane_steps == STEPS - begin
    assert [e for e in events if isinstance(e, Repeated)] == ([Repeated("0/0", begin, 30)] if begin < 30 else [])
    assert not made.take_notes()


def test_a_trial_that_has_ended_is_told_again_with_its_scores_and_not_trained_again(tmp_path: Path) -> None:
    trials = [ProcessTrial(assignment("0/0", until=20), rungs=(10, 20)), ProcessTrial(assignment("1/0"), rungs=(10,))]
    first = train(function_cohort(tmp_path, DESCENT, trials))
    again = train(made := function_cohort(tmp_path, DESCENT, trials))
    assert [json.dumps(e.to_json()) for e in again] == [json.dumps(e.to_json()) for e in first]
    assert made.lane_steps == 0
    assert [event.step for event in again if isinstance(event, Scored)] == [10, 20, 10]


PARKED = assignment("0/0", until=30, kept=(20,))
COMPARED = (10 + 30) + (10 + 20)
"""The steps of both comparisons: from 20 and from the beginning to 30; from 30 and from 20 to 40."""

FORGETFUL = {
    "its momentum": ("write_text(json.dumps([x, velocity]))", "write_text(json.dumps([x, 0.0]))"),
    "where it was": ("range(report.start, config.steps)", "range(report.start - 1, config.steps)"),
    "its rate": ("config.lr_at(step)", "config.lr * (0.1 if step >= config.decay_points[0] * 20 else 1)"),
}


@pytest.mark.parametrize("what", FORGETFUL)
def test_code_that_forgets_shares_nothing_and_every_trial_has_the_numbers_of_a_whole_training(
    tmp_path: Path, what: str
) -> None:
    source = DESCENT.replace(*FORGETFUL[what])
    assert source != DESCENT
    values = {"momentum": 0.9, "lr": 0.05}

    def of(name: str, point: float, **more: object) -> Assignment:
        return assignment(name, values | {"decay_points": [point]}, points=[point], **more)

    whole = ends(train(function_cohort(tmp_path, source, [of("8/0", 0.5), of("9/0", 0.75)])))
    trunk = of("0/0", 0.75, kept=(20,))
    branches = [ProcessTrial(of(f"{k}/0", 0.5), source="0/0", begin=20) for k in (1, 2)]
    made = function_cohort(tmp_path, source, [trunk, *branches], shares=True)
    known = ends(train(made))
    (note,) = made.take_notes()
    assert note.startswith("nothing is shared: trial 1 does not go on from its checkpoint at step 20 as without one")
    assert known["0/0"].reports == whole["9/0"].reports
    assert known["1/0"].reports == known["2/0"].reports == whole["8/0"].reports


def test_a_trial_whose_process_and_worker_were_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    expected = end_of(function_cohort(tmp_path, DESCENT, [assignment("1/0")]))
    slow = DESCENT.replace(
        "            velocity = config", "            import time; time.sleep(0.02)\n            velocity = config"
    )
    made = function_cohort(tmp_path, slow, [assignment("0/0")])
    while not any(event.step == 20 for event in made.turn()):
        pass
    made.close()  # as a worker that ends
    deadline = time.monotonic() + 10
    while process_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    made.setup.launcher.close()
    assert not process_of(tmp_path)
    again = function_cohort(tmp_path, DESCENT, [assignment("0/0")])
    end = end_of(again)
    assert end.reports == expected.reports
    assert 0 < again.lane_steps < STEPS


def process_of(folder: Path) -> list[int]:
    """Return the processes that have a trial's folder below this one in their environment."""
    found: list[int] = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in environ and int(name) != os.getpid():
            found.append(int(name))
    return found


def test_code_that_does_not_resume_begins_anew_and_reports_once(tmp_path: Path) -> None:
    source = """
        def train(config, report):
            for step in range(1, config.steps + 1):
                if report.due(step):
                    (report.checkpoint / "x").touch()
                    report(step, valid_loss=1 / step)
    """
    made = function_cohort(tmp_path, source, [assignment("0/0", until=20)])
    assert ends(train(made))["0/0"].step == 20
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")]))
    assert [step for step, _ in end.reports] == [10, 20, 30, 40]


ENDINGS = {
    "an error": ("raise ValueError('too wide')", "failed", "ValueError: too wide"),
    "no report": ("pass", "failed", "it ended without a report"),
    "another metric": (
        "report(1, loss=2.0)",
        "failed",
        "it never reported valid_loss, the objective; it reported loss",
    ),
    "nan": (
        "report(1, valid_loss=float('nan')); __import__('time').sleep(60)",
        "diverged",
        "NaN or infinite at step 1",
    ),
    "sys.exit(3)": ("import sys; sys.exit(3)", "failed", "SystemExit: 3"),
    "os._exit": ("import os; print('last words'); os._exit(7)", "failed", "exit code 7: last words"),
    "a text": ("report(1, valid_loss='low')", "failed", "report: valid_loss is 'low'; give a number"),
    "steps back": ("report(5, valid_loss=1.0); report(4, valid_loss=1.0)", "failed", "report: step 4 after step 5"),
    "nothing reported": ("report(5)", "failed", "report of step 5: no metric"),
    "a name": ("config.widht", "failed", "config.widht: no such hyperparameter"),
    "memory": ("raise MemoryError('asked for 8 TB')", "failed", "out of memory: MemoryError: asked for 8 TB"),
    "torch's memory": ("import torch; torch.empty(1 << 50)", "failed", "out of memory: RuntimeError"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "failed", "killed by signal 11"),
    "its own end": ("raise KeyboardInterrupt", "failed", "interrupted"),
}


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Train a trial for each of ENDINGS, all forked from one process."""
    source = "def train(config, report):\n    exec(config.body)\n"
    trials = [assignment(f"{k}/0", {"body": body}) for k, (body, _, _) in enumerate(ENDINGS.values())]
    known = ends(train(function_cohort(tmp_path_factory.mktemp("endings"), source, trials)))
    return {name: known[f"{k}/0"] for k, name in enumerate(ENDINGS)}


@pytest.mark.parametrize("name", ENDINGS)
def test_how_a_function_ends_is_said_in_one_line(endings: dict[str, Ended], name: str) -> None:
    _, status, why = ENDINGS[name]
    end = endings[name]
    assert end.status == status
    assert why in end.evidence and "\n" not in end.evidence
    assert (end.verdict == OUT_OF_MEMORY) == ("memory" in name)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def train(config):\n    pass\n", "has no argument report"),
        ("def train(config, report, width):\n    pass\n", "needs width, which has no default"),
        ("train = 5\n", "has no function 'train'"),
        ("class train:\n    pass\n", "has no function 'train'"),
    ],
)
def test_what_is_no_training_function_is_said_in_one_line(tmp_path: Path, source: str, why: str) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(source)
    with pytest.raises(BadInput, match=re.escape(why)):
        load_function(f"{file}:train")


@pytest.mark.parametrize("source", ["import no_such_module_of_anyone\n", "raise SystemExit(0)\n"])
def test_a_file_that_cannot_be_imported_fails_its_trials_in_one_line(tmp_path: Path, source: str) -> None:
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")]))
    assert end.status == "failed" and "cannot import" in end.evidence and "\n" not in end.evidence


def test_arguments_with_defaults_are_hyperparameters(tmp_path: Path) -> None:
    source = """
        def train(config, report, width=4, depth=2):
            report(1, valid_loss=width * 10 + depth + config.width / 100)
    """
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0", {"width": 8})]))
    assert end.values["valid_loss"] == pytest.approx(82.08)


def test_a_trial_that_is_stopped_ends_at_its_next_report(tmp_path: Path) -> None:
    source = """
        import time
        def train(config, report):
            try:
                for step in range(1, 10_000):
                    time.sleep(0.01)
                    report(step, valid_loss=1.0)
            finally:
                print("tidied up")
    """
    made = function_cohort(tmp_path, source, [assignment("0/0")])
    events = made.turn()
    while not any(isinstance(event, Reported) for event in events):
        events = made.turn()
    made.stop("0/0", "the third of four at step 1")
    end = end_of(made)
    assert (end.status, end.evidence) == ("stopped", "the third of four at step 1")
    assert "tidied up" in (tmp_path / "trials" / "0-0" / "output.log").read_text()


def test_a_trial_whose_trainer_ends_well_when_it_is_stopped_is_not_complete(tmp_path: Path) -> None:
    """As Lightning does: it obeys SIGTERM by SystemExit(0)."""
    source = """
        import signal, sys, time

        def train(config, report):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            report(1, valid_loss=1.0)
            time.sleep(60)
    """
    made = function_cohort(tmp_path, source, [assignment("0/0")])
    events = made.turn()
    while not any(isinstance(event, Reported) for event in events):
        events = made.turn()
    made.stop("0/0", "enough")
    end = end_of(made)
    assert (end.status, end.evidence, end.step) == ("stopped", "enough", 1)


def test_a_trial_that_takes_too_long_fails(tmp_path: Path) -> None:
    source = "import time\ndef train(config, report):\n    time.sleep(60)\n"
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")], timeout_s=0.5))
    assert end.status == "failed" and "resources.timeout, 0.5 s" in end.evidence


def test_an_import_that_starts_threads_is_not_forked_and_has_the_same_numbers(tmp_path: Path) -> None:
    threads = "    import threading, time\n    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    made = function_cohort(tmp_path, threads + DESCENT, [assignment("0/0"), assignment("1/0")])
    known = ends(train(made))
    assert made.setup.launcher.forks is False  # type: ignore[attr-defined]
    assert known["0/0"].values["valid_loss"] == pytest.approx(descended(0.1), rel=1e-12)
    assert known["0/0"].reports == known["1/0"].reports


def test_everything_random_is_seeded_by_the_trial(tmp_path: Path) -> None:
    source = """
        import random
        import numpy as np
        import torch
        random.random(), np.random.rand(), torch.rand(())
        def train(config, report):
            report(1, valid_loss=random.random() + np.random.rand() + torch.rand(()).item())
    """
    trials = [assignment("0/0"), assignment("1/0")]
    known = ends(train(function_cohort(tmp_path, source, trials)))
    (tmp_path / "elsewhere").mkdir()
    alone = ends(train(function_cohort(tmp_path / "elsewhere", source, [assignment("2/0")], forks=False)))
    assert known["0/0"].values == known["1/0"].values == alone["2/0"].values


def test_a_driver_that_keeps_many_files_open_trains_as_any_other(tmp_path: Path) -> None:
    source = "def train(config, report):\n    report(1, valid_loss=0.5)\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2048
    if hard != resource.RLIM_INFINITY and hard < most:
        pytest.skip(f"no more than {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        end = end_of(function_cohort(tmp_path, source, [assignment("0/0")]))
    finally:
        for each in kept:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert max(kept) >= 1024 and (end.status, end.values) == ("complete", {"valid_loss": 0.5})


def test_children_that_a_trial_leaves_behind_are_ended_with_it(tmp_path: Path) -> None:
    source = """
        import subprocess, sys
        def train(config, report):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
            report(1, valid_loss=float(child.pid))
    """
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")]))
    with pytest.raises(ProcessLookupError):
        os.kill(int(end.values["valid_loss"]), signal.SIGCONT)


class Late(FunctionLauncher):
    """A launcher that returns when the process has ended: a quick one may be as quick as that."""

    def launch(self, folder: TrialFolder, assignment: Assignment) -> TrialProcess:
        process = super().launch(folder, assignment)
        while not any("end" in line for line in folder.lines()):
            time.sleep(0.01)
        return process


def test_what_a_process_reports_before_its_worker_looks_is_trained_by_it(tmp_path: Path) -> None:
    made = function_cohort(tmp_path, DESCENT, [assignment("0/0"), assignment("1/0")])
    assert isinstance(made.setup.launcher, FunctionLauncher)
    made.setup.launcher.__class__ = Late
    found = ends(train(made))
    assert {end.status for end in found.values()} == {"complete"}
    assert [[step for step, _ in end.reports] for end in found.values()] == [[10, 20, 30, 40]] * 2
    assert made.lane_steps == 2 * STEPS


@pytest.mark.parametrize("forks", [True, False], ids=["forked", "spawned"])
def test_a_process_has_the_name_of_its_trial(tmp_path: Path, forks: bool) -> None:
    source = """
        from pathlib import Path

        def train(config, report):
            Path("name").write_text(Path("/proc/self/comm").read_text())
            report(1, valid_loss=1.0)
    """
    assert end_of(function_cohort(tmp_path, source, [assignment("12/3")], forks)).status == "complete"
    assert (tmp_path / "name").read_text() == "trial 12-3\n"
