"""The only file that imports MLflow, and only when something is recorded or read, since the import is slow.

Other files import MLflow's types from here, for type checkers only.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput, briefly
from espalier.sweeps.address import no_secret, sqlite_file, sqlite_url
from espalier.sweeps.recording.names import (
    DATASET_CHARACTERS,
    DIGEST_CHARACTERS,
    PARAM_CHARACTERS,
    TAG_CHARACTERS,
    mlflow_name,
)
from espalier.sweeps.recording.retry import LostAnswer, retry
from espalier.sweeps.recording.torch_model import NotLoadable, input_names, named_outputs
from espalier.sweeps.recording.tracking_uri import uri_source

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput as DatasetInput
    from mlflow.entities import FileInfo
    from mlflow.entities import Metric as Metric
    from mlflow.entities import Param as Param
    from mlflow.entities import Run as Run
    from mlflow.entities import RunTag as RunTag
    from mlflow.entities.model_registry import ModelVersion as ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient as MlflowClient
    from mlflow.types.schema import Schema
    from torch import Tensor
    from torch.nn import Module

EXAMPLE = "input_example.json"  # as MLflow calls it
_opened_stores: dict[str, tuple[int, int]] = {}  # uri -> the inode at the last opening, how often it changed


def configure_mlflow() -> None:
    """Import MLflow without telemetry, progress bars, log noise, and its own retries."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # its own retries would repeat the creation of a run, and a lost answer would make two; `create_once` looks first
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow.artifacts
    import mlflow.tracking  # noqa: F401 - both slow, and wanted by whatever comes next

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it also prints its errors, 90 lines each


def file_id(uri: str) -> int:
    """Return the inode of a store's file; 0 if there is none."""
    store = sqlite_file(uri)
    return store.stat().st_ino if store is not None and store.exists() else 0


def open_client(uri: str) -> "MlflowClient":
    """Return a client of a server or a store.

    MLflow caches connections by address, and those to a deleted file continue to write to it. So a file that replaced
    another gets an address with one more slash.
    """
    now = file_id(uri)
    before, changes = _opened_stores.get(uri, (now, 0))
    changes += before != now
    _opened_stores[uri] = now, changes
    if changes:
        scheme, _, rest = uri.partition(":///")
        uri = f"{scheme}:///{('/' if rest.startswith('/') else './') * changes}{rest}"
    configure_mlflow()
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def create_tables(store: Path) -> None:
    """Create the tables of a new sqlite store, with nothing in them, by `mlflow db upgrade`, in about two seconds."""
    configure_mlflow()
    import mlflow.db

    mlflow.db.upgrade.main([sqlite_url(store)], standalone_mode=False)


def mlflow_version() -> str:
    """Return MLflow's version, which determines a store's tables."""
    configure_mlflow()
    from mlflow.version import VERSION

    return VERSION


# --- errors -----------------------------------------------------------------------------------------------------------


def is_damage(error: Exception) -> bool:
    """Whether an error means that a sqlite file is damaged."""
    return "database disk image is malformed" in str(error) or "file is not a database" in str(error)


@contextmanager
def as_bad_input(uri: str, what: str = "the record") -> Iterator[None]:
    """Turn errors of MLflow or the network into BadInput."""
    configure_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, OSError, SQLAlchemyError) as error:
        reason = str(error).split("\n")[0]
        hint = "; sweep resume ID sets the file aside and records that sweep again" if is_damage(error) else ""
        raise BadInput(f"{uri_source(uri)}: {no_secret(uri)} refuses {what}: {no_secret(reason)}{hint}") from error


# --- entities ---------------------------------------------------------------------------------------------------------


def make_metric(name: str, value: float, time_ms: int, step: float) -> "Metric":
    """Return a point of a metric, with a valid name."""
    from mlflow.entities import Metric

    return Metric(mlflow_name(name), value, time_ms, step)  # type: ignore[arg-type]


def make_params(params: Mapping[str, object]) -> list["Param"]:
    """Return params, with values other than text as JSON, cut to MLflow's limits."""
    from mlflow.entities import Param

    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
    return [Param(mlflow_name(name), text[:PARAM_CHARACTERS]) for name, text in texts.items()]


def make_tags(tags: Mapping[str, object]) -> list["RunTag"]:
    """Return tags, cut to MLflow's limits."""
    from mlflow.entities import RunTag

    return [RunTag(name, str(value)[:TAG_CHARACTERS]) for name, value in tags.items()]


