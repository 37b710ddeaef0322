"""A command with placeholders, filled with the values of a trial."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from espalier.core.errors import BadInput, nearest
from espalier.core.foreign.folder import Assignment, TrialFolder

PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][\w.-]*)\}")
WHOLE = "${{{}}}"  # a word that is a placeholder alone
ARGS, JSON, ENV = "args", "json", "env"
OTHERS = (ARGS, JSON, ENV, "seed", "steps", "trial", "folder", "checkpoint", "resume")
"""Placeholders that are no hyperparameters."""


def filled(template: Sequence[str], assignment: Assignment, folder: TrialFolder) -> list[str]:
    """Return the words of a command for a trial.

    ${args} alone in a word: `--name value` for each value that stands nowhere else in the command; true gives `--name`
    alone, false and null nothing; a list its values one after another. ${json}: all values as one JSON object. ${env}
    is left out: it says that the code takes them from its environment. ${name}: a value. A word with a value of null,
    or of what the trial does not have, is left out, with the word before it if that is an option. ${seed}, ${steps},
    ${trial}; ${folder}: the trial's own; ${checkpoint}: a folder to save into that stays; ${resume}: the same where it
    holds something, else null.

    >>> assignment = Assignment("7/0", {"lr": 0.1, "nesterov": True, "dropout": None}, {}, seed=0, steps=100)
    >>> from pathlib import Path
    >>> folder = TrialFolder(Path("trials/7-0"))
    >>> filled(["python", "train.py", "${args}", "--seed=${seed}"], assignment, folder)
    ['python', 'train.py', '--lr', '0.1', '--nesterov', '--seed=0']
    >>> filled(["train", "--rate", "${lr}", "${args}"], assignment, folder)
    ['train', '--rate', '0.1', '--nesterov']
    >>> filled(["train", "--p", "${dropout}", "${lr}"], assignment, folder)
    ['train', '0.1']
    >>> filled(["train", "--beta=${beta}", "--beta2", "${beta2}"], assignment, folder)
    ['train']
    >>> filled(["train", "${json}"], assignment, folder)
    ['train', '{"lr": 0.1, "nesterov": true, "dropout": null}']
    >>> filled(["${env}", "train"], assignment, folder)
    ['train']
    """
    values = {**_own(assignment, folder, template), **assignment.values}
    named = {name for word in template for name in PLACEHOLDER.findall(word)}
    rest = {name: value for name, value in assignment.values.items() if name not in named}
    words: list[str] = []
    for word in template:
        if word == WHOLE.format(ARGS):
            words += arguments(rest)
            continue
        if word == WHOLE.format(ENV) and ENV not in values:
            continue
        names = PLACEHOLDER.findall(word)
        if any(values.get(name) is None for name in names):
            if word == WHOLE.format(names[0]) and words and words[-1].startswith("-"):
                words.pop()
            continue
        words.append(PLACEHOLDER.sub(lambda match: text(values[match[1]]), word))
    return words


def _own(assignment: Assignment, folder: TrialFolder, template: Sequence[str]) -> dict[str, Any]:
    if any("${checkpoint}" in word or "${resume}" in word for word in template):
        folder.saved.mkdir(parents=True, exist_ok=True)
    return {
        JSON: json.dumps(assignment.values),
        "seed": assignment.seed,
        "steps": assignment.steps,
        "trial": assignment.trial,
        "folder": str(folder.path),
        "checkpoint": str(folder.saved),
        "resume": str(folder.saved) if folder.has_saved else None,
    }


def config_text(assignment: Assignment) -> str:
    """Return all values of a trial with its seed and steps as one JSON object, for an environment variable."""
    return json.dumps({**assignment.values, "seed": assignment.seed, "steps": assignment.steps})


def arguments(values: Mapping[str, Any]) -> list[str]:
    """Return values as options of a command.

    >>> arguments({"lr": 1e-05, "amp": False, "betas": [0.9, 0.99], "name": "a b"})
    ['--lr', '1e-05', '--betas', '0.9', '0.99', '--name', 'a b']
    """
    words: list[str] = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        words.append(f"--{name}")
        if value is not True:
            inner: list[Any] = [*value] if isinstance(value, list | tuple) else [value]
            words += map(text, inner)
    return words


def text(value: Any) -> str:
    """Return a value as a word: numbers so that they read back to the same bits, lists and mappings as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value)
    return str(value)


def check_placeholders(template: Sequence[str], names: Sequence[str]) -> None:
    """Raise BadInput for a placeholder that no trial has a value for, or if the values reach the command nowhere.

    names: of the hyperparameters.
    """
    used = {name for word in template for name in PLACEHOLDER.findall(word)}
    for name in sorted(used - {*OTHERS, *names}):
        raise BadInput(
            f"command: ${{{name}}} has no value; write {name} under space; {nearest(name, [*OTHERS, *names])}"
        )
    if ARGS in used and WHOLE.format(ARGS) not in template:
        raise BadInput("command: ${args} stands inside a word; it becomes several words, so write it alone")
    if ENV in used - {*names} and WHOLE.format(ENV) not in template:
        raise BadInput("command: ${env} stands inside a word; it is left out, so write it alone")
    if not used & {ARGS, JSON, *({ENV} - {*names})}:
        for name in names:
            if name not in used:
                raise BadInput(
                    f"command: {name} is searched and reaches the command nowhere; write ${{{name}}} or ${{args}}, "
                    "or ${env} if it reads ESPALIER_CONFIG"
                )
