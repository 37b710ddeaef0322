"""Laws of trials that are processes of a command: what it prints, how it ends, and that nothing of it stays."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.core.foreign.command import check_placeholders, filled
from espalier.core.foreign.folder import TrialFolder
from espalier.core.foreign.output import OutputReader
from espalier.core.training.events import Reported
from tests.core.foreign.made import assignment, command_cohort, end_of, ends, train
from tests.hostile.processes import wait_until


def test_results_are_found_in_lines_of_json_and_by_patterns(tmp_path: Path) -> None:
    source = """
        import sys
        print("args", sys.argv[1:])
        for step in range(1, 4):
            print(f"step {step}: train loss {1 / step:.3f}, val loss {2 / step:.3f},")
        print('{"epoch": 4, "valid_loss": 0.25}')
    """
    pattern = r"step (?P<step>\d+): train loss (?P<train_loss>\S+) val loss (?P<valid_loss>\S+)"
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")], [pattern.replace(r"\S+) val", r"\S+), val")]))
    assert end.status == "complete"
    assert end.reports == [
        (1, {"train_loss": 1.0, "valid_loss": 2.0}),
        (2, {"train_loss": 0.5, "valid_loss": 1.0}),
        (3, {"train_loss": 0.333, "valid_loss": 0.667}),
        (4, {"valid_loss": 0.25}),
    ]
    assert "args ['--lr', '0.1']" in (tmp_path / "trials" / "0-0" / "output.log").read_text()


def test_a_script_takes_its_values_from_the_environment(tmp_path: Path) -> None:
    source = """
        import json, os, sys
        assert sys.argv == ["script.py"]
        config = json.loads(os.environ["ESPALIER_CONFIG"])
        assert config == {"lr": 0.1, "seed": int(os.environ["ESPALIER_SEED"]), "steps": 40, "betas": [0.9, 0.99]}
        print(json.dumps({"step": config["steps"], "valid_loss": config["lr"]}))
    """
    command = ["${env}", sys.executable, "script.py"]
    trial = assignment("0/0", {"lr": 0.1, "betas": [0.9, 0.99]})
    assert end_of(command_cohort(tmp_path, source, [trial], command=command)).values == {"valid_loss": 0.1}
    check_placeholders(command, ["lr", "betas"])


def test_a_hyperparameter_called_env_is_a_value(tmp_path: Path) -> None:
    trial = assignment("0/0", {"env": "CartPole-v1"})
    words = filled(["train", "${env}", "--rate=${lr}"], trial, TrialFolder(tmp_path))
    assert words == ["train", "CartPole-v1", "--rate=0.1"]
    with pytest.raises(BadInput, match="lr is searched"):
        check_placeholders(["train", "${env}"], ["env", "lr"])


def test_a_script_reports_by_one_import_and_is_stopped_by_it(tmp_path: Path) -> None:
    source = """
        import time
        from espalier import report
        assert report.config.lr == 0.1 and report.start == 0 and report.resume is None
        try:
            for step in range(1, 1000):
                time.sleep(0.01)
                report(step, valid_loss=1 / step)
        except Exception:
            print("not by an Exception")
        finally:
            print("tidied up")
    """
    made = command_cohort(tmp_path, source, [assignment("0/0")])
    events = made.turn()
    while not any(isinstance(event, Reported) for event in events):
        events = made.turn()
    made.stop("0/0", "enough")
    end = end_of(made)
    assert (end.status, end.evidence) == ("stopped", "enough")
    assert (tmp_path / "trials" / "0-0" / "output.log").read_text() == "tidied up\n"


ENDINGS = {
    "exits 0 without a result": ("print('fine')", "it ended without a report: fine"),
    "exits 3": ("import sys; print('no data'); sys.exit(3)", "exit code 3: no data"),
    "an error": ("raise ValueError('too wide')", "exit code 1: ValueError: too wide"),
    "asks for input": ("input('which one? ')", "exit code 1: EOFError"),
    "prints binary": ("import sys; sys.stdout.buffer.write(bytes(range(256)) * 9); sys.exit(1)", "exit code 1"),
    "never the objective": ('print(\'{"step": 1, "loss": 2.0}\')', "it never reported valid_loss, the objective"),
    "out of memory": ("raise MemoryError('8 TB')", "out of memory: exit code 1: MemoryError: 8 TB"),
    "a signal": ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "killed by signal 6"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_how_a_command_ends_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    source, why = ENDINGS[name]
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")]))
    assert end.status == "failed" and why in end.evidence and end.evidence.isprintable()


def test_a_command_may_end_at_once(tmp_path: Path) -> None:
    line = '{"step": 1, "valid_loss": 1}'
    trials = [assignment(f"{k}/0") for k in range(40)]
    made = command_cohort(tmp_path, "", trials, command=["sh", "-c", f"echo '{line}'"], at_once=4)
    assert {end.status for end in ends(train(made)).values()} == {"complete"}


@pytest.mark.parametrize("command", [["no-such-program"], ["./not-there.sh"], ["/"]])
def test_a_command_that_is_none_is_said_in_one_line(tmp_path: Path, command: Sequence[str]) -> None:
    end = end_of(command_cohort(tmp_path, "", [assignment("0/0")], command=command))
    assert end.status == "failed" and ("No such file" in end.evidence or "denied" in end.evidence)


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def all_gone(*pids: int) -> bool:
    """Whether processes have ended, or do so soon."""
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return all(map(gone, pids))


DEAF = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(3600)"],
                             start_new_session=True)
    print('{"step": 1, "valid_loss": 0.5, "pid": %d, "child": %d}' % (os.getpid(), child.pid), flush=True)
    print('{"step": 2, "valid_loss": 0.5}', flush=True)
    time.sleep(3600)
"""


