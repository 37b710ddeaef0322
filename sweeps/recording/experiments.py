"""MLflow's experiments: found by name, their runs and whose these are, and their views.

A saved view of an experiment's runs is a tag of it, as MLflow's button *Share* stores one; an address may name it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from espalier.sweeps.address import sqlite_file
from espalier.sweeps.recording.names import BIRTH_TAG, SWEEP_TAG, VIEW_TAG
from espalier.sweeps.recording.retry import LostAnswer, create_once, is_refusal, retry

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import DatasetInput, MlflowClient, Run


@dataclass(frozen=True)
class ExperimentRef:
    """An experiment: its id and its present name."""

    id: str
    name: str


def find_experiments(client: "MlflowClient", name: str) -> tuple[list[ExperimentRef], str]:
    """Return the active experiments NAME, NAME-2, ..., and the first of these names that is free.

    A deleted experiment still occupies its name but accepts no runs, so NAME-2 replaces it, and so on.
    """
    active: list[ExperimentRef] = []
    for number in count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        experiment = retry(partial(client.get_experiment_by_name, candidate))
        if experiment is None:
            return active, candidate
        if not experiment.experiment_id or experiment.name != candidate:
            raise LostAnswer(f"MLflow answered without the experiment {candidate}")
        if experiment.lifecycle_stage == "active":
            active.append(ExperimentRef(experiment.experiment_id, experiment.name))
    raise AssertionError


def open_experiment(client: "MlflowClient", name: str, uri: str) -> ExperimentRef:
    """Return the experiment for a name; create it if it is missing. A home's store has its artifacts beside it."""
    active, free = find_experiments(client, name)
    if active:
        return active[0]
    store = sqlite_file(uri)
    folder = None if store is None else (store.absolute().parent / "mlartifacts" / free).as_uri()

    def create() -> str:
        experiment = client.create_experiment(free, artifact_location=folder)
        if not experiment:
            raise LostAnswer("MLflow answered without the id of an experiment")
        return experiment

    def find() -> str | None:
        experiment = client.get_experiment_by_name(free)
        return experiment.experiment_id if experiment is not None and experiment.lifecycle_stage == "active" else None

    return ExperimentRef(create_once(create, find), free)


def deleted_note(name: str, experiment: ExperimentRef) -> str | None:
    """Return the note for an experiment that was deleted and replaced by another."""
    if experiment.name == name:
        return None
    return (
        f"the experiment {name} was deleted in MLflow, which takes no runs there; "
        f"recorded in experiment {experiment.name}"
    )


def active_experiment(client: "MlflowClient", experiment_id: str) -> ExperimentRef | None:
    """Return an experiment by its id; None if there is none or it is deleted."""
    try:
        experiment = retry(partial(client.get_experiment, experiment_id))
    except Exception as error:
        if not is_refusal(error):
            raise
        return None
    active = experiment.lifecycle_stage == "active"
    return ExperimentRef(experiment.experiment_id, experiment.name) if active else None


def all_experiments(client: "MlflowClient") -> list[str]:
    """Return the ids of all experiments that are not deleted."""
    ids: list[str] = []
    token = None
    while True:
        page = retry(partial(client.search_experiments, page_token=token))
        ids += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return ids


def search_runs(client: "MlflowClient", experiments: Sequence[str], filter_text: str) -> Iterator["Run"]:
    """Yield all runs that match a filter of MLflow, page by page."""
    token = None
    while True:
        page = retry(partial(client.search_runs, list(experiments), filter_text, max_results=1000, page_token=token))
        yield from page
        token = page.token
        if not token:
            return


def first_run(client: "MlflowClient", experiments: Sequence[str], filter_text: str) -> "Run | None":
    """Return a run that matches a filter, None if there is none."""
    return next(iter(client.search_runs(list(experiments), filter_text, max_results=1)), None)


@dataclass(frozen=True)
class Owner:
    """A sweep as the owner of runs: by its id and its birth.

    An id may be used again: after a deletion, or in another home. The birth is a random value that a sweep gets at its
    start, and all its runs have it as a tag. So a sweep never takes runs of another one with the same id for its own. A
    sweep that an earlier version began has no birth, nor have its runs.

    birth: "" where it has none; None where it is unknown, for any with this id.
    """

    sweep: str
    birth: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its runs."""
        return {SWEEP_TAG: self.sweep} | ({BIRTH_TAG: self.birth} if self.birth else {})

    def owns(self, run: "Run") -> bool:
        """Whether a run with its id is its own."""
        return self.birth is None or run.data.tags.get(BIRTH_TAG, "") == self.birth

    def runs(self, client: "MlflowClient", experiments: Sequence[str], more: str = "") -> "Iterator[Run]":
        """Yield its runs in some experiments. more: another condition of MLflow's filter."""
        condition = " and ".join(filter(None, [where(self.tags), more]))
        return (run for run in search_runs(client, experiments, condition) if self.owns(run))

    def first_run(self, client: "MlflowClient", experiments: Sequence[str], more: str = "") -> "Run | None":
        """Return one of its runs, None if there is none. One call, which is not retried. more: see `runs`."""
        condition = " and ".join(filter(None, [where(self.tags), more]))
        page = client.search_runs(list(experiments), condition, max_results=1000 if self.birth == "" else 1)
        return next((run for run in page if self.owns(run)), None)


def where(tags: dict[str, str]) -> str:
    """Return a filter of MLflow for runs with these tags.

    >>> where({"a": "1", "b": "2"})
    "tags.`a` = '1' and tags.`b` = '2'"
    """
    return " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())


def require_id(run: "Run") -> "Run":
    """Return the id of a run in MLflow's answer. Raises LostAnswer if it has none."""
    if not run.info.run_id:
        raise LostAnswer("MLflow answered without the id of a run")
    return run


def save_view(client: "MlflowClient", experiment: str, name: str, view: Mapping[str, object]) -> str | None:
    """Save a view of an experiment's runs under a name; return a note if MLflow refuses it. view: {} for none."""
    if not view:
        return None
    save = partial(client.set_experiment_tag, experiment, f"{VIEW_TAG}{name}", json.dumps(view))
    return noted(save, "the view of all trials, to which the links to a table of them lead")


def forget_view(client: "MlflowClient", experiment: str, name: str) -> None:
    """Delete a view of an experiment's runs, if there is one."""
    if f"{VIEW_TAG}{name}" in retry(partial(client.get_experiment, experiment)).tags:
        retry(partial(client.delete_experiment_tag, experiment, f"{VIEW_TAG}{name}"))


def log_inputs(client: "MlflowClient", run: str, inputs: "Sequence[DatasetInput]") -> str | None:
    """Log data as inputs of a run; return a note if MLflow refuses them. Twice the same are one input."""
    return noted(partial(client.log_inputs, run, inputs), "the digests of the data") if inputs else None


def noted(call: "partial[None]", what: str) -> str | None:
    """Make a call on which no other record depends; return a note if MLflow refuses it, None else."""
    try:
        retry(call)
    except Exception as error:
        if not is_refusal(error):
            raise
        return f"MLflow refuses {what}: {str(error).splitlines()[0][:300]}"
    return None
