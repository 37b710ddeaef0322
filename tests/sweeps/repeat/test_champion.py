"""The champion: trained again, kept only if it is the same to the last bit, and fetched with its weights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from espalier.core.errors import BadInput
from espalier.core.programs.plain import PlainProgram
from espalier.core.rows import ParameterShapes
from espalier.core.task import load_task
from espalier.core.training.trial import Structure
from espalier.sweeps import cohorts as plan
from espalier.sweeps.address import no_secret
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.documents import document_schema
from espalier.sweeps.recording.stories import find_run
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.repeat.champion import check_name, weight_files
from espalier.sweeps.search.store import SweepStore
from tests.shared import one_at_a_time
from tests.sweeps.made import read_best

Sweep = Callable[..., Result]


@pytest.fixture
def registering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A registered trial's files go where its run has its artifacts: in copies of a home, into the one home."""
    with one_at_a_time(tmp_path_factory, "registering"):
        yield


@pytest.fixture
def home(small_sweep: Any, tmp_path: Path, registering: None) -> Path:
    """A copy of a finished sweep's home: its database is its own, its artifacts stay where they were."""
    shutil.copytree(small_sweep.home, tmp_path / "copy")
    return tmp_path / "copy"


def best_of(sweep: Sweep, home: Path, *more: str, file: str = "best.yaml") -> BestFile:
    """Pull a best file into the folder of the test."""
    pulled = sweep("best", *(more or ("small",)), "--home", str(home))
    assert pulled.exit_code == 0, pulled.output
    Path(file).write_text(pulled.stdout)
    return read_best(file)[0]


def loss_with(state: Mapping[str, torch.Tensor], best: BestFile) -> dict[str, float]:
    """Return the validation of a state dict, by the task of a best file."""
    spec = read_best("best.yaml")[1]
    task = load_task(spec.task, plan.task_options(spec, best.params))
    program = PlainProgram(task, Structure().optimizer)
    assert set(state) == set(task.model().state_dict())
    named = ParameterShapes(task.model()).shapes
    row = {("theta." if name in named else "buffer.") + name: tensor for name, tensor in state.items()}
    return program.evaluate(row, task.data().valid)


def test_the_weights_of_the_champion_give_the_number_of_its_trial(sweep: Sweep, home: Path) -> None:
    best, at = best_of(sweep, home), ("--home", str(home))
    kept = sweep("rerun", "best.yaml", "--register", "small-model", *at)
    assert kept.exit_code == 0, kept.output
    assert (
        "bit for bit\nregistered: small-model version 1, the champion; fetch it: sweep pull small-model" in kept.stdout
    )
    fetched = sweep("pull", "small-model", *at)
    assert fetched.stdout == "small-model/best.yaml\nsmall-model/weights.pt\n"
    assert f"trial {best.trial} of {best.sweep}" in fetched.stderr
    assert Path("small-model/best.yaml").read_text() == Path("best.yaml").read_text()
    state = torch.load("small-model/weights.pt", weights_only=True)
    assert loss_with(state, best) == {"loss": best.result["valid_loss"]}
    assert sweep("rerun", "small-model/best.yaml").exit_code == 0
    assert "load_model" not in kept.stdout, kept.stdout
    check_loads(state, best, home)
    client = MlflowClient(default_uri(home))
    (used,) = client.get_run(find_run(default_uri(home), best.sweep, best.trial)).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("Names", best.made_with["data"])


LOADS = """
import sys, mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model("models:/small-model@champion")
inputs = torch.load("inputs.pt", weights_only=True)
torch.save(model(inputs), "outputs.pt")
info = mlflow.models.get_model_info("models:/small-model@champion")
print(info.signature.inputs, info.saved_input_example_info is not None, "espalier" in sys.modules)
"""