def test_what_ignores_sigterm_is_killed_with_its_children_after_the_time_of_grace(tmp_path: Path) -> None:
    made = command_cohort(tmp_path, DEAF, [assignment("0/0")], grace_s=0.3)
    events = made.turn()
    while not any(isinstance(event, Reported) for event in events):
        events = made.turn()
    (report,) = (event for event in events if isinstance(event, Reported))
    made.stop("0/0", "enough")
    assert end_of(made).status == "stopped"
    assert gone(int(report.values["pid"])) and gone(int(report.values["child"]))


def test_nothing_stays_of_a_trial_whose_worker_is_killed(tmp_path: Path) -> None:
    made = command_cohort(tmp_path, DEAF, [assignment("0/0")], grace_s=0.3)
    if not (worker := os.fork()):
        while True:
            made.turn()
    reports = TrialFolder(tmp_path / "trials" / "0-0")
    while not (lines := reports.lines()):
        time.sleep(0.02)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert all_gone(*(int(lines[0].get("values", {})[name]) for name in ("pid", "child")))


def test_a_keeper_that_is_killed_takes_its_process_with_it(tmp_path: Path) -> None:
    source = DEAF.replace("child = ", "child = type('Nobody', (), {'pid': os.getppid()}) or ")
    made = command_cohort(tmp_path, source, [assignment("0/0")])
    events = made.turn()
    while not any(isinstance(event, Reported) for event in events):
        events = made.turn()
    (report,) = (event for event in events if isinstance(event, Reported))
    os.kill(int(report.values["child"]), signal.SIGKILL)  # which is its keeper
    end = end_of(made)
    assert end.status == "failed" and "killed by signal 9" in end.evidence
    assert all_gone(int(report.values["pid"]))


def test_the_beginning_and_the_end_of_a_long_output_are_kept(tmp_path: Path) -> None:
    source = """
        import sys
        print("the first line")
        for k in range(40):
            sys.stdout.write("x" * (1 << 20) + "\\n")
        print('{"step": 1, "valid_loss": 0.5}')
        print("the last line")
    """
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")]))
    output = (tmp_path / "trials" / "0-0" / "output.log").read_bytes()
    assert end.status == "complete"
    assert output.startswith(b"the first line\n") and output.endswith(b"the last line\n") and len(output) < 40 << 20


def test_a_command_saves_into_a_folder_that_stays_and_finds_it_again(tmp_path: Path) -> None:
    source = """
        import pathlib, sys
        saved = pathlib.Path(sys.argv[1])
        resumed = sys.argv[2:] == ["--resume", str(saved)]
        (saved / "state").write_text("x")
        print('{"step": 1, "valid_loss": %d}' % resumed)
        sys.exit(0 if resumed else 9)
    """
    command = [sys.executable, "script.py", "${checkpoint}", "--resume", "${resume}"]
    first = end_of(command_cohort(tmp_path, source, [assignment("0/0")], command=command))
    (tmp_path / "trials" / "0-0" / "end.json").unlink()  # as if its worker had died
    again = end_of(command_cohort(tmp_path, source, [assignment("0/0")], command=command))
    assert (first.status, again.status, again.values) == ("failed", "complete", {"valid_loss": 1.0})


