"""Scripts that log to MLflow by other people's loggers, as their authors wrote them: results: {mlflow: true}.

Each lies in a folder outside the checkout. Whatever logs, a trial has one run.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.names import SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.hostile.harness import Command
from tests.programs.harness import path_with_this_python

HERE = Path(__file__).parent / "tracked"
METRIC = {
    "plain": "valid_loss",
    "lightning_logger": "val_loss",
    "autologged": "val_loss",
    "huggingface_callback": "eval_loss",
}
NEEDS = {"lightning_logger": "lightning", "autologged": "pytorch_lightning", "huggingface_callback": "transformers"}
NOTHING = "print('trained')\n"


@pytest.fixture(autouse=True)
def _python_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person has activated the environment, in which `python` is its own."""
    monkeypatch.setenv("PATH", path_with_this_python())


class Tracked:
    """A script and its sweep of two trials, in a folder of their own."""

    def __init__(self, folder: Path, source: str, metric: str, changes: Mapping[str, Any]):
        self.folder, self.home, self.project = folder, folder / "home", folder / "project"
        self.project.mkdir()
        self.project.joinpath("train.py").write_text(source)
        spec = {
            "name": "tracked",
            "command": ["python", "train.py", "--steps", "${steps}", "${args}"],
            "results": {"mlflow": True},
            "objective": {"metric": metric},
            "budget": {"steps": 60},
            "space": {"lr": {"low": 0.01, "high": 0.1, "log": True}},
            "search": {"sampler": "random"},
            "trials": 2,
            "resources": {"gpus": 0, "grace": 5},
        }
        self.project.joinpath("sweep.yaml").write_text(yaml.safe_dump(spec | changes))
        self.commands: list[Command] = []

    def start(self, *arguments: str) -> Command:
        """Start `sweep ...` in the script's folder."""
        place = self.folder / f"command-{len(self.commands)}"
        place.mkdir()
        self.commands.append(Command([*arguments, "--home", str(self.home), "--json"], place, self.project))
        return self.commands[-1]

    def trains(self, past: int) -> Callable[[], str]:
        """Return what names a trial in the middle, which has reported a step beyond this one."""

        def in_the_middle() -> str:
            for place in sorted(self.home.glob("sweeps/*/trials/*/reports.jsonl")):
                steps = [json.loads(line).get("step", 0) for line in place.read_text().splitlines()]
                if max(steps, default=0) > past and not (place.parent / "end.json").exists():
                    return place.parent.name
            return ""

        return in_the_middle

    def runs(self) -> list[Run]:
        """Return the runs of all experiments but that of the sweep itself."""
        client = MlflowClient(default_uri(self.home))
        experiments = [each.experiment_id for each in client.search_experiments()]
        tags = {run: run.data.tags for run in client.search_runs(experiments)}
        return [run for run, of_run in tags.items() if SWEEP_TAG not in of_run or TRIAL_TAG in of_run]

    def points(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """Return the steps and values of a metric."""
        history = MlflowClient(default_uri(self.home)).get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in history)


@pytest.fixture
def make_tracked(tmp_path: Path) -> Iterator[Callable[..., Tracked]]:
    """Return a function that lays out a script, by its name or its source; other arguments are fields of the spec."""
    made: list[Tracked] = []

    def make(script: str, metric: str = "", **changes: Any) -> Tracked:
        if (package := NEEDS.get(script)) and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: see tests/others.txt")
        known = HERE / f"{script}.py" if script in METRIC else None
        made.append(Tracked(tmp_path, known.read_text() if known else script, metric or METRIC[script], changes))
        return made[-1]

    yield make
    for tracked in made:
        for command in tracked.commands:
            command.clean_up()


def trial_runs(tracked: Tracked) -> list[Run]:
    """Return the runs, of which there is one for each trial and none beside these; all of them have ended."""
    runs = tracked.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 2, runs
    assert sorted(run.data.tags[TRIAL_TAG] for run in runs) == ["0", "1"]
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("script", METRIC)
def test_what_a_logger_logs_are_the_results_and_a_trial_has_one_run(
    make_tracked: Callable[..., Tracked], script: str
) -> None:
    epochs = {"command": "python train.py --epochs ${steps} ${args}", "budget": {"steps": 6}}
    tracked = make_tracked(script, **(epochs if script == "autologged" else {}))
    summary = tracked.start("run", "sweep.yaml").document()
    assert summary["states"] == {"complete": 2}, summary
    reported = [tracked.points(run, METRIC[script]) for run in trial_runs(tracked)]
    assert [len({step for step, _ in points}) for points in reported] == [6, 6]
    assert summary["best"][METRIC[script]] == pytest.approx(min(points[-1][1] for points in reported))


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("script", ["plain", "lightning_logger"])
def test_the_driver_and_a_worker_killed_cost_no_result_and_double_no_run(
    make_tracked: Callable[..., Tracked], script: str
) -> None:
    source = (HERE / f"{script}.py").read_text()
    slowly = source.replace("mse_loss(", "mse_loss(*(__import__('time').sleep(0.1) or ()), ", 1)
    tracked = make_tracked(slowly, METRIC[script])
    driver = tracked.start("run", "sweep.yaml")
    driver.wait_until(tracked.trains(10), "a trial had logged")
    driver.kill()

    (sweep,) = (each.name for each in (tracked.home / "sweeps").iterdir())
    resumed = tracked.start("resume", sweep)
    resumed.wait_until(lambda: resumed.look() and tracked.trains(20)(), "a trial had logged again")
    for worker in resumed.workers():
        worker.kill()
    assert resumed.document()["states"] == {"complete": 2}
    for run in trial_runs(tracked):
        points = tracked.points(run, METRIC[script])
        assert len({step for step, _ in points}) == len(set(points)) == 6, points


@pytest.mark.slow
def test_an_evaluation_after_the_training_is_a_result(make_tracked: Callable[..., Tracked]) -> None:
    command = "python train.py --eval_steps 0 --steps ${steps} ${args}"
    tracked = make_tracked("huggingface_callback", command=command)
    assert tracked.start("run", "sweep.yaml").document()["states"] == {"complete": 2}
    for run in trial_runs(tracked):
        assert [step for step, _ in tracked.points(run, "eval_loss")] == [60]


@pytest.mark.slow
def test_a_script_that_counts_epochs_is_told_what_to_write(make_tracked: Callable[..., Tracked]) -> None:
    epochs = make_tracked("autologged", command="python train.py --epochs 4 ${args}")
    run = epochs.start("run", "sweep.yaml")
    assert run.document()["states"] == {"complete": 2}
    assert "the last report is of step 3, and budget.steps is 60; if they count epochs" in run.said()


@pytest.mark.slow
def test_a_script_that_logs_nothing_fails_with_one_line(make_tracked: Callable[..., Tracked]) -> None:
    nothing = make_tracked(NOTHING, "valid_loss")
    run = nothing.start("run", "sweep.yaml")
    run.wait()
    assert "failed: it logged no metric to its run of MLflow: trained (2 trials)" in run.said()
