"""A function and a command run from the recorded copy, in the user's own folder."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.core.foreign.cohort import ProcessCohort
from espalier.core.loading.folders import current_folder, restoring_folder, use_copy, working_folder
from espalier.core.training.events import Ended
from espalier.sweeps import cohorts as plan
from espalier.sweeps.code.copies import keep, laid_out
from espalier.sweeps.code.sources import sources_of
from espalier.sweeps.process_checks import check_processes
from espalier.sweeps.process_engine import _launcher, make_cohort  # pyright: ignore[reportPrivateUsage]
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.spec.spec import SweepSpec, load_spec
from tests.sweeps.code.project import make_project

LOSS = """
import json
from pathlib import Path
from nets import SLOPE

def loss():
    gain = json.loads((Path(__file__).parent / "config.json").read_text())["gain"]
    large = float((Path(__file__).parent / "data" / "large.txt").read_text())
    return SLOPE * gain + large + float(Path("offset.txt").read_text())
"""
FUNCTION = LOSS + "\n\ndef train(config, report):\n    report(config.steps, valid_loss=loss())\n"
SCRIPT = LOSS + '\n\nprint(\'{"step": 10, "valid_loss": %r}\' % loss())\n'
SPEC = {
    "name": "line",
    "budget": {"steps": 10, "reports": 1},
    "space": {"lr": 0.1},
    "trials": 1,
    "search": {"sampler": "random"},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    folder = make_project(tmp_path / "project")
    for name, text in (("train.py", FUNCTION), ("script.py", SCRIPT)):
        (folder / name).write_text(text)
    with restoring_folder():
        yield folder


def spec_of(project: Path, **fields: Any) -> SweepSpec:
    (project.parent / "spec.yaml").write_text(yaml.safe_dump(SPEC | fields))
    return load_spec(str(project.parent / "spec.yaml"))


def ended(spec: SweepSpec, folder: Path) -> float:
    """Train a trial; return its loss."""
    trials = [PlannedTrial(0, plan.first_point(spec))]
    cohort: ProcessCohort = make_cohort(spec, trials, folder / "trials", str(working_folder()), "cpu")
    events: list[Any] = []
    try:
        while not cohort.done:
            events += cohort.turn()
    finally:
        cohort.close()
        cohort.setup.launcher.close()
        _launcher.cache_clear()
    (end,) = [event for event in events if isinstance(event, Ended)]
    assert end.status == "complete", end.evidence
    return end.values["valid_loss"]


WAYS: dict[str, dict[str, Any]] = {
    "function": {"function": "project/train.py:train"},
    "module": {"function": "project.train:train"},
    "command": {"command": [sys.executable, "project/script.py", "${args}"]},
    "python -m": {"command": [sys.executable, "-m", "project.script", "${args}"]},
}


@pytest.mark.parametrize("way", WAYS)
def test_it_trains_what_it_trained_before_an_edit(way: str, project: Path, tmp_path: Path) -> None:
    (project / "nets.py").write_text("SLOPE = 3.0\n")
    if way in ("module", "python -m"):  # the working folder is that of the package
        (project / "__init__.py").write_text("")
        for name in ("train.py", "script.py"):
            (project / name).write_text((project / name).read_text().replace("from nets", "from project.nets"))
    spec = spec_of(project, **WAYS[way])
    code = check_processes(spec)["code"]
    kept = keep(sources_of(spec), current_folder(), tmp_path / "home" / "sweeps" / "line-1", 32.0)
    assert kept
    (project / "nets.py").write_text("SLOPE = 4.0\n")
    (project / "config.json").write_text(json.dumps({"gain": 5.0}))
    use_copy(laid_out(tmp_path / "home" / "sweeps" / "line-1", kept.fact()))
    assert check_processes(spec)["code"] == code
    (tmp_path / "offset.txt").write_text("1")
    assert ended(spec, tmp_path / "copy") == 3.0 * 2.0 + 0.25 + 1.0
    use_copy(None)
    assert ended(spec, tmp_path / "today") == 4.0 * 5.0 + 0.25 + 1.0
    if way == "command" or way == "function":
        assert check_processes(spec)["code"] != code, "an imported file counts"
