"""The folder of a trial that trains in a process of its own: how that process and its worker tell each other things.

Files alone carry it, so it outlives both, works below torchrun and shell scripts, and needs no open connection:

assignment.json   what is to be trained: see Assignment
reports.jsonl     a line for each report, in order, and one when a function has ended: see Line
stop              once it is there the trial is to end; its text is the reason
decisions.jsonl   of several processes of a trial: whether it ends after a report, as rank 0 has decided for all
output.log        what the process printed
read              up to which byte of that its worker has recorded what it reports
checkpoints/500/  what the process saved before its report of step 500
saved/            what a command saved as it likes: ${checkpoint}
end.json          the last event of the trial, as its worker saw it
memory.json       the most memory that a process of the trial has taken
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

from espalier.core.training.memory import Memory

VARIABLE = "ESPALIER_TRIAL"
"""The environment variable that names a trial's folder to its process, and to all that this starts."""
NEXT = ".next"  # the checkpoint that the process is writing
GOING = ".going-"  # how the names of folders begin that are being removed
STEP_MOST = 2**31 - 1
"""The last step that a report may have: databases keep steps as integers of 32 bits."""
LOOK_S = 0.005  # between looks for a decision
End = Literal["complete", "stopped", "failed", "memory"]


class Line(TypedDict, total=False):
    """A line of reports.jsonl.

    step, values, score: of a report. ratios: rows of (step, update ratio of each tensor, gradient ratio of each).
    checkpoint: whether one was saved with it. gpu: the bytes taken of its GPU so far at most, and those it has. end,
    error, trace: how a function ended. memory: the bytes that processes have taken which its keeper does not see.
    """

    step: int
    values: Mapping[str, float]
    score: float
    tensors: Sequence[str]
    ratios: Sequence[Sequence[float]]
    checkpoint: bool
    gpu: Sequence[int]
    end: End
    error: str
    trace: str
    memory: int


