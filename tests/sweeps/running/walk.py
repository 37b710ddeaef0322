"""One small sweep from its YAML to MLflow in this process, and which of our functions it called, in order.

    python -m tests.sweeps.running.walk

Ray Tune is a stand-in: it gives out cohorts and hands in the events that a worker would have reported. Everything else
is the real driver, on a real journal and a real MLflow store.
"""

import gc
import inspect
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import ray.tune
from pydantic import BaseModel

from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.home import Home
from espalier.sweeps.running import driver, tune
from espalier.sweeps.running.messages import Assignment, Turn
from espalier.sweeps.search.cohort_plan import CohortPlan, Provenance
from espalier.sweeps.spec.spec import SweepSpec, load_spec
from tests.sweeps.made import THERMOMETER, life

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("core", "sweeps", "services", "espalier")
VALIDATION = "SweepSpec._consistent"  # runs once for each validation of a whole spec
LOOP_FOLDER, LOOP = "sweeps/running/", "sweeps/running/loop.py"
TAKE_TURN = "Loop.take_turn"
LISTENERS = (
    "sweeps/search/",
    "sweeps/recording/",
    *(f"sweeps/running/{name}.py" for name in ("display", "progress", "work", "messages")),
)
"""Whose functions the loop calls, and which call nothing of the loop's."""

PHASES = ("reading", "checks", "start", "training", "closing", "records")
SPEC_FOLDERS = ("sweeps/spec/", "sweeps/own_kinds.py", "core/schedules/", "core/optimizers/")
"""A spec's own functions, and those of the kinds that it names. A stay there is none: any use of a field is one."""


@dataclass(frozen=True)
class Call:
    """A call of one of our functions. callers: the files of the functions that wait for it, the innermost first."""

    file: str
    function: str
    callers: Sequence[str]
    takes: frozenset[str]  # the names of the types of its arguments; a part of a spec counts as one
    in_driver: bool  # the main thread; else it is the thread that sends records


