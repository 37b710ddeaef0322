"""Repair of a damaged Optuna journal file, so that undamaged sweeps stay readable.

A line is an operation. Trials and studies are numbered in the order in which lines create them. So a lost line is
replaced: an empty trial is created where later lines refer to a trial that no line creates.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

Operation = dict[str, Any]
"""A line of the journal, whose fields depend on its op_code."""
CREATE_STUDY, DELETE_STUDY, SET_STUDY_USER_ATTR, SET_STUDY_SYSTEM_ATTR, CREATE_TRIAL = range(5)
SET_TRIAL_PARAM, SET_TRIAL_STATE_VALUES, SET_TRIAL_INTERMEDIATE_VALUE, SET_TRIAL_USER_ATTR = 5, 6, 7, 8
SET_TRIAL_SYSTEM_ATTR = 9
OF_STUDY = (DELETE_STUDY, SET_STUDY_USER_ATTR, SET_STUDY_SYSTEM_ATTR, CREATE_TRIAL)
OF_TRIAL = range(SET_TRIAL_PARAM, SET_TRIAL_SYSTEM_ATTR + 1)
NUMBER = (int, float, type(None))
FIELDS: Mapping[int, Mapping[str, type | tuple[type, ...]]] = {
    CREATE_STUDY: {"study_name": str, "directions": list},
    SET_STUDY_USER_ATTR: {"user_attr": dict},
    SET_STUDY_SYSTEM_ATTR: {"system_attr": dict},
    CREATE_TRIAL: {"datetime_start": (str, type(None))},
    SET_TRIAL_PARAM: {"param_name": str, "param_value_internal": (int, float), "distribution": str},
    SET_TRIAL_STATE_VALUES: {"state": int, "values": (list, type(None))},
    SET_TRIAL_INTERMEDIATE_VALUE: {"step": int, "intermediate_value": NUMBER},
    SET_TRIAL_USER_ATTR: {"user_attr": dict},
    SET_TRIAL_SYSTEM_ATTR: {"system_attr": dict},
}
MOST_MISSING = 10_000  # the most trials created at once; a larger number is itself damaged
NAMED = 3  # how many lines are named


def cut_torn_line(journal: Path) -> None:
    """Cut off an incomplete last line, left by a crash: Optuna would read nothing after it."""
    with open(journal, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def operation(text: bytes) -> Operation | None:
    """Parse a line as an operation; None if it is not valid. Bytes that are not UTF-8 are replaced.

    >>> operation(b'\\0{"op_code":0,"worker_id":"a\\xff","study_name":"s","directions":[1]}')["study_name"]
    's'
    >>> operation(b'{"op_code":0,"worker_id":"a"}')
    """
    try:
        line = json.loads(text.strip(b"\0\r\n ").decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("worker_id"), str):
        return None
    code = line.get("op_code")
    fields = dict(FIELDS.get(code, {})) if isinstance(code, int) and 0 <= code <= SET_TRIAL_SYSTEM_ATTR else None
    if fields is None:
        return None
    fields |= {"study_id": int} if code in OF_STUDY else {"trial_id": int} if code in OF_TRIAL else {}
    return line if all(name in line and isinstance(line[name], kind) for name, kind in fields.items()) else None


def mended(texts: Iterable[bytes]) -> Iterator[tuple[int, Operation | None]]:
    """Yield operations with their line numbers; None for an unreadable line.

    An operation on a study or trial that no line creates is preceded by one that creates it.
    """
    names: set[str] = set()
    studies, owners = 0, []  # owners: the study of each trial
    for number, text in enumerate(texts, 1):
        line = operation(text)
        if line is None or not _speaks_sense(line, studies, len(owners)):
            yield number, None
            continue
        code, latest = line["op_code"], owners[-1] if owners else 0
        if code in OF_STUDY:
            latest = line["study_id"]
        while studies <= latest and code != CREATE_STUDY:
            name = next(n for k in count(studies) if (n := f"lost-{k}") not in names)
            names.add(name)
            studies += 1
            yield number, {"op_code": CREATE_STUDY, "worker_id": "mended", "study_name": name, "directions": [1]}
        while code in OF_TRIAL and len(owners) <= line["trial_id"]:
            owners.append(latest)
            creation = {"op_code": CREATE_TRIAL, "worker_id": "mended", "study_id": latest}
            yield number, creation | {"datetime_start": "2000-01-01T00:00:00.000000+00:00"}
        if code == CREATE_STUDY:
            studies += line["study_name"] not in names
            names.add(line["study_name"])
        elif code == CREATE_TRIAL:
            owners.append(line["study_id"])
        yield number, line


def _speaks_sense(line: Operation, studies: int, trials: int) -> bool:
    """Whether an operation's numbers are plausible."""
    if line["op_code"] in OF_STUDY:
        return 0 <= line["study_id"] < studies + MOST_MISSING
    return line["op_code"] == CREATE_STUDY or 0 <= line["trial_id"] < trials + MOST_MISSING


def mend(journal: Path, broken: Iterable[int] = ()) -> str:
    """Rewrite a damaged journal without unreadable lines, and keep the old one. Return a sentence about it.

    broken: numbers of readable lines that Optuna rejects.
    """
    aside = next(p for n in count(1) if not (p := journal.with_name(f"{journal.name}.damaged-{n}")).exists())
    shutil.copyfile(journal, aside)
    dropped, leave_out = [], set(broken)
    part = journal.with_name(f"{journal.name}.part")
    with open(journal, "rb") as old, open(part, "wb") as new:
        texts = (b"" if number in leave_out else text for number, text in enumerate(old, 1))
        for number, line in mended(texts):
            if line is None:
                dropped.append(number)
            else:
                new.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    part.replace(journal)
    named = ", ".join(map(str, dropped[:NAMED])) + (f" and {len(dropped) - NAMED} more" if len(dropped) > NAMED else "")
    many = len(dropped) > 1
    lost = f"line{'s' * many} {named} cannot be read and {'are' if many else 'is'} left out"
    return f"{journal}: {lost if dropped else 'damaged bytes were replaced'}; the file as it was: {aside.name}"