@dataclass(frozen=True)
class Assignment:
    """What a process is to train.

    trial: its key. values: of the hyperparameters, by plain names. schedule: as `torch_scheduler` takes it, empty where
    no rate is searched. metric: of the objective. due: the steps at which a report, with a validation and a checkpoint,
    is wanted. kept: the steps whose checkpoints are needed later. until: the step at which it is to leave, None for its
    end. resume: the step from which it goes on, and the checkpoint's folder. environment: variables for the process,
    beside those of all trials.
    """

    trial: str
    values: Mapping[str, Any]
    schedule: Mapping[str, Any]
    seed: int
    steps: int
    metric: str = "valid_loss"
    due: Sequence[int] = ()
    kept: Sequence[int] = ()
    until: int | None = None
    resume: tuple[int, str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def begin(self) -> int:
        """The step from which it goes on, 0 for the beginning."""
        return self.resume[0] if self.resume else 0


@dataclass
class TrialFolder:
    """The folder of a trial."""

    path: Path
    _read: int = field(default=0, repr=False)  # bytes of the reports that `new_lines` has returned

    def __post_init__(self) -> None:
        self.output, self.reports, self.end = (self.path / name for name in ("output.log", "reports.jsonl", "end.json"))
        self.decisions = self.path / "decisions.jsonl"

    # --- the assignment ----------------------------------------------------------------------------------------------

    def assign(self, assignment: Assignment) -> None:
        """Write what is to be trained. Reports beyond the step from which it goes on are forgotten.

        A command that has saved something goes on from a step that only it knows: its reports are kept until it
        reports an earlier step again.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        last = sys.maxsize if self.has_saved else assignment.begin
        lines = [line for line in self.lines() if "step" in line and line["step"] <= last]
        self.write_lines(lines)
        for stale in (self.path / "stop", self.end, self.decisions):
            stale.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints / NEXT, ignore_errors=True)
        self.set_read_to(self.output.stat().st_size if self.output.exists() else 0)
        _write(self.path / "assignment.json", json.dumps(asdict(assignment)))

    def assignment(self) -> Assignment:
        """Read what is to be trained. Raises OSError or ValueError where no worker has written it."""
        fields: dict[str, Any] = json.loads((self.path / "assignment.json").read_text(encoding="utf-8"))
        resume: list[Any] | None = fields.pop("resume")
        return Assignment(**fields, resume=(resume[0], resume[1]) if resume else None)

    # --- reports -----------------------------------------------------------------------------------------------------

    def set_read_to(self, place: int) -> None:
        """Keep up to which byte of the output its reports have been recorded."""
        _write(self.path / "read", str(place))

    def unread_output(self, most: int) -> list[str]:
        """Return the whole lines of the output after that, at most so many bytes of them."""
        with suppress(OSError, ValueError), open(self.output, "rb") as file:
            file.seek(int((self.path / "read").read_text()))
            *whole, _ = file.read(most).replace(b"\r", b"\n").split(b"\n")
            return [line.decode(errors="replace") for line in whole if line.strip()]
        return []

    def append(self, line: Line) -> None:
        """Add a line to the reports, at once and whole."""
        self.path.mkdir(parents=True, exist_ok=True)  # the code of a trial may have removed it
        _append(self.reports, line)

    def lines(self) -> list[Line]:
        """Return all lines so far; none of a folder that is not there."""
        with suppress(FileNotFoundError):
            return list(_parsed(self.reports.read_bytes()))
        return []

    def new_lines(self) -> list[Line]:
        """Return the lines since the last call."""
        try:
            with open(self.reports, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._read:  # removed, and begun anew
                    self._read = 0
                file.seek(self._read)
                arrived = file.read()
        except FileNotFoundError:
            return []
        whole = arrived[: arrived.rfind(b"\n") + 1]
        self._read += len(whole)
        return list(_parsed(whole))

    def write_lines(self, lines: Sequence[Line]) -> None:
        """Replace the reports; `new_lines` will return what comes after them."""
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        _write(self.reports, text.decode())
        self._read = len(text)

    # --- the end -----------------------------------------------------------------------------------------------------

    def request_stop(self, reason: str) -> None:
        """Ask the process to end at its next report."""
        _write(self.path / "stop", reason)

    def stop_reason(self) -> str:
        """Return why the process is to end; "" if it is not."""
        with suppress(OSError):
            return (self.path / "stop").read_text(encoding="utf-8") or "stopped"
        return ""

    def decide(self, step: int, reason: str) -> None:
        """Tell the other processes of the trial why it ends after a report; "": it goes on."""
        _append(self.decisions, {"step": step, "reason": reason})

    def decision(self, step: int, most_s: float) -> str:
        """Wait for what was decided at a step, and return it. Raises RuntimeError after `most_s` seconds."""
        begin = time.monotonic()
        while time.monotonic() < begin + most_s:
            with suppress(FileNotFoundError):
                for decision in _parsed(self.decisions.read_bytes()):
                    if decision.get("step", -1) >= step:
                        return str(decision.get("reason", ""))
            time.sleep(LOOK_S)
        raise RuntimeError(
            f"report: rank 0 has not reported step {step}; all processes of a trial report the same steps"
        )

    def set_end(self, event: Mapping[str, Any]) -> None:
        """Keep the last event of the trial, as JSON values."""
        _write(self.end, json.dumps(event))

    def read_end(self) -> Mapping[str, Any] | None:
        """Return the last event of the trial; None while it trains."""
        with suppress(OSError, ValueError):
            return json.loads(self.end.read_text(encoding="utf-8"))
        return None

    def most_memory(self, memory: Memory) -> Memory:
        """Keep the memory of a process; return the most that any of the trial has taken."""
        file = self.path / "memory.json"
        with suppress(OSError, ValueError, TypeError):
            memory = memory.most(Memory(**json.loads(file.read_text(encoding="utf-8"))))
        with suppress(OSError):
            _write(file, json.dumps(asdict(memory)))
        return memory

    # --- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def saved(self) -> Path:
        """The folder in which a command keeps what it goes on from, as it likes."""
        return self.path / "saved"

    @property
    def has_saved(self) -> bool:
        """Whether a command has saved something."""
        return self.saved.is_dir() and any(self.saved.iterdir())

    def next_checkpoint(self) -> Path:
        """Return the folder in which the next checkpoint is written."""
        folder = self.checkpoints / NEXT
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit_checkpoint(self, step: int) -> bool:
        """Make what was written the checkpoint of a step; return whether anything was."""
        written, folder = self.checkpoints / NEXT, self.checkpoints / str(step)
        if not written.is_dir() or not any(written.iterdir()):
            return False
        self.drop_checkpoint(step)
        written.rename(folder)
        return True

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint, rising."""
        with suppress(OSError):
            return sorted(int(folder.name) for folder in self.checkpoints.iterdir() if folder.name.isdigit())
        return []

    def checkpoint(self, most: int) -> tuple[int, str] | None:
        """Return the last checkpoint up to a step, with its folder; None if there is none."""
        steps = [step for step in self.checkpoint_steps() if step <= most]
        return (steps[-1], str(self.checkpoints / str(steps[-1]))) if steps else None

    def drop_checkpoints(self, needed: Sequence[int]) -> None:
        """Remove all checkpoints but those of some steps."""
        for step in self.checkpoint_steps():
            if step not in needed:
                self.drop_checkpoint(step)

    def drop_checkpoint(self, step: int) -> None:
        """Remove the checkpoint of a step."""
        _drop(self.checkpoints / str(step))

    def drop_saved(self) -> None:
        """Remove what a command has saved."""
        _drop(self.saved)


def _append(path: Path, line: Mapping[str, Any]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, json.dumps(line).encode() + b"\n")
    finally:
        os.close(handle)


def _parsed(text: bytes) -> Iterator[Line]:
    for line in text.splitlines():
        with suppress(ValueError):  # torn by a crash of the machine
            yield json.loads(line)


def _drop(folder: Path) -> None:
    """Remove a folder so that nobody finds a part of it, also if this process is killed meanwhile."""
    going = folder.with_name(f"{GOING}{folder.name}")
    shutil.rmtree(going, ignore_errors=True)
    with suppress(OSError):
        folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