def test_the_reports_of_a_command_that_goes_on_are_those_of_one_that_was_never_killed(tmp_path: Path) -> None:
    """It goes on from before its last report, at a step that only it knows."""
    source = """
        import pathlib, sys
        saved = pathlib.Path(sys.argv[1], "step")
        begin = int(saved.read_text()) if saved.exists() else 0
        for step in range(begin + 1, 7):
            print('{"step": %d, "valid_loss": %f, "train_loss": 1}' % (step, 1 / (step + 10 * (begin == 0))))
            if step == 3 and begin == 0:
                saved.write_text("2")
                sys.exit(9)
    """
    command = [sys.executable, "script.py", "${checkpoint}"]
    end_of(command_cohort(tmp_path, source, [assignment("0/0")], command=command))
    (tmp_path / "trials" / "0-0" / "end.json").unlink()  # as if its worker had died
    again = end_of(command_cohort(tmp_path, source, [assignment("0/0")], command=command))
    assert again.reports == [
        (step, {"valid_loss": pytest.approx(1 / (step + 10 * (step < 3)), abs=1e-6), "train_loss": 1.0})
        for step in range(1, 7)
    ]
    assert [step for step, _ in again.curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (["train", "--lr", "${lr}", "${args} "], "alone"),
        (["--config=${env}", "train"], "alone"),
        (["train", "${learning_rate}"], "did you mean|has no value"),
        (["train", "${lr}"], "momentum is searched and reaches the command nowhere"),
    ],
)
def test_placeholders_without_a_value_and_values_without_a_place_are_refused(template: list[str], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        check_placeholders(template, ["lr", "momentum"])


def test_numbers_in_a_command_read_back_to_the_same_bits(tmp_path: Path) -> None:
    rate = 10.0**-2.718281828
    words = filled(["--lr=${lr}"], assignment("0/0", {"lr": rate}), TrialFolder(tmp_path))
    assert float(words[0].partition("=")[2]) == rate


def test_values_of_one_step_in_several_lines_are_one_report() -> None:
    reader = OutputReader([r"step (?P<step>\d+) (?P<name>train) (?P<train_loss>\S+)", r"val (?P<valid_loss>\S+)"])
    assert reader.read(["step 5 train 1.5", '{"step": 5, "valid_loss": 2}']) == []
    assert reader.read(["step 6 train nan"]) == [{"step": 5, "values": {"train_loss": 1.5, "valid_loss": 2.0}}]
    assert reader.rest()[0].get("step") == 6


PRINTS_AND_SAVES = """
    import pathlib, sys, time
    saved = pathlib.Path(sys.argv[1], "step")
    begin = int(saved.read_text()) if saved.exists() else 0
    for step in range(begin + 1, 41):
        print('{"step": %d, "valid_loss": %r}' % (step, 1 / step), flush=True)
        saved.write_text(str(step))
        if step == 20 and not begin:
            time.sleep(600)
"""


@pytest.mark.parametrize("polled", [False, True], ids=["a worker that only waited", "a worker that read on"])
def test_what_a_process_has_printed_when_its_worker_dies_is_reported_once_it_goes_on(
    tmp_path: Path, polled: bool
) -> None:
    """The process has saved that it is far ahead: it will not print those numbers again."""
    command = [sys.executable, "script.py", "${checkpoint}"]
    first = command_cohort(tmp_path, PRINTS_AND_SAVES, [assignment("0")], command=command)
    first.turn()
    saved = first.folder_of("0").saved / "step"
    log = first.folder_of("0").output

    def is_there() -> bool:
        if polled:
            first.turn()
        return saved.exists() and saved.read_text() == "20" and b'"step": 20,' in log.read_bytes()

    wait_until(is_there, "it has saved, and the log has what it printed")
    first.running[0].process.abandon()  # as if the worker were gone; what it kept in its memory is

    second = command_cohort(tmp_path, PRINTS_AND_SAVES, [assignment("0")], command=command)
    end = end_of(second)
    assert end.status == "complete"
    assert end.reports == [(step, {"valid_loss": 1 / step}) for step in range(1, 41)]
