"""The identity of a sweep: its spec, its task's code, its data; and whether they changed when it is resumed."""

import platform
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput
from espalier.sweeps.guard import guard_task
from espalier.sweeps.spec.normal_form import normal_fields
from espalier.sweeps.spec.space import AUTO
from espalier.sweeps.spec.spec import SweepSpec

CHANGES = "changes"  # a study attribute: a period for each resume with changed code, data or versions
KINDS = {"code": "the task's code", "data": "the data", "data.others": "the data of its other choices"}
FOLDER = "code.folder"  # a study attribute: the folder of a task that is a module
COPY = "code.copy"  # a study attribute: the recorded copy of the task's code, see sweeps.code.copies
ENVIRONMENT = "environment"  # a study attribute: the hash of the environment, see sweeps.code.environment

Facts = Mapping[str, Any]


# --- the spec --------------------------------------------------------------------------------------------------------


def check_same_spec(sweep: str, facts: Facts, begun: SweepSpec, wanted: SweepSpec) -> None:
    """Raise BadInput, naming the fields, if an existing sweep has another spec than `wanted`.

    Different spellings with one meaning are equal, such as the short name of a task, or an option at its default.
    """
    in_rates = begun.space.lr is not None and wanted.space.lr is not None
    then, now = (normal_fields(spec, in_rates) for spec in (begun, wanted))
    if then["task"] == now["task"]:
        _leave_out_defaults(wanted.task, then["task_options"], now["task_options"])
    if "lr_range_run" in facts and wanted.space.lr_exponent == AUTO:  # replaced by the result of a range test
        then["space"]["lr_exponent"] = now["space"]["lr_exponent"] = AUTO
    fields = [f"{name} ({_shown(a)} there, {_shown(b)} here)" for name, a, b in _differences(then, now)]
    if then["notify"] == now["notify"] and begun.notify != wanted.notify:  # which are written without their secret
        fields.append("notify.webhook (another address there)")
    if fields:
        more = f" and {len(fields) - 5} more" if len(fields) > 5 else ""
        raise BadInput(
            f"--id {sweep}: that sweep exists, with another spec: {', '.join(fields[:5])}{more}; "
            f"give another id to begin a new sweep, or leave the spec as it was to go on"
        )


def spec_differences(one: SweepSpec, other: SweepSpec) -> list[tuple[str, object, object]]:
    """Return each field in which two specs differ, with its value in each; None where one has no such field.

    Different spellings with one meaning are equal. A name is no field of what is trained.
    """
    in_rates = one.space.lr is not None and other.space.lr is not None
    fields = _differences(normal_fields(one, in_rates), normal_fields(other, in_rates))
    known = [(name, None if a is _ABSENT else a, None if b is _ABSENT else b) for name, a, b in fields]
    return [each for each in known if each[0] != "name"]


def _leave_out_defaults(task: str, then: dict[str, object], now: dict[str, object]) -> None:
    """Remove, from the options of one task, those that one of the two has alone and that have the task's default.

    A task that is not there any more has no defaults: going on will name it.
    """
    alone = then.keys() ^ now.keys()
    if not alone:
        return
    from espalier.core.task import options_of, task_class

    guard_task(task)
    try:
        defaults = options_of(task_class(task))
    except BadInput:
        return
    for options in (then, now):
        for name in alone & options.keys():
            if name in defaults and not _differ(options[name], defaults[name]):
                del options[name]


_ABSENT = object()


