"""A sweep file of W&B as a spec, and what of it has no counterpart.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from espalier.core.errors import BadInput, brief, shown
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.paths import found_files, spec_text
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.starting.arguments import Argument, kind_of
from espalier.sweeps.starting.domains import counts_epochs, counts_steps, whole_steps
from espalier.sweeps.starting.draft import meaning_in_a_space, value_text
from espalier.sweeps.starting.from_command import ALIAS, SEED, STEPS
from espalier.sweeps.starting.option_source import with_local_imports
from espalier.sweeps.starting.python_source import Source
from espalier.sweeps.starting.result_source import Results, results_of
from espalier.sweeps.starting.wandb_command import command_of
from espalier.sweeps.starting.wandb_parameters import Domain, domains
from espalier.sweeps.starting.words import as_list, as_mapping, fitting_name

SAMPLERS = {"grid": "grid", "random": "random", "bayes": "gp"}
TRIALS = 32  # where W&B would go on until it is stopped
STEPS_OTHERWISE = 100
ETA = 3  # W&B's own default
NOWHERE = {
    "project": "results are recorded in MLflow, under the sweep's name",
    "entity": "results are recorded in MLflow, under the sweep's name",
    "controller": "the command that runs a sweep is its controller",
}
TAKEN = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "description")


@dataclass
class Imported:
    """A spec made of a sweep file. text: as YAML. notes: line by line, what has no counterpart or is another thing."""

    source: str
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    comment: str = ""
    notes: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        """The spec as YAML."""
        head = [f"# Written by `sweep import {self.source}`. All fields: sweep schema"]
        head += [f"# {line}" for line in self.comment.splitlines()]
        lines: list[str] = []
        for name, value in self.fields.items():
            if name == "space" and value:
                lines += ["space:", *(f"  {value_text(n)}: {value_text(domain)}" for n, domain in value.items())]
            else:
                lines.append(f"{name}: {value_text(value)}")
        return "\n".join([*head, *lines]) + "\n"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"spec": self.fields, "notes": self.notes}

    def lines(self) -> list[str]:
        """Return what is to be known, a line each."""
        return [f"note: {note}" for note in self.notes]


def imported(path: str) -> Imported:
    """Read a sweep file of W&B. Raises BadInput for a file that is none, or cannot be turned into a spec."""
    text, source, folder = spec_text(path)
    fields = yaml12.read(text, source)
    if not isinstance(fields, dict):
        raise BadInput(f"{source}: no sweep file of W&B: it has program, method, parameters")
    file = cast("dict[str, Any]", fields)
    if "space" in file or "task" in file:
        raise BadInput(f"{source}: it is a spec already; sweep run {source}")
    if "parameters" not in file:
        raise BadInput(f"{source}: no sweep file of W&B: it has no parameters")
    result = Imported(source, comment=brief(file.get("description") or "", 200))
    _convert(file, result, folder)
    make_spec(found_files(result.fields, folder), f"{source}, as a spec")
    return result


def _convert(file: Mapping[str, Any], result: Imported, folder: Path) -> None:
    fields, notes = result.fields, result.notes
    program = str(file.get("program") or "")
    fields["name"] = fitting_name(str(file.get("name") or "") or Path(program).stem or "sweep")
    sampler = _sampler(file, notes)
    parameters = [*domains(file["parameters"], sampler == "grid")]
    space = {parameter.name: parameter.domain for parameter in parameters}
    notes += [f"parameters.{p.name}: {p.note}" for p in parameters if p.note]
    fields["command"] = command_of(file, space, notes)
    steps = _length(parameters, space, fields["command"], notes)
    _rename(space, fields["command"], notes)
    results = _found_results(program, folder)
    _metric(file, fields, notes)
    if pattern := results.pattern_for(fields["objective"]["metric"]):
        fields["results"] = {"pattern": pattern}
    fields["budget"] = {"steps": steps or STEPS_OTHERWISE}
    fields["space"] = space
    fields["trials"] = _trials(file, sampler, parameters, notes)
    fields["search"] = {"sampler": sampler}
    _stopping(file, fields, steps, notes)
    notes += _how_results_arrive(program, fields, results)
    notes += [f"{name}: no counterpart; {why}" for name, why in NOWHERE.items() if name in file]
    notes += [f"{name}: no counterpart" for name in file if name not in (*TAKEN, *NOWHERE)]


def _sampler(file: Mapping[str, Any], notes: list[str]) -> str:
    method = file.get("method", "random")
    if method not in SAMPLERS:
        raise BadInput(f"method: {shown(method)}; W&B has {', '.join(SAMPLERS)}")
    if method == "bayes" and file.get("early_terminate"):
        notes.append("method: bayes with early_terminate is tpe, which also learns from trials that were stopped")
        return "tpe"
    return SAMPLERS[method]


# --- how long, and which names ---------------------------------------------------------------------------------------


def _length(parameters: Sequence[Domain], space: dict[str, Any], command: list[str], notes: list[str]) -> int:
    """Return how long a trial trains, 0 if it is not known; a constant that says so becomes `${steps}`."""
    for counts in (counts_steps, counts_epochs):
        for parameter in parameters:
            values = as_list(parameter.domain)
            whole = [value for value in values if isinstance(value, int) and whole_steps(value)]
            if not whole or not counts(Argument(parameter.name, kind=kind_of(whole[0]))):
                continue
            if len(values) > 1:
                notes.append(f"parameters.{parameter.name}: trials of several lengths; rungs are shares of the longest")
                return max(whole)
            del space[parameter.name]
            _say(command, parameter.name, STEPS)
            return whole[0]
    notes.append("budget.steps: the file does not say how long a trial trains; write the last step that it reports")
    return 0


def _rename(space: dict[str, Any], command: list[str], notes: list[str]) -> None:
    """Give another name to what has a meaning of its own in a space; the seed is passed by its placeholder."""
    for name in [*space]:
        if name == "seed" or not (meaning := meaning_in_a_space(name, space[name])):
            continue
        space[ALIAS.format(name)] = space.pop(name)
        _say(command, name, f"${{{ALIAS.format(name)}}}")
        notes.append(f"parameters.{name}: {ALIAS.format(name)} in the space, where {name} is {meaning}")
    if "seed" in space:
        _say(command, "seed", SEED)
    rates = as_mapping(space.get("lr"))
    if rates and "low" in rates and not rates.get("log"):
        low, high = rates["low"], rates["high"]
        space["lr"] = {"low": low if low > 0 else high / 1000, "high": high, "log": True}
        notes.append("parameters.lr: rates are searched on a logarithmic scale")


def _say(command: list[str], name: str, value: str) -> None:
    """Write a value into a command by a placeholder of its own, as its other values are written there."""
    if f"{name}=${{{name}}}" in command:
        command[command.index(f"{name}=${{{name}}}")] = f"{name}={value}"
    elif "${args}" in command:
        place = command.index("${args}")
        command[place:place] = [f"--{name}", value]


# --- metric, trials, stopping ----------------------------------------------------------------------------------------


def _metric(file: Mapping[str, Any], fields: dict[str, Any], notes: list[str]) -> None:
    named = as_mapping(file.get("metric") or {})
    if named is None:
        raise BadInput(f"metric: {shown(file['metric'])}; it has name and goal")
    goal = str(named.get("goal", "minimize"))
    if goal not in ("minimize", "maximize"):
        raise BadInput(f"metric.goal: {shown(goal)}; minimize or maximize")
    if "name" not in named:
        notes.append("metric: the file names none; objective.metric is to be what the script reports")
    if "target" in named:
        notes.append("metric.target: no counterpart; the search goes on until its trials are over")
    name = str(named.get("name", "valid_loss"))
    fields["objective"] = {"metric": name, "mode": "min" if goal == "minimize" else "max"}


def _trials(file: Mapping[str, Any], sampler: str, parameters: Sequence[Domain], notes: list[str]) -> int:
    cap = file.get("run_cap")
    if isinstance(cap, int) and cap > 0:
        return cap
    if sampler == "grid":
        return max(1, min(1_000_000, math.prod(_size(parameter.domain) for parameter in parameters)))
    notes.append(f"run_cap: the file has none, and W&B would go on until it is stopped; trials is {TRIALS}")
    return TRIALS


def _size(domain: Any) -> int:
    fields = as_mapping(domain)
    if fields is None:
        return len(as_list(domain))
    if "choices" in fields:
        return len(fields["choices"])
    return int((fields["high"] - fields["low"]) / fields.get("step", 1) + 1e-9) + 1


def _stopping(file: Mapping[str, Any], fields: dict[str, Any], steps: int, notes: list[str]) -> None:
    early = file.get("early_terminate")
    if not early:
        return
    rule = as_mapping(early)
    if rule is None or rule.get("type", "hyperband") != "hyperband":
        notes.append(f"early_terminate: {shown(file['early_terminate'])} is no hyperband; no counterpart")
        return
    eta = rule.get("eta", ETA)
    rungs = _rungs(rule, steps, eta)
    fields["stopping"] = {"rungs": rungs, "reduction": eta} if rungs else {"reduction": eta}
    if not rungs:
        notes.append("early_terminate: where its brackets lie in a trial is not known; stopping has its own rungs")
    else:
        notes.append(f"early_terminate: hyperband's brackets are rungs at {', '.join(map(str, rungs))} of a trial")
    if rule.get("strict"):
        notes.append("early_terminate.strict: no counterpart")


def _rungs(rule: Mapping[str, Any], steps: int, eta: float) -> list[float]:
    """Return the brackets of hyperband as shares of a trial: min_iter * eta ** k, or max_iter / eta ** k."""
    if isinstance(least := rule.get("min_iter"), int) and least > 0 and steps:
        count = max(0, math.ceil(math.log(steps / least, eta) - 1e-9)) if least < steps else 0
        shares = [least * eta**k / steps for k in range(count)]
    else:
        shares = [1 / eta ** (k + 1) for k in reversed(range(int(rule.get("s", 0)) or 0))]
    return [share for share in (float(f"{share:.4g}") for share in shares) if 0 < share < 1]


# --- results ---------------------------------------------------------------------------------------------------------


def _found_results(program: str, folder: Path) -> Results:
    """Return what the source of the program says of results, as far as it is here."""
    for place in (Path(program), folder / program):
        if program.endswith(".py") and place.is_file():
            try:
                return results_of(with_local_imports(Source.read(place, "program")))
            except BadInput:
                return Results()
    return Results()


def _how_results_arrive(program: str, fields: Mapping[str, Any], results: Results) -> list[str]:
    metric = fields["objective"]["metric"]
    what = program or "the script"
    notes: list[str] = []
    if results.reads_wandb_config:
        notes.append(f"{what} reads wandb.config, which only W&B's agent fills: take the values from its arguments")
    if "results" in fields:
        return [*notes, f"results: {metric} is read from a line that {what} prints"]
    if metric in (*results.reported, *results.printed):
        return notes
    call = f"{metric}=..." if re.fullmatch(r"[A-Za-z_]\w*", metric) else f"**{{{metric!r}: ...}}"
    return [
        *notes,
        f"results: what goes to wandb.log does not get here; beside it write report(step, {call}) with "
        "from espalier import report, or log to MLflow, or give results.pattern for what is printed",
    ]