class Walk:
    """The calls of our functions while `recording` is entered, of this thread and of those that begin meanwhile."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._files: dict[str, str | None] = {}
        self._specs: dict[int, list[object]] = {}  # each spec that was met, by its id, with all that it has
        self._parts: set[int] = set()  # their ids

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record calls while the block runs, but none that the collector makes, which ends what was left behind."""
        thresholds = gc.get_threshold()
        gc.collect()
        gc.set_threshold(0)  # never: `gc.enable` does not change it
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
            gc.set_threshold(*thresholds)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or (file := self._own_file(frame)) is None:
            return
        callers = []
        outer = frame.f_back
        while outer is not None:
            if name := self._own_file(outer):
                callers.append(name)
            elif outer.f_code.co_name == "<module>" and _own_file(outer.f_code.co_filename):
                return  # it is being imported
            outer = outer.f_back
        in_driver = threading.current_thread() is threading.main_thread()
        self.calls.append(Call(file, frame.f_code.co_qualname, callers, self._types_taken(frame), in_driver))

    def _own_file(self, frame: FrameType) -> str | None:
        """Return the file of one of our functions, from the project's root; None for others, and for class bodies."""
        code = frame.f_code
        if not code.co_flags & inspect.CO_OPTIMIZED:
            return None
        if code.co_filename not in self._files:
            self._files[code.co_filename] = _own_file(code.co_filename)
        return self._files[code.co_filename]

    def _types_taken(self, frame: FrameType) -> frozenset[str]:
        """Return the types of a function's arguments; a spec is also what is given something that a spec has."""
        code = frame.f_code
        values = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        for value in values:
            if isinstance(value, SweepSpec) and id(value) not in self._specs:
                self._specs[id(value)] = [value, *_parts(value)]
                self._parts |= {id(part) for part in self._specs[id(value)]}
        items = (item for value in values if type(value) in (list, tuple) for item in value[:1])
        names = {type(value).__name__ for value in (*values, *items)}
        return frozenset(names | ({"SweepSpec"} if any(id(value) in self._parts for value in values) else set()))

    # --- what it shows -----------------------------------------------------------------------------------------------

    def files(self) -> list[str]:
        """Return the files that ran code, the first first."""
        return _files(self.calls)

    def turn_files(self) -> list[str]:
        """Return the files that run code in the driver while it takes a turn of a worker, the first first."""
        begins = [k for k, call in enumerate(self.calls) if call.function == TAKE_TURN]
        return _files(self.calls[i] for k in begins for i in self._until_return(k))

    def phase_files(self) -> dict[str, list[str]]:
        """Return the files that run code in each phase of the run; "records" is the thread that sends them."""
        checks, training = (self._until_return(self._first(name)) for name in ("check_spec", "run_tune"))
        ends = {"reading": self._first("start"), "start": training[0], "training": training[-1] + 1}
        phases: dict[str, list[Call]] = {name: [] for name in PHASES}
        for i, call in enumerate(self.calls):
            phase = next((name for name, end in ends.items() if i < end), "closing")
            phases["records" if not call.in_driver else "checks" if i in checks else phase].append(call)
        return {name: _files(calls) for name, calls in phases.items()}

    def count(self, function: str) -> int:
        """Return how often a function was called, by its qualified name."""
        return sum(call.function == function for call in self.calls)

    def _first(self, function: str) -> int:
        return next(k for k, call in enumerate(self.calls) if call.function == function)

    def _until_return(self, begin: int) -> list[int]:
        """Return the place of a call, and of those that the driver makes before it returns."""
        inside, depth = [begin], len(self.calls[begin].callers)
        for k, call in enumerate(self.calls[begin + 1 :], begin + 1):
            if call.in_driver and len(call.callers) <= depth:
                break
            if call.in_driver:
                inside.append(k)
        return inside

    def handed_on(self, *types: str) -> list[str]:
        """Return the files that the loop hands a value of some types to, in order, the first time that it does."""
        given = [c.file for c in self.calls if c.callers[:1] == [LOOP] and c.file != LOOP and c.takes & set(types)]
        again = next((k for k in range(1, len(given)) if given[k] == given[0]), len(given))
        return given[:again]

    def callbacks(self) -> list[str]:
        """Return the calls of the loop's functions by those that it calls: search, records, progress."""
        return [
            f"{call.callers[0]} -> {call.file}:{call.function}"
            for call in self.calls
            if _of_loop(call.file) and any(caller.startswith(LISTENERS) for caller in call.callers)
        ]

    def stays_of_spec(self) -> list[str]:
        """Return the files which the spec is handed to from the driver's start on, in order, no file twice in a row."""
        begin = next(k for k, call in enumerate(self.calls) if call.file == "sweeps/running/driver.py")
        stays: list[str] = []
        for call in self.calls[begin:]:
            outside = not call.file.startswith(SPEC_FOLDERS)
            if "SweepSpec" in call.takes and call.in_driver and outside and stays[-1:] != [call.file]:
                stays.append(call.file)
        return stays


def _files(calls: Iterable[Call]) -> list[str]:
    """Return the files of some calls, the first first."""
    return list(dict.fromkeys(call.file for call in calls))


def returns(stays: Sequence[str]) -> int:
    """Return how many stays are in a file that was left before.

    >>> returns(["a", "b", "a", "c", "b"])
    2
    """
    return len(stays) - len(set(stays))


def _own_file(filename: str) -> str | None:
    path = Path(os.path.realpath(filename))
    if not path.is_relative_to(ROOT):
        return None
    relative = path.relative_to(ROOT)
    return relative.as_posix() if relative.parts[0] in PACKAGES else None


def _of_loop(file: str) -> bool:
    return file.startswith(LOOP_FOLDER) and not file.startswith(LISTENERS)


