"""A spec for a command: by what it says with --help, by the calls in its source, and by what it prints."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput, brief
from espalier.sweeps.spec.paths import source_file
from espalier.sweeps.starting import help_text, option_source
from espalier.sweeps.starting.arguments import Argument, by_name, number
from espalier.sweeps.starting.domains import counts_epochs, counts_steps, holds, is_seed, suggestion, whole_steps
from espalier.sweeps.starting.draft import Draft, Line, comment_on_default, default_line, meaning_in_a_space
from espalier.sweeps.starting.python_source import Source
from espalier.sweeps.starting.result_source import Results, results_of
from espalier.sweeps.starting.run_help import LIMIT_S, run_help
from espalier.sweeps.starting.words import fitting_name, listed, origin

ARGS, SEED, STEPS = "${args}", "${seed}", "${steps}"
STEPS_OTHERWISE = 100
LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "mpirun", "mpiexec", "srun", "horovodrun")
"""Programs that start a script several times; asked for help is the script alone."""
SHELLS = ("sh", "bash", "zsh", "dash", "fish")
ALIAS = "script_{}"  # in the space, for an option whose name means something of its own there


@dataclass
class Command:
    """A command as it was given. script: its place among the words, -1 if no source is known."""

    words: list[str]
    script: int
    sources: list[Source]

    @classmethod
    def read(cls, text: str) -> "Command":
        """Read a command and the sources of its script. Raises BadInput if there is none."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise BadInput(f"--from: {brief(text)}: {error}") from error
        if not words:
            raise BadInput('--from: an empty command; write for example --from "python train.py"')
        place, path = _script(words)
        if place < 0 or path is None:
            return cls(words, -1, [])
        if not path.is_file():
            raise BadInput(f"--from: no file '{brief(path)}' here")
        return cls(words, place, option_source.with_local_imports(Source.read(path, "--from")))

    @property
    def asking(self) -> list[str]:
        """The command that is asked for help: of torchrun and the like, the script alone."""
        if not self.sources:
            return self.words
        before = self.words[: self.script]
        if Path(before[0]).name in LAUNCHERS if before else False:
            before = [sys.executable]
        elif any(word.startswith("torch.distributed") for word in before):
            before = before[:1]
        return [*before, self.words[self.script]]

    @property
    def given(self) -> dict[str, str]:
        """The options that stand in the command already, with the word that follows."""
        rest = self.words[self.script + 1 :]
        known: dict[str, str] = {}
        for place, word in enumerate(rest):
            if word.startswith("-"):
                name, equals, value = word.partition("=")
                known[name] = value if equals else rest[place + 1] if place + 1 < len(rest) else ""
        return known


def _script(words: Sequence[str]) -> tuple[int, Path | None]:
    """Return the place of the script among the words, and its file."""
    for place, word in enumerate(words):
        if word == "-m" and place + 1 < len(words) and not words[place + 1].startswith("torch."):
            try:
                return place + 1, source_file(words[place + 1])
            except ImportError:
                return -1, None
        if word.endswith(".py"):
            return place, Path(word)
    return -1, None


def draft_of_command(text: str, limit_s: float = LIMIT_S) -> Draft:
    """Return the draft of a spec for a command. limit_s: that it may take to print its help."""
    command = Command.read(text)
    stem = Path(command.words[command.script if command.sources else 0]).stem.rpartition(".")[2]
    draft = Draft(origin(text), fitting_name(stem), "command", command.words, steps=STEPS_OTHERWISE)
    arguments = _arguments(command, draft, limit_s)
    _add_words(draft, command, arguments)
    _add_space(draft, command, arguments)
    _add_results(draft, command, results_of(command.sources))
    return draft


# --- the arguments ---------------------------------------------------------------------------------------------------


def _arguments(command: Command, draft: Draft, limit_s: float) -> list[Argument]:
    """Return the arguments of a command: those of its help, completed by its source; else those of its source."""
    what = command.words[command.script] if command.sources else command.words[0]
    declared = option_source.options(command.sources)
    if command.sources and not option_source.reads_a_command_line(command.sources):
        draft.notes.append(
            f"{what} reads no arguments, so nothing would reach it; take them with argparse, or write a function "
            "train(config, report)"
        )
        return []
    if what.endswith(".sh") or os.path.basename(what) in SHELLS:
        draft.notes.append(f"{what} is a shell script, which --help might set going; its options are not known")
        return []
    run = run_help(command.asking, limit_s)
    helped = help_text.options(run.text) if not run.problem else []
    if not helped:
        why = run.problem or "it printed no help"
        draft.notes.append(
            f"{what} --help: {why}" + ("; its options are those that its source names" if declared else "")
        )
        return declared
    known = by_name(declared)
    return [_merged(argument, known) for argument in helped]


def _merged(argument: Argument, known: dict[str, Argument]) -> Argument:
    other = known.get(argument.name)
    if other is None or argument.flag or other.flag:
        return other if other and other.turns_off else argument
    return argument.completed(other)