def make_dataset(name: str, digest: str, source: str, commit: str = "") -> "DatasetInput":
    """Return data as the input of a run. source: the code that makes them; commit: of git, "" if unknown."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = {"mlflow.source.name": source} | ({"mlflow.source.git.commit": commit} if commit else {})
    made_by = json.dumps({"tags": tags})  # as mlflow.data.code_dataset_source.CodeDatasetSource reads it
    dataset = Dataset(name[:DATASET_CHARACTERS], digest[:DIGEST_CHARACTERS], "code", made_by)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


# --- artifacts --------------------------------------------------------------------------------------------------------


def download_folder(uri: str, address: str, folder: Path | str, pattern: str = "") -> None:
    """Download a folder of a run's artifacts file by file, so that a lost answer costs one file.

    pattern: only files in it whose names match this regular expression; "" for all that is in it.
    """
    configure_mlflow()
    import mlflow.artifacts

    def list_files() -> list["FileInfo"]:
        files = mlflow.artifacts.list_artifacts(artifact_uri=address, tracking_uri=uri)
        if not files:
            raise LostAnswer(f"MLflow answered without the files of {address}")
        return files

    for item in retry(list_files):
        name = item.path.rpartition("/")[2]
        if item.is_dir and not pattern:
            download_folder(uri, f"{address}/{name}", folder)
        elif not item.is_dir and re.fullmatch(pattern or ".*", name):
            download_file(uri, f"{address}/{name}", folder)


def download_file(uri: str, address: str, folder: Path | str) -> str:
    """Download an artifact by its address; return its path. (By run id, a lost answer looks like a missing file.)"""
    configure_mlflow()
    import mlflow.artifacts

    return retry(
        lambda: mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder), tracking_uri=uri)
    )


def save_torch_model(model: "Module", inputs: "Sequence[Tensor]", folder: Path) -> None:
    """Write a model into a new folder as `mlflow.pytorch.load_model` takes it: its graph and weights, and no code.

    inputs: an example, a batch of two at least, which becomes its signature. torch.export traces the model with it.
    Raises NotLoadable for what it cannot trace, and for what MLflow refuses.
    """
    configure_mlflow()
    from mlflow.exceptions import MlflowException

    with warnings.catch_warnings():  # both warn of matters of their own
        warnings.simplefilter("ignore")
        try:
            _save_torch_model(model, inputs, folder)
        except MlflowException as error:
            raise NotLoadable(f"MLflow refuses it: {briefly(error)}") from error
        except Exception as error:  # torch.export raises what it likes
            raise NotLoadable(f"torch.export fails: {briefly(error)}") from error


def _save_torch_model(model: "Module", inputs: "Sequence[Tensor]", folder: Path) -> None:
    import torch
    from mlflow import pytorch  # pyright: ignore[reportPrivateImportUsage] - MLflow loads its flavours lazily

    arrays = [tensor.numpy() for tensor in inputs]
    names = input_names(model, len(inputs))
    with torch.no_grad():
        outputs = model(*inputs)
    pytorch.save_model(
        model,
        str(folder),
        input_example=arrays[0] if len(arrays) == 1 else arrays,
        signature=_signature(names, inputs, outputs),
        serialization_format="pt2",
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
    )
    if len(arrays) > 1:
        _add_example(folder, {name: array.tolist() for name, array in zip(names, arrays, strict=True)})


def _signature(names: Sequence[str], inputs: "Sequence[Tensor]", outputs: object) -> "ModelSignature":
    """Return the types and shapes of a model's inputs and outputs; the first axis is of any length."""
    from mlflow.models import ModelSignature

    known = named_outputs(outputs)
    return ModelSignature(_schema(dict(zip(names, inputs, strict=True))), _schema(known) if known else None)


def _schema(tensors: "Mapping[str, Tensor]") -> "Schema":
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    alone = len(tensors) == 1
    specs: list[ColSpec | TensorSpec] = [
        TensorSpec(each.detach().numpy().dtype, (-1, *each.shape[1:]) if each.ndim else (), None if alone else name)
        for name, each in tensors.items()
    ]
    return Schema(specs)


def _add_example(folder: Path, inputs: Mapping[str, object]) -> None:
    """Add an example of several inputs, which MLflow reads, but does not write."""
    from mlflow.models import Model

    (folder / EXAMPLE).write_text(json.dumps(dict(inputs)), encoding="utf-8")
    model = Model.load(str(folder))
    model.saved_input_example_info = {"artifact_path": EXAMPLE, "type": "ndarray"}
    model.save(str(folder / "MLmodel"))
