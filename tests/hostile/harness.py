"""What the hostile tests share: a small sweep, and the real command in a process of its own, which can be killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from espalier.core.programs.choose import NATIVE_FROM
from espalier.sweeps.home import Home
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.hostile.processes import PATIENCE_S, Process, descendants, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = NATIVE_FROM // 5  # with six trials a cohort begins by machine code; what a kill leaves of one would not

TASK = '''
"""The names task, which leaves a note of each worker that loads it, and slows it down."""

import os
import sys
import time
from pathlib import Path

from espalier.core.tasks.names import Names


class Witnessed(Names):
    def __init__(self, path: str, witness: str, checkpoint_s: float = 2.0, pause_s: float = 0.04):
        super().__init__(path, context=3, embedding=5, hidden=11, validation=37)
        self.witness, self.checkpoint_s, self.pause_s = Path(witness), checkpoint_s, pause_s

    def data(self):
        trainable = sys.modules.get("espalier.sweeps.running.trainable")
        if trainable is not None and "ray" in sys.modules:
            import ray

            if ray.is_initialized():
                trainable.CHECKPOINT_S = self.checkpoint_s
                slow_down(trainable.Watchdog, self.pause_s)
                node = ray.get_runtime_context().get_node_id()
                (self.witness / f"{os.getpid()}").write_text(node)
        return super().data()


def slow_down(watchdog, pause_s):
    """Have a worker pause before each call of its program: machine code would be done before anybody could kill it."""
    training = getattr(watchdog.training, "original", watchdog.training)

    def slowed(self, *arguments):
        time.sleep(pause_s)
        training(self, *arguments)

    slowed.original = training
    watchdog.training = slowed
'''


@dataclass
class Command:
    """`sweep ...` in a process group of its own. cwd: the folder in which it is called."""

    arguments: Sequence[str]
    folder: Path
    cwd: Path = REPOSITORY
    born: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out, self.err = self.folder / "stdout.txt", self.folder / "stderr.txt"
        command = [sys.executable, "-m", "espalier.sweeps.cli", *self.arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "100"}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                command, cwd=self.cwd, env=environment, stdout=out, stderr=err, start_new_session=True
            )

    def look(self) -> list[Process]:
        """Return the processes below the command now; they are remembered for the clean-up."""
        now = descendants(self.process.pid)
        self.born += [process for process in now if process not in self.born]
        return now

    def workers(self) -> list[Process]:
        """Return the processes that train cohorts now."""
        return [
            process for process in self.look() if process.title.startswith("ray::") and "Trainable" in process.title
        ]

    def wait_until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something holds while the command runs."""

        def holds_or_over() -> Any:
            found = holds()
            over = self.process.poll()
            assert found or over is None, f"the command ended with {over} before {what}:\n{self.said()}"
            return found

        return wait_until(holds_or_over, what)

    def wait(self) -> int:
        """Wait for the end of the command; return its exit code."""
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """Return what it wrote on both streams."""
        return self.out.read_text() + self.err.read_text()

    def document(self) -> dict[str, Any]:
        """Return what `--json` printed, after an end without trouble."""
        assert self.wait() == 0, self.said()
        return json.loads(self.out.read_text())

    def kill(self) -> None:
        """SIGKILL to the driver alone: nothing of it has a chance to clean up."""
        self.look()
        self.process.kill()
        self.process.wait()

    def clean_up(self) -> None:
        """End what is left: of the command, and of what it started."""
        if self.process.poll() is None:
            self.kill()
        for process in self.born:
            process.kill()


