"""A program and its sweep in a folder outside the checkout, and what it leaves behind."""

import difflib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.hostile.harness import Command
from tests.hostile.processes import Process, wait_until

HERE = Path(__file__).parent
SHARED_MEMORY = Path("/dev/shm")
WORDS = ("the ", "cat ", "sat ", "on ", "a ", "mat\n")
IMAGES = {"train": 40, "valid": 16}  # of each split
NEEDS = {"lightning": "lightning", "huggingface": "transformers", "accelerate": "accelerate"}


def sources(name: str, version: str) -> Mapping[str, str]:
    """Return the files of a program by name. version: bare, as its author had it, or swept."""
    files = [*HERE.joinpath(name).glob("*.py"), *HERE.joinpath(name, version).glob("*.py")]
    return {file.name: file.read_text() for file in files}


def lines_written(name: str) -> int:
    """Return how many lines a user adds or changes in a program so that it can be swept."""
    bare, swept = sources(name, "bare"), sources(name, "swept")
    lines = [line for file in swept for line in difflib.ndiff(bare[file].splitlines(), swept[file].splitlines())]
    return sum(line.startswith("+ ") and line[2:].strip() != "" for line in lines)


@dataclass
class Program:
    """A program by name, laid out in a folder. changes: of its spec's fields."""

    name: str
    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (package := NEEDS.get(self.name)) and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: see tests/others.txt")
        self.project, self.home = self.folder / "project", self.folder / "home"
        self.project.mkdir(parents=True)
        for name, text in sources(self.name, "swept").items():
            self.project.joinpath(name).write_text(text)
        self.spec = yaml.safe_load(HERE.joinpath(self.name, "sweep.yaml").read_text())
        self.change(**self.changes)
        draw = random.Random(0)
        self.project.joinpath("input.txt").write_text("".join(draw.choices(WORDS, k=2000)))
        if self.name == "images":
            write_images(self.project / "images")

    def change(self, **fields: Any) -> None:
        """Change fields of its spec."""
        self.spec |= fields
        self.project.joinpath("sweep.yaml").write_text(yaml.safe_dump(self.spec))

    def start(self, *arguments: str) -> Command:
        """Start `sweep ...` in the program's folder."""
        place = self.folder / f"command-{len(self.commands)}"
        place.mkdir()
        as_json = ["--json"] if arguments[0] in ("run", "resume") else []
        words = [*arguments, "--home", str(self.home), *as_json]
        self.commands.append(Command(words, place, self.project))
        return self.commands[-1]

    def wait_until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something holds while the last command runs; remember the processes below it."""
        command = self.commands[-1]
        return command.wait_until(lambda: command.look() and holds(), what)

    def document(self) -> dict[str, Any]:
        """Return what the last command printed at its end; remember the processes below it."""
        command = self.commands[-1]
        wait_until(lambda: command.process.poll() is not None or not command.look(), "it ended")
        return command.document()

    def output(self, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """Return what a command of its own prints in the program's folder; it must succeed."""
        done = subprocess.run(
            command, cwd=self.project, env=os.environ | dict(environment), capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def id(self) -> str:
        """The sweep's id, once it has one."""
        (folder,) = (self.home / "sweeps").iterdir()
        return folder.name

    # --- its trials --------------------------------------------------------------------------------------------------

    def trials(self) -> list[Path]:
        """Return the folders of trials, so far."""
        return sorted(self.home.glob("sweeps/*/trials/*"))

    def ends(self) -> dict[str, dict[str, Any]]:
        """Return how trials have ended, by their folders' names."""
        ended = {folder.name: folder / "end.json" for folder in self.trials()}
        return {name: json.loads(file.read_text()) for name, file in ended.items() if file.exists()}

    def steps(self, trial: str) -> list[int]:
        """Return the steps that a trial has reported, which has ended."""
        return [step for step, _ in self.ends()[trial]["reports"]]

    def in_the_middle(self) -> str:
        """Return a trial that trains and has saved a checkpoint; "" if there is none."""
        ends = self.ends()
        for folder in self.trials():
            saved = [*folder.glob("checkpoints/[0-9]*"), *folder.glob("saved/*.pt")]
            if folder.name not in ends and saved:
                return folder.name
        return ""

    # --- its processes -----------------------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """Return the processes that run in the program's folder, or were started for one of its trials."""
        found: list[Process] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._runs(entry) and (process := Process.of(int(entry.name))):
                found.append(process)
        return [process for process in found if process.pid not in {command.process.pid for command in self.commands}]

    def _runs(self, entry: Path) -> bool:
        try:
            folder = os.readlink(entry / "cwd")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            return False
        return folder.startswith(str(self.folder)) or str(self.folder) in environment

    def trainers(self) -> list[Process]:
        """Return the processes in which the code of trials runs: of a function the one that has its trial."""
        running = [process for process in self.processes() if "keeper.py" not in process.title]
        if "function" in self.spec:
            return [p for p in running if name_of(p).startswith("trial ")]
        return [p for p in running if "train.py" in p.title and "--nproc-per-node" not in p.title]

    def shared_memory(self) -> list[str]:
        """Return the files of shared memory that a process of it has made and left."""
        pids = {str(process.pid) for command in self.commands for process in command.born}
        return [file.name for file in SHARED_MEMORY.iterdir() if pids & set(file.name.split("_"))]

    def clean_up(self) -> None:
        """End what is left."""
        for command in self.commands:
            command.clean_up()
        for process in self.processes():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def name_of(process: Process) -> str:
    """Return the name that a process has given itself."""
    try:
        return Path(f"/proc/{process.pid}/comm").read_text().strip()
    except OSError:
        return ""


def write_images(folder: Path) -> None:
    """Write striped and plain noise, in a folder for each split and class."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for split, number in IMAGES.items():
        for stripes, name in ((False, "plain"), (True, "striped")):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(number // 2):
                pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                if stripes:
                    pixels[::2] = pixels[::2] // 2
                Image.fromarray(pixels).save(place / f"{i}.png")


def path_with_this_python() -> str:
    """Return the search path of commands, with this environment's programs first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
