"""The command of a W&B sweep file, its macros as placeholders."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from espalier.core.errors import BadInput, shown
from espalier.sweeps.starting.words import as_list, this_python

DEFAULT = ("${env}", "${interpreter}", "${program}", "${args}")  # W&B's own
ARGS = ("${args}", "${args_no_boolean_flags}", "${args_no_hyphens}", "${args_json}", "${args_json_file}")
_VARIABLE = re.compile(r"\$\{envvar:([^}]*)\}")


def command_of(file: Mapping[str, Any], space: dict[str, Any], notes: list[str]) -> list[str]:
    """Return the command of a sweep file, with what it passes by `${args}`.

    The domains of booleans become texts where W&B passes True and False as texts.
    """
    words = _words(file, notes)
    command: list[str] = []
    for place, word in enumerate(words):
        if word == "${env}":  # needed where variables follow it, as env A=1 python
            command += ["env"] * ("=" in "".join(words[place + 1 : place + 2]))
            continue
        if word == "${interpreter}":
            command.append(this_python())
        elif word == "${args_no_hyphens}":
            command += [f"{name}=${{{name}}}" for name in space]
        elif word in ARGS:
            command += _passed(word, space, notes)
        else:
            command.append(_filled(word, file, notes))
    if not any(word in ARGS for word in words):
        notes.append("command: no ${args} in it, so no value reached the script but by wandb.config; it is added")
        command.append("${args}")
    return command


def _words(file: Mapping[str, Any], notes: list[str]) -> Sequence[str]:
    command, program = file.get("command"), file.get("program")
    if command is None:
        if not program:
            notes.append("program: the file names none; python train.py stands in its place")
            return ["${interpreter}", "train.py", "${args}"]
        return DEFAULT
    if isinstance(command, str):
        return shlex.split(command)
    words = as_list(command)
    if words is not command or not words:
        raise BadInput(f"command: {shown(file['command'])}; a list of words is wanted")
    return [str(word) for word in words]


def _passed(macro: str, space: dict[str, Any], notes: list[str]) -> list[str]:
    if macro == "${args_no_boolean_flags}":
        return ["${args}"]
    if macro == "${args_json}":
        return ["${json}"]
    if macro == "${args_json_file}":
        notes.append("command: ${args_json_file} has no counterpart; the values themselves are passed, as JSON")
        return ["${json}"]
    for name, domain in space.items():
        values = as_list(domain)
        if any(isinstance(value, bool) for value in values):
            texts = [str(value) if isinstance(value, bool) else value for value in values]
            space[name] = texts if isinstance(domain, list) else texts[0]
            notes.append(f"parameters.{name}: texts, since ${{args}} of W&B passes --{name}=True")
    return ["${args}"]


def _filled(word: str, file: Mapping[str, Any], notes: list[str]) -> str:
    """Return a word with the macros inside it filled, as far as they have a counterpart."""
    for variable in _VARIABLE.findall(word):
        notes.append(f"command: ${{envvar:{variable}}} has no counterpart; write the value of {variable} there")
    word = word.replace("${program}", str(file.get("program") or "train.py")).replace("${interpreter}", this_python())
    return word.replace("${args_json}", "${json}").replace("${args_json_file}", "${json}")
