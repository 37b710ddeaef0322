"""MLflow's model registry: register a trial's files as a version with the alias `champion`; download them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput, nearest
from espalier.sweeps.address import no_secret
from espalier.sweeps.recording.experiments import log_inputs
from espalier.sweeps.recording.names import CHAMPION, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.retry import LostAnswer, create_once, retry
from espalier.sweeps.recording.server import as_bad_input, download_folder, make_dataset, open_client
from espalier.sweeps.recording.stories import find_run

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import MlflowClient, ModelVersion


def register(
    uri: str,
    name: str,
    sweep: str,
    trial: int,
    folder: Path,
    tags: Mapping[str, object],
    data: Sequence[Mapping[str, str]] = (),
) -> str:
    """Log a folder's files to a trial's run, register them as a model with the alias champion; return its version.

    data: that it was trained on, which become inputs of its run; see shown.DatasetRef.
    A trial that already is a version keeps it: its files are the same to the last bit.
    Raises BadInput if MLflow refuses, or does not have the trial.
    """
    run = find_run(uri, sweep, trial)
    with as_bad_input(uri, f"the model {name}"):
        client = open_client(uri)
        find_model = partial(_find_model, client, name)
        if retry(find_model) is None:
            create_once(lambda: client.create_registered_model(name), find_model)
        find = partial(_find_version, client, name, run)
        version = retry(find)
        log_inputs(client, run, [make_dataset(**each) for each in data])
        if version is None:
            for file in sorted(folder.iterdir()):
                if file.is_dir():
                    retry(partial(client.log_artifacts, run, str(file), f"{CHAMPION}/{file.name}"))
                else:
                    retry(partial(client.log_artifact, run, str(file), CHAMPION))
            own_tags = {SWEEP_TAG: sweep, TRIAL_TAG: str(trial)}
            texts = own_tags | {tag: str(value) for tag, value in tags.items()}
            version = create_once(partial(_create_version, client, name, run, texts), find)
            version = retry(find) or version  # a delayed request may have created another
        number = version
        retry(lambda: client.set_registered_model_alias(name, CHAMPION, number))
        return number


def _find_model(client: "MlflowClient", name: str) -> object | None:
    return next(iter(client.search_registered_models(f"name = '{name}'")), None)


def _find_version(client: "MlflowClient", name: str, run: str) -> str | None:
    """Return the version of a run's files, None if there is none; of two with the same files, delete one."""
    versions = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run]
    versions.sort(key=lambda v: int(v.version))
    same = (v for v in versions[1:] if v.source == versions[0].source)
    for duplicate in same:  # from a delayed request that was taken for lost
        client.delete_model_version(name, str(duplicate.version))
    return str(versions[0].version) if versions else None


def _create_version(client: "MlflowClient", name: str, run: str, tags: dict[str, str]) -> str:
    source = f"{retry(partial(client.get_run, run)).info.artifact_uri}/{CHAMPION}"
    version = client.create_model_version(name, source, run, tags)
    if not version.version:
        raise LostAnswer("MLflow answered without the version of a model")
    return str(version.version)


def fetch_model(uri: str, name: str, alias: str, folder: Path, pattern: str) -> dict[str, str]:
    """Download the files of a registered model into a folder; return its version, sweep and trial.

    pattern: of the names of files, as a regular expression.

    Raises BadInput with the known names if there is no model of this name with this alias.
    """
    check_reachable(uri)
    with as_bad_input(uri, f"the model {name}"):
        client = open_client(uri)
        models = retry(lambda: client.search_registered_models(f"name = '{name}'"))
        if not models:
            known = [model.name for model in retry(client.search_registered_models)]
            raise BadInput(f"unknown model '{name}' in {no_secret(uri)}; {nearest(name, known)}")
        if alias not in models[0].aliases:
            raise BadInput(f"model {name} has no alias '{alias}'; {nearest(alias, models[0].aliases)}")
        version = retry(lambda: client.get_model_version_by_alias(name, alias))
        download_folder(uri, _files_of(client, version, name), folder, pattern)
        origin = {key: version.tags.get(tag, "unknown") for key, tag in (("sweep", SWEEP_TAG), ("trial", TRIAL_TAG))}
        return {"version": str(version.version), **origin}


def _files_of(client: "MlflowClient", version: "ModelVersion", name: str) -> str:
    """Return the address of a version's files. Raises BadInput if they are not among its run's artifacts."""
    run = version.run_id
    root = f"{retry(lambda: client.get_run(run)).info.artifact_uri}/" if run else ""
    source = version.source or ""
    if not root or not source.startswith(root) or ".." in source.split("/"):
        raise BadInput(f"model {name}, version {version.version}: its files are not those of a run")
    return source
