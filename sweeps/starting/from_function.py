"""A spec for a training function, or a Task, by its signature and by what it takes from its configuration."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espalier.core.loading.references import split_reference
from espalier.sweeps.starting.arguments import Argument, by_name
from espalier.sweeps.starting.domains import counts_epochs, counts_steps, holds, is_seed, suggestion, whole_steps
from espalier.sweeps.starting.draft import Draft, Line, comment_on_default, default_line, meaning_in_a_space
from espalier.sweeps.starting.option_source import with_local_imports
from espalier.sweeps.starting.python_source import (
    PASSED,
    Source,
    imports_from,
    is_async,
    signature,
    source_of,
    taken_from_config,
)
from espalier.sweeps.starting.result_source import Results, results_of
from espalier.sweeps.starting.words import fitting_name, listed, origin

_WIDTHS = re.compile(r"\w*(hidden|width|dim|units|channels|features|embd|d_model|embedding)\w*")
_DEPTHS = re.compile(r"\w*(layers?|depth|blocks)\w*")


def draft_of_function(reference: str) -> Draft:
    """Return the draft of a spec for a function or a Task. Raises BadInput if there is none."""
    source, name = source_of(reference, "--from")
    stem = Path(split_reference(reference)[0]).stem.rpartition(".")[2]
    way = "task" if name not in _functions(source) else "function"
    draft = Draft(origin(reference), fitting_name(stem), way, reference)
    arguments = signature(source, name)
    if way == "task":
        draft.steps_comment = "how long a trial trains"
        arguments = [Argument("lr"), *arguments]
    else:
        arguments = _of_function(source, name, arguments, draft)
    add_space(draft, arguments)
    if way == "function":
        _add_objective(draft, source, name)
    return draft


def _functions(source: Source) -> list[str]:
    return [name for name, node in source.definitions.items() if not hasattr(node, "bases")]


def _of_function(source: Source, name: str, arguments: Sequence[Argument], draft: Draft) -> list[Argument]:
    """Return all arguments of a function; note what a sweep would refuse."""
    if name not in source.functions:
        draft.notes.append(f"{name}() takes no config and report: write def {name}(config, report) first")
    if is_async(source, name):
        draft.notes.append(f"{name}() is asynchronous, and nobody would await it")
    if needed := [argument.name for argument in arguments if argument.required]:
        draft.notes.append(f"{name}() needs {listed(needed)}: give a default, or take config.{needed[0]}")
    taken, opaque = taken_from_config(with_local_imports(source), name)
    if opaque:
        draft.notes.append(f"{name}() unpacks config: which names it takes there cannot be told from its source")
    draft.steps_comment = "how long a trial trains: config.steps"
    return [*by_name([*arguments, *taken]).values()]


def add_space(draft: Draft, arguments: Sequence[Argument]) -> None:
    """Add what becomes of the arguments of a function, and note what is missing."""
    first: dict[str, Any] = {}
    for argument in arguments:
        if is_seed(argument) or argument.name in PASSED:
            continue
        if counts_steps(argument) or counts_epochs(argument):
            _set_steps(draft, argument)
            continue
        domain = suggestion(argument).domain
        if domain is None and argument.required:
            domain = _size(argument.plain_name)
        if domain is not None and (meaning := meaning_in_a_space(argument.name, domain)):
            draft.notes.append(f"{argument.name} is not searched: in a space it means {meaning}")
            domain = None
        if domain is None:
            if argument.required:
                draft.notes.append(f"{argument.name} has no default: write its values under space")
            draft.space.append(default_line(argument))
            continue
        draft.space.append(Line(argument.name, domain, comment_on_default(argument)))
        if argument.default is not None and holds(domain, argument.plain_default):
            first[argument.name] = argument.plain_default
    draft.first = first
    if not draft.searched:
        draft.notes.append("no hyperparameter was recognised: write what to search under space")


def _set_steps(draft: Draft, argument: Argument) -> None:
    if steps := whole_steps(argument.default):
        draft.steps, draft.steps_comment = steps, f"the default of {argument.name}"
    if argument.name != "steps" and draft.way == "function":
        draft.space.append(default_line(argument, "budget.steps says how long: take config.steps in its place"))


def _size(name: str) -> Any:
    return [32, 64, 128] if _WIDTHS.fullmatch(name) else [1, 2, 3] if _DEPTHS.fullmatch(name) else None


def _add_objective(draft: Draft, source: Source, name: str) -> None:
    results = results_of([source], within=name)
    reported = [metric for metric in results.names if metric in results.reported]
    results.logged, results.printed, results.patterns = [], [], []
    if objective := results.objective():
        draft.metric, draft.mode = objective
        others = [metric for metric in reported if metric != draft.metric]
        draft.metric_comment = f"reported; also {listed(others)}" if others else "reported"
    elif imports_from(beside := with_local_imports(source), "espalier.transformers"):
        draft.metric, draft.metric_comment = "eval_loss", "the Trainer's; also eval_ and what compute_metrics returns"
    elif (logged := Results(logged=results_of(beside).logged).objective()) and not reported:
        (draft.metric, draft.mode), draft.metric_comment = logged, "logged"
    elif reported:
        draft.metric, draft.metric_comment = reported[0], "reported; mode: max if more of it is better"
        draft.notes.append(f"whether more or less of {reported[0]} is better: see objective.mode")
    else:
        draft.metric_comment = "no call of report(step, valid_loss=...) was found: its name there"
        draft.notes.append(f"{name}() names no metric in a call of report: objective.metric may have another name")