def _parts(value: object) -> Iterator[object]:
    """Yield what a spec has: its models, its mappings, and its texts of some length (Python shares short ones)."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from _parts(getattr(value, name))
    elif (isinstance(value, dict) and value) or (isinstance(value, str) and len(value) > 8):
        yield value


# --- the sweep --------------------------------------------------------------------------------------------------------


class TwoCores:
    """A session with a Ray that nobody needs."""

    def resources(self, given_up: Any = None) -> tuple[float, float]:
        return 2.0, 0.0

    def start(self) -> None: ...

    def leave(self) -> None: ...

    def end(self) -> None: ...

    def dead(self) -> bool:
        return False


class StandInTuner:
    """Ray Tune without Ray: cohorts are asked for while there are any, and each trains by one turn."""

    def __init__(self, trainable: Any, tune_config: Any, run_config: Any):
        self.searcher, self.stopper = tune_config.search_alg, run_config.stop

    def fit(self) -> None:
        number = 0
        while isinstance(config := self.searcher.suggest(f"tune-{number}"), dict):
            turn = worker_turn(Assignment.from_config(config).plan)
            self.searcher.on_trial_result(f"tune-{number}", turn.to_result())
            self.stopper.stop_all()
            self.searcher.on_trial_complete(f"tune-{number}", replace(turn, done=True, events=()).to_result())
            number += 1


def worker_turn(plan: CohortPlan) -> Turn:
    """Return what a worker reports of a cohort whose trials complete within one turn."""
    events = [event for trial in plan.trials for event in life(trial.number, 2.0 + trial.number)]
    return Turn("here", False, events, Provenance("vmap", "many lanes", 2, "cpu"), lane_steps=40)


def without_ray(patched: Callable[[object, str, object], None]) -> None:
    """Have drivers of this process train by stand-ins. patched: see `walk_one_sweep`."""
    patched(ray.tune, "Tuner", StandInTuner)
    patched(tune, "open_board", lambda *_: None)
    patched(tune, "answering", lambda *_: nullcontext())


def walk_one_sweep(folder: Path, patched: Callable[[object, str, object], None] = setattr) -> tuple[Walk, Summary]:
    """Run a sweep of one trial from a YAML file in `folder`; return its walk, and how it ended.

    patched: sets an attribute, as monkeypatch.setattr does.
    """
    path = folder / "warm.yaml"
    fields = {name: value for name, value in THERMOMETER.items() if name != "search"}
    space = {"lr_exponent": -2.5, "momentum": {"low": 0, "high": 0.5}}  # no rate is searched: by whole trials
    path.write_text(json.dumps(fields | {"trials": 1, "space": space}))  # JSON is YAML
    without_ray(patched)
    session: Any = TwoCores()
    walk = Walk()
    with walk.recording():
        spec = load_spec(str(path), ())
        summary = driver.start(spec, Home.at(str(folder / "home")), lambda _: nullcontext(), session)
    return walk, summary


def main() -> None:
    """Print the walk."""
    assert tune
    with tempfile.TemporaryDirectory() as folder:
        walk, summary = walk_one_sweep(Path(folder))
    files, callbacks, stays = walk.files(), walk.callbacks(), walk.stays_of_spec()
    assert summary.recorded
    turn = walk.turn_files()
    print(f"{len(turn)} own files run code while a turn is taken:", *turn, sep="\n  ")
    print("a report:", *walk.handed_on("Reported", "Report"), sep="\n  ")
    print(f"{len(files)} own files run code:", *files, sep="\n  ")
    for phase, inside in walk.phase_files().items():
        of_core = sum(file.startswith("core/") for file in inside)
        print(f"{len(inside)} own files run code in the phase {phase}, {of_core} of them core's")
    print(f"the spec is validated {walk.count(VALIDATION)} times")
    print(f"{len(callbacks)} callbacks into the loop:", *dict.fromkeys(callbacks), sep="\n  ")
    print(f"spec: {len(stays)} stays in {len(set(stays))} files, {returns(stays)} returns:", *stays, sep="\n  ")


if __name__ == "__main__":
    main()