def _add_words(draft: Draft, command: Command, arguments: Sequence[Argument]) -> None:
    """Add the seed and the length of a trial to the command, and `${args}`."""
    options = command.given
    words = list(command.words)
    length = _length(arguments)
    if length is None:
        draft.steps_comment = "no option says how long a trial trains: the last step that it reports"
        draft.notes.append("how long a trial trains: budget.steps is to be the last step that it reports")
    else:
        value = number(options.get(length.option, "")) or length.default
        draft.steps = whole_steps(value) or STEPS_OTHERWISE
        unit = "epochs" if counts_epochs(length) else "steps"
        draft.steps_comment = f"{unit}: {length.option}"
        words = _with(words, length.option, STEPS)
    for argument in arguments:
        if is_seed(argument):
            words = _with(words, argument.option, SEED)
            break
    else:
        draft.notes.append("no option takes the seed: trials of one configuration differ by whatever the script draws")
    draft.code = words


def _length(arguments: Sequence[Argument]) -> Argument | None:
    """Return the option that says how long a trial trains: steps before epochs, of those that are in use."""
    for counts in (counts_steps, counts_epochs):
        for argument in arguments:
            usable = not isinstance(argument.default, int | float) or argument.default > 0
            if counts(argument) and usable and not argument.positional:
                return argument
    return None


def _with(words: list[str], option: str, value: str) -> list[str]:
    """Return a command with the value of an option replaced, or added."""
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            return [*words[: place + 1], value, *words[place + 2 :]]
        if word.startswith(f"{option}="):
            return [*words[:place], f"{option}={value}", *words[place + 1 :]]
    return [*words, option, value]


# --- the space -------------------------------------------------------------------------------------------------------


def _add_space(draft: Draft, command: Command, arguments: Sequence[Argument]) -> None:
    options, first = command.given, dict[str, Any]()
    words = list(draft.code)
    length = _length(arguments)
    for argument in arguments:
        if argument.option in options or is_seed(argument) or argument == length:
            continue
        domain = suggestion(argument).domain
        if argument.required and domain is None:
            _note_needed(draft, command, argument)
            continue
        if domain is None:
            draft.space.append(default_line(argument))
            continue
        name = argument.name
        long = argument.option == f"--{name}"
        if not long or meaning_in_a_space(name, domain):
            name = ALIAS.format(name)
            words += [argument.option, f"${{{name}}}"] if not argument.flag else []
            if argument.flag:
                draft.space.append(default_line(argument))
                continue
        draft.space.append(Line(name, domain, comment_on_default(argument)))
        if argument.default is not None and holds(domain, argument.plain_default):
            first[name] = argument.plain_default
    draft.first = first
    draft.code = [*words, ARGS]
    if not draft.searched and arguments:
        draft.notes.append(
            "no hyperparameter was recognised: write under space what to search, as its options are called"
        )


def _note_needed(draft: Draft, command: Command, argument: Argument) -> None:
    if argument.positional:
        if len(command.words) > command.script + 1:
            return  # which of the words it is cannot be told
        draft.notes.append(f"it needs {argument.name}: write it into the command")
    else:
        draft.notes.append(f"it needs {argument.option}: write {argument.option} VALUE into the command")


# --- the results -----------------------------------------------------------------------------------------------------


def _add_results(draft: Draft, command: Command, results: Results) -> None:
    what = os.path.basename(command.words[command.script]) if command.sources else "its output"
    ready = [*results.reported, *results.printed, *(name for _, names in results.patterns for name in names)]
    logged = results.logged
    if results.package != "mlflow":
        results.logged = [] if ready else results.logged
    objective = results.objective()
    if objective is None:
        draft.metric_comment = f"{what} does not say what it reports: the name there"
        draft.pattern_comment = "if it prints results"
        draft.notes.append(_how(what, draft.metric))
        return
    draft.metric, draft.mode = objective
    draft.pattern = results.pattern_for(draft.metric)
    if draft.metric in results.reported:
        draft.metric_comment = "reported"
    elif draft.metric in results.printed:
        draft.metric_comment = "in lines of JSON that it prints"
    elif draft.pattern:
        draft.metric_comment, draft.pattern_comment = "printed", f"a line that {what} prints"
    else:
        draft.metric_comment = f"logged by {results.package}" if results.package not in ("", "self") else "logged"
        draft.pattern_comment = "if it prints results"
        draft.notes.append(_how(what, draft.metric))
    if others := [name for name in dict.fromkeys([*ready, *logged]) if name not in (draft.metric, "step")]:
        draft.metric_comment += f"; also {listed(others)}"


def _how(what: str, metric: str) -> str:
    return (
        f"how results get here: write results.pattern for what {what} prints, or in {what} "
        f"from espalier import report, and report(step, {metric if metric.isidentifier() else 'valid_loss'}=loss)"
    )