def check_loads(state: Mapping[str, torch.Tensor], best: BestFile, home: Path) -> None:
    """MLflow loads the champion in a process that has none of its code, and it says the same."""
    spec = read_best("best.yaml")[1]
    task = load_task(spec.task, plan.task_options(spec, best.params))
    model = task.model()
    model.load_state_dict(dict(state))
    inputs = task.data().valid[0][:7]
    torch.save(inputs, "inputs.pt")
    words = [sys.executable, "-W", "ignore", "-c", LOADS, default_uri(home)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tensor" in done.stdout.lower() and done.stdout.split()[-2:] == ["True", "False"], done.stdout
    torch.testing.assert_close(torch.load("outputs.pt", weights_only=True), model.eval()(inputs).detach())


def test_mlflow_finds_the_champion_by_its_own_address(
    sweep: Sweep, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best_of(sweep, home)
    assert sweep("rerun", "best.yaml", "--register", "small-model", "--home", str(home)).exit_code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(home))
    place = Path(download_artifacts("models:/small-model@champion", dst_path=str(tmp_path / "by-mlflow")))
    assert {"MLmodel", "best.yaml", "data", "weights.pt"} <= {path.name for path in place.iterdir()}


def test_a_trial_is_one_version_however_often_it_is_registered_and_the_last_is_the_champion(
    sweep: Sweep, home: Path
) -> None:
    best = best_of(sweep, home)
    trials = SweepStore.open(str(home / "optuna.journal")).find("small").study.get_trials(deepcopy=False)
    other = next(t.number for t in trials if t.state.name == "COMPLETE" and t.number != best.trial)
    best_of(sweep, home, "small", "--trial", str(other), file="other.yaml")
    for file, version in (("best.yaml", 1), ("best.yaml", 1), ("other.yaml", 2)):
        kept = sweep("rerun", file, "--register", "small-model", "--home", str(home))
        assert f"small-model version {version}, the champion" in kept.stdout
    assert f"version 2, trial {other}" in sweep("pull", "small-model@champion", "--home", str(home)).stderr
    kept = sweep("rerun", "best.yaml", "--register", "small-model", "--json", "--home", str(home))
    again = json.loads(kept.stdout)
    jsonschema.validate(again, document_schema("rerun"))
    assert (again["trial"], again["reproduced"], again["model"], again["version"]) == (
        *(best.trial, True, "small-model", "1"),
    )
    pulled = json.loads(sweep("pull", "small-model", "--json", "--home", str(home)).stdout)
    jsonschema.validate(pulled, document_schema("pull"))
    assert (pulled["version"], pulled["trial"], pulled["sweep"]) == ("1", str(best.trial), best.sweep)


@pytest.mark.slow
@pytest.mark.usefixtures("registering")
def test_every_replicate_has_weights(sweep: Sweep, halved_sweep: Any, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(halved_sweep.home, home)
    best = best_of(sweep, home, halved_sweep.id)
    assert sweep("rerun", "best.yaml", "--register", "two", "--home", str(home)).exit_code == 0
    assert sweep("pull", "two", "--to", "there", "--home", str(home)).exit_code == 0
    losses = [loss_with(torch.load(f"there/{file}", weights_only=True), best)["loss"] for file in weight_files(2)]
    assert losses == [reports[-1][1]["valid_loss"] for reports in best.reports]
    assert len(set(losses)) == 2


def test_what_differs_is_not_registered(sweep: Sweep, home: Path) -> None:
    best_of(sweep, home)
    fields = yaml.safe_load(Path("best.yaml").read_text())
    fields["reports"][0][2][1]["valid_loss"] += 1e-6
    Path("best.yaml").write_text(yaml.safe_dump(fields))
    kept = sweep("rerun", "best.yaml", "--register", "small-model", "--home", str(home))
    assert kept.exit_code == 1
    assert "not reproduced" in kept.stdout
    assert "registered" not in kept.stdout
    assert "unknown model 'small-model'" in complaint(sweep("pull", "small-model", "--home", str(home)))


# --- what is refused --------------------------------------------------------------------------------------------------


def complaint(result: Result) -> str:
    """Return the one line that a refusal says."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("sweep: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("name", ["a/b", "a:b", "", " ", "../up", "it's", "-model"])
def test_a_name_that_no_model_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="a name is made of letters, digits"):
        check_name(name)


def test_a_wrong_name_is_refused_before_anything_is_printed(sweep: Sweep, home: Path) -> None:
    best_of(sweep, home)
    refused = sweep("rerun", "best.yaml", "--register", "a/b", "--home", str(home))
    assert "model 'a/b': a name is made of" in complaint(refused)
    assert "training trial" not in refused.output


def test_a_trial_that_mlflow_does_not_have_is_refused_before_it_trains(
    sweep: Sweep, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = best_of(sweep, home)
    monkeypatch.setattr("espalier.sweeps.repeat.champion.rerun", lambda *_: pytest.fail("it was trained"))
    said = complaint(sweep("rerun", "best.yaml", "--register", "small-model"))
    assert "mlflow.db is not there" in said and f"sweep resume {best.sweep}" in said


def test_a_champion_that_is_not_there_is_named_with_what_there_is(sweep: Sweep, home: Path) -> None:
    best_of(sweep, home)
    at = ("--home", str(home))
    assert sweep("rerun", "best.yaml", "--register", "small-model", *at).exit_code == 0
    assert "did you mean 'small-model'?" in complaint(sweep("pull", "smal-model", *at))
    assert "no alias 'best'; known here: champion" in complaint(sweep("pull", "small-model@best", *at))
    Path("file").write_text("")
    assert "--to file/x: cannot be written" in complaint(sweep("pull", "small-model", "--to", "file/x", *at))


# --- secrets ----------------------------------------------------------------------------------------------------------


WORDS = st.text(st.characters(codec="ascii", exclude_characters="\n\r*", categories=("L", "N", "P", "S")), min_size=8)


@given(WORDS)
def test_no_password_of_an_address_is_shown(password: str) -> None:
    for address in (f"postgresql://me:{password}@host/db", f"https://me:{password}@host:5000"):
        assert password not in no_secret(address).replace("https://me", "").replace("postgresql://me", "")
