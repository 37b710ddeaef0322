"""The champion: the best trial's weights, obtained by training it again, in MLflow's model registry."""

import os
import re
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from espalier.core import checkpoint
from espalier.core.errors import BadInput, briefly
from espalier.core.task import Task, load_task
from espalier.core.training.events import TrialId
from espalier.core.training.watch import Look, Watcher
from espalier.sweeps import cohorts as plan
from espalier.sweeps.address import no_secret
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.home import Home
from espalier.sweeps.recording.models import fetch_model, register
from espalier.sweeps.recording.names import CHAMPION
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.server import save_torch_model
from espalier.sweeps.recording.shown import datasets_of
from espalier.sweeps.recording.stories import find_run
from espalier.sweeps.recording.torch_model import NotLoadable, positional
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.repeat.code import NO_CODE, CodeUsed
from espalier.sweeps.repeat.rerun import Rerun, rerun
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.values import Fields

FILE = "best.yaml"
PULLED = r"best\.yaml|weights(-\d+)?\.pt"  # the files that `sweep pull` fetches; the others are MLflow's own
MODEL = "model"  # a folder in which MLflow's files of a model are written first
EXAMPLES = 2  # of the validation, in the example that becomes the signature: torch takes one example for a constant


class Weights(Watcher):
    """A watcher that collects each trial's final weights, as a state dict on the CPU."""

    def __init__(self) -> None:
        self.state_dicts: dict[str, dict[str, Tensor]] = {}

    def measure(self, look: Look) -> Mapping[str, float]:
        if look.step == look.trial.steps:
            state = look.model().state_dict()
            self.state_dicts[look.trial.id] = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        return {}


def check_name(name: str) -> None:
    """Raise BadInput for an invalid name of a model."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise BadInput(f"model '{name}': a name is made of letters, digits, '-', '_' and '.', for example names-model")


def weight_files(replicates: int) -> list[str]:
    """Return the names of the files of weights, one for each replicate.

    >>> weight_files(1), weight_files(3)
    (['weights.pt'], ['weights.pt', 'weights-1.pt', 'weights-2.pt'])
    """
    return ["weights.pt", *(f"weights-{r}.pt" for r in range(1, replicates))]


def place_for(name: str, best: BestFile, spec: SweepSpec, home: Home) -> str:
    """Return where the trial of a best file is recorded, in which a model of that name can be registered.

    Raises BadInput for an invalid name, and if the trial has no run there.
    """
    check_name(name)
    uri = resolve_tracking_uri(spec.tracking_uri, home.path)
    check_reachable(uri)
    find_run(uri, best.sweep, best.trial)
    return uri


def rerun_and_register(
    text: str, best: BestFile, spec: SweepSpec, name: str, uri: str, code: CodeUsed = NO_CODE
) -> Rerun:
    """Train the trial of a best file again; if it is the same to the last bit, register its weights and the text.

    uri: as of `place_for`. Return the rerun, with the version of the model.
    """
    weights = Weights()
    outcome = rerun(best, spec, weights, code)
    if not outcome.reproduced:
        return outcome
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        states = [weights.state_dicts[str(TrialId(best.trial, r))] for r in range(spec.replicates)]
        note = _add_model(folder, best, spec, states[0])
        (folder / FILE).write_text(text, encoding="utf-8")
        for file, state in zip(weight_files(spec.replicates), states, strict=True):
            checkpoint.save(folder / file, state)
        tags = {f"espalier.{outcome.metric}": repr(outcome.value)}
        data = [vars(each) for each in datasets_of(spec, best.made_with)]
        version = register(uri, name, best.sweep, best.trial, folder, tags, data)
        return replace(outcome, version=version, surroundings=[*outcome.surroundings, *filter(None, [note])])


def _add_model(folder: Path, best: BestFile, spec: SweepSpec, state: Mapping[str, Tensor]) -> str:
    """Write the trained model beside its weights, as MLflow loads it; return why that cannot be, "" if it can."""
    task = load_task(spec.task, plan.task_options(spec, best.params))
    model = task.model()
    model.load_state_dict(state)
    model.eval()
    try:
        inputs = _inputs(task, model, tuple(tensor[:EXAMPLES] for tensor in task.data().valid))
        save_torch_model(model, inputs, folder / MODEL)
    except Exception as error:  # the task's code may raise what it likes
        shutil.rmtree(folder / MODEL, ignore_errors=True)
        reason = str(error) if isinstance(error, NotLoadable) else f"its inputs are unknown: {briefly(error)}"
        return f"mlflow.pytorch.load_model cannot load it, since {reason}; weights.pt can be"
    for file in (folder / MODEL).iterdir():  # MLflow looks for them where the version begins
        file.rename(folder / file.name)
    (folder / MODEL).rmdir()
    return ""


def _inputs(task: Task, model: Module, batch: tuple[Tensor, ...]) -> list[Tensor]:
    """Return what a task gives its model of a batch, by position. Raises NotLoadable if these are not tensors alone."""
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def keep(_: Module, arguments: tuple[object, ...], named: dict[str, object]) -> None:
        calls.append((arguments, named))

    hook = model.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        task.loss(model, batch)
    hook.remove()
    if not calls:
        raise NotLoadable("the task's loss does not call the model as a whole")
    return positional(model, *calls[0])


@contextmanager
def _without_new_folders(folders: Sequence[Path]) -> Generator[None]:
    """Remove new folders, the innermost first, if the block raises and leaves them empty."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in folders:
                folder.rmdir()
        raise


@dataclass(frozen=True)
class Pulled:
    """A downloaded version of a model. source: MLflow's address. sweep, trial: by which it was trained."""

    model: str
    version: str
    sweep: str
    trial: str
    files: Sequence[Path]
    source: str

    @property
    def sentence(self) -> str:
        """What it is, and whence it came."""
        return f"{self.model} version {self.version}, trial {self.trial} of {self.sweep}, from {self.source}"

    def document(self) -> Fields:
        """Return it for JSON."""
        return {name: getattr(self, name) for name in ("model", "version", "sweep", "trial")} | {
            "files": [str(file) for file in self.files]
        }


def pull(wanted: str, folder: Path, home: Home) -> Pulled:
    """Download the files of `NAME` or `NAME@ALIAS` into a folder.

    Raises BadInput for an unknown model or alias, or a folder that cannot be written.
    """
    name, _, alias = wanted.partition("@")
    check_name(name)
    uri = resolve_tracking_uri(None, home.path)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _without_new_folders(missing), tempfile.TemporaryDirectory(dir=folder) as place:
            model = fetch_model(uri, name, alias or CHAMPION, Path(place), PULLED)
            files = [file for file in sorted(Path(place).rglob("*")) if file.is_file()]
            for file in files:
                os.replace(file, folder / file.name)
    except OSError as error:
        raise BadInput(f"--to {folder}: cannot be written ({error.strerror}); name another folder") from error
    paths = [folder / file.name for file in files]
    return Pulled(name, model["version"], model["sweep"], model["trial"], paths, no_secret(uri))