@dataclass
class Sweep:
    """One small sweep in a home of its own, and all commands about it."""

    folder: Path
    words: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_s: float = 2.0  # how often cohorts save themselves
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home, self.witness = self.folder / "home", self.folder / "witness"
        self.witness.mkdir(parents=True)
        task = self.folder / "witnessed.py"
        task.write_text(TASK)
        self.fields: dict[str, Any] = {
            "name": "hostile",
            "task": f"{task}:Witnessed",
            "task_options": {
                "path": str(self.words),
                "witness": str(self.witness),
                "checkpoint_s": self.checkpoint_s,
            },
            "budget": {"steps": STEPS, "batch_size": 16, "reports": 10},
            "space": {
                "lr_exponent": {"low": -2.5, "high": -0.5},
                "decay_points": {"low": 0.4, "high": 0.9, "branches": 2},
            },
            "trials": 12,
            "search": {"sampler": "random", "seed": 3},
            "resources": {"cpus": 1, "gpus": 0, "cohorts": 2, "lanes": 2},
        } | dict(self.changes)
        self.spec_file = self.folder / "spec.yaml"
        self.spec_file.write_text(yaml.safe_dump(self.fields))

    @property
    def spec(self) -> SweepSpec:
        return make_spec(self.fields)

    @property
    def id(self) -> str:
        """The sweep's id, once it has one."""
        (folder,) = (self.home / "sweeps").iterdir()
        return folder.name

    def start(self, *arguments: str) -> Command:
        """Start a command of this home, for example `resume ID`."""
        place = self.folder / f"command-{len(self.commands)}"
        place.mkdir()
        self.commands.append(Command([*arguments, "--home", str(self.home), "--json"], place))
        return self.commands[-1]

    def run(self, *options: str) -> Command:
        """Start the sweep."""
        return self.start("run", str(self.spec_file), *options)

    def resume(self, *options: str) -> Command:
        """Continue the sweep."""
        return self.start("resume", self.id, *options)

    def lines(self, op: str) -> list[dict[str, Any]]:
        """Return what the driver has said so far for the record: open, start, fork, report, end, pause, close."""
        found: list[dict[str, Any]] = []
        for spool in self.home.glob("sweeps/*/spool.jsonl"):
            texts = spool.read_bytes().splitlines(keepends=True)
            found += [json.loads(text) for text in texts if text.endswith(b"\n") and f'"{op}"'.encode() in text]
        return [line for line in found if line["op"] == op]

    def checkpoints(self) -> list[Path]:
        """Return the whole checkpoint files of all cohorts, the oldest first."""
        return sorted(
            self.home.glob("sweeps/*/tune-*/cohort-*/checkpoint_*/cohort.pt"), key=lambda p: p.stat().st_mtime
        )

    def in_the_middle(self, ends: int = 2) -> bool:
        """Whether some trials have ended, another one reports, and a cohort has saved itself."""
        ended = {line["trial"] for line in self.lines("end")}
        reporting = {line["trial"] for line in self.lines("report")} - ended
        assert len(ended) < self.spec.trials, "the sweep was over before it could be disturbed: give it more steps"
        return len(ended) >= ends and bool(reporting) and bool(self.checkpoints())

    def shown(self) -> dict[str, Any]:
        """Return what `sweep show ID --json` prints."""
        return self.start("show", self.id).document()

    def witnesses(self) -> list[Path]:
        """Return the notes that workers left, one each."""
        return list(self.witness.iterdir())

    def nodes(self) -> set[str]:
        """Return the Ray nodes on which cohorts have trained."""
        return {note.read_text() for note in self.witnesses()}

    def trials(self) -> list[TrialResult]:
        """Return what Optuna's storage knows."""
        return self.record.results()

    @property
    def record(self) -> SweepRecord:
        """The sweep in Optuna's storage."""
        return SweepStore.open(Home(self.home).storage).find(self.id)

    def attributes(self) -> dict[int, dict[str, Any]]:
        """Return what Optuna's storage has noted for each trial."""
        return {t.number: dict(t.frozen.user_attrs) for t in self.record.trials()}

    def programs(self) -> dict[int, str]:
        """Return by which program each trial has trained."""
        made, known = self.record.provenance, self.attributes()
        return {n: made[known[n]["cohort"]].program for n in known if known[n].get("cohort") in made}

    def links(self) -> dict[int, str]:
        """Return the MLflow run that Optuna's storage has noted for each trial."""
        return {t.number: t.mlflow_run or None for t in self.record.results()}

    @property
    def tracking(self) -> str:
        return resolve_tracking_uri(self.fields.get("tracking_uri"), self.home)

    def runs(self) -> list[Any]:
        """Return what MLflow knows: every run of the experiment but those that name another sweep."""
        client = client_of(self.tracking)
        (experiment,) = [e for e in client.search_experiments() if e.name == "hostile"]
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        return [run for run in runs if run.data.tags.get("espalier.sweep") in (None, self.id)]

    def clean_up(self) -> None:
        for command in self.commands:
            command.clean_up()


def client_of(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)