def _differences(then: object, now: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield (field, then, now) for each difference between two trees of plain values."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*then, *now]):
            inner = f"{path}.{name}" if path else str(name)
            yield from _differences(then.get(name, _ABSENT), now.get(name, _ABSENT), inner)
    elif _differ(then, now):
        yield path, then, now


def _differ(then: object, now: object) -> bool:
    """Whether two values differ: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(then, list | tuple) and isinstance(now, list | tuple):
        return len(then) != len(now) or any(map(_differ, then, now))
    return isinstance(then, bool) != isinstance(now, bool) or then != now


def _shown(value: object) -> str:
    text = "nothing" if value is _ABSENT or value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- code and data ---------------------------------------------------------------------------------------------------


def periods(facts: Facts) -> list[Facts]:
    """Return the periods of a sweep, each with its code, data and versions: the first, and one for each change."""
    return [facts, *facts.get(CHANGES, [])]


def changed_kinds(facts: Facts, now: Facts) -> list[str]:
    """Return which of code and data have changed since the sweep last ran."""
    last = periods(facts)[-1]
    return [kind for kind in KINDS if kind in last and last[kind] != now.get(kind)]


def check_unchanged(sweep: str, facts: Facts, now: Facts, resume: str = "") -> None:
    """Raise BadInput, saying what differs, if code or data have changed since the sweep last ran.

    resume: the command that goes on with recorded code; "" if none is recorded, or it is what has been compared.
    """
    last = periods(facts)[-1]
    differing = [f"{KINDS[kind]} ({last[kind]} then, {now.get(kind)} now)" for kind in changed_kinds(facts, now)]
    if differing:
        have = "have" if len(differing) > 1 or "data" in differing[0] else "has"
        recorded = f"; `{resume}` goes on with the code that it began with" if resume else ""
        raise BadInput(
            f"{sweep}: {' and '.join(differing)} {have} changed since it last ran; its trials could not be compared: "
            f"put back what it was, or begin a new sweep{recorded}; --changed goes on all the same, and records it"
        )


def period(now: Facts, first: int, partly: Collection[int], anew: Collection[int]) -> dict[str, object]:
    """Return a period that begins now, for `CHANGES`.

    first: the number of the next trial. partly: trials that continue from a checkpoint. anew: trials that start over.
    """
    kinds = (*KINDS, "versions", "git_commit", "git_dirty", COPY, ENVIRONMENT)
    facts = {kind: now[kind] for kind in kinds if kind in now}
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**facts, "at": at, "first": first, "partly": sorted(partly), "anew": sorted(anew)}


def differs(facts: Facts, now: Facts) -> bool:
    """Whether code, data or versions have changed since the sweep last ran."""
    last = periods(facts)[-1]
    files = COPY in last and COPY in now and last[COPY]["hash"] != now[COPY]["hash"]
    return bool(changed_kinds(facts, now)) or files or ("versions" in last and last["versions"] != now.get("versions"))


def code_and_versions(facts: Facts, trial: int) -> dict[str, object]:
    """Return the versions, data, code and commit that a trial was trained with.

    A trial that trained across a change has both: "a, later b".
    """
    kinds = ("data", "code", "git_commit", ENVIRONMENT)
    its = _periods_of(facts, trial)
    rows = [
        dict(period.get("versions", {})) | {kind: period[kind] for kind in kinds if kind in period} for period in its
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _joined([row[name] for row in rows if name in row]) for name in names}


def last_period_of(facts: Facts, trial: int) -> Facts:
    """Return the period in which a trial was last trained."""
    return _periods_of(facts, trial)[-1]


def _periods_of(facts: Facts, trial: int) -> list[Facts]:
    """Return the periods in which a trial was trained, in order."""
    its: list[Facts] = [facts]
    for later in facts.get(CHANGES, []):
        if trial >= later["first"] or trial in later["anew"]:
            its = [later]
        elif trial in later["partly"]:
            its.append(later)
    return its


def _joined(values: Sequence[object]) -> object:
    several = list(dict.fromkeys(values))
    return several[0] if len(several) == 1 else ", later ".join(map(str, several))


def history(facts: Facts) -> str:
    """Return one sentence for each change of code, data or versions; empty if there was none."""
    sentences, before = [], facts
    for later in facts.get(CHANGES, []):
        old = {**before.get("versions", {}), **{k: before.get(k) for k in ("code", "data")}}
        new = {**later.get("versions", {}), **{k: later.get(k) for k in ("code", "data")}}
        moved = ", ".join(f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name])
        partly = f"; in part trials {', '.join(map(str, later['partly']))}" if later["partly"] else ""
        again = f"; begun again {', '.join(map(str, later['anew']))}" if later["anew"] else ""
        sentences.append(f"{later['at']}: {moved}; trials from {later['first']} on{partly}{again}")
        before = later
    return ". ".join(sentences)


# --- versions --------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions that can change a result: of this program, Python, torch, the compiler and the machine."""
    import numpy
    import torch

    from espalier.core.native import compiler_version

    try:
        own = metadata.version("espalier")
    except metadata.PackageNotFoundError:
        own = "unknown"
    return {
        "espalier": own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "compiler": compiler_version(),
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def git_state(folder: Path) -> dict[str, str]:
    """Return the commit of the checkout that `folder` is in, and whether it has changes; empty outside one."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10)
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if commit.returncode:
        return {}
    return {"git_commit": commit.stdout.strip(), "git_dirty": str(bool(status.stdout.strip())).lower()}
