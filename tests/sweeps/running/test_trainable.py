"""Which program a cohort of a sweep is given, in how many lanes; that machine code reruns to the same numbers; and that
a driver that stops has no cohort begin."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.core.native import compiler
from espalier.core.programs.choose import NATIVE_FROM
from espalier.core.training.events import Ended, Started
from espalier.sweeps import cohorts as plan
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.engine import make_cohort, program_for
from espalier.sweeps.home import COHORT_FILE, last_checkpoint
from espalier.sweeps.identity import versions
from espalier.sweeps.repeat.rerun import rerun
from espalier.sweeps.running.messages import Turn
from espalier.sweeps.running.trainable import CohortTrainable
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import spec_with
from tests.sweeps.running.assigned import assigned


def trials(spec: SweepSpec, number: int) -> list[PlannedTrial]:
    return [PlannedTrial(k, plan.first_point(spec) | {"lr_exponent": -2 - k / number}) for k in range(number)]


def long(**changed: Any) -> SweepSpec:
    return spec_with(budget={"steps": NATIVE_FROM // 10, "batch_size": 11, "reports": 2}, **changed)


def test_long_work_is_machine_code_in_few_lanes() -> None:
    native = Provenance("native", "40,000 steps of trials ahead", 8, "cpu")
    assert program_for(long(), trials(long(), 20), 64, "cpu") == native
    assert program_for(long(), trials(long(), 10), 3, "cpu").lanes == 3, "no more than there are"
    assert program_for(long(resources={"lanes": 16}), trials(long(), 20), 16, "cpu").lanes == 16, "as the spec says"


def test_all_replicates_of_a_trial_train_side_by_side() -> None:
    """A rung waits for every one of them; each keeps a lane free for its first branch."""
    spec = long(replicates=12)
    branches = [PlannedTrial(k, trials(spec, 1)[0].point | {"decay_points": [0.5 + k / 10]}) for k in (0, 1)]
    provenance = program_for(spec, branches, 64, "cpu")
    assert (provenance.program, provenance.lanes) == ("native", 24)
    begun = make_cohort(spec, branches, provenance).turn()
    replicates = {f"{trial}/{replicate}" for trial in (0, 1) for replicate in range(12)}
    assert {event.trial for event in begun if isinstance(event, Started)} == replicates


def test_short_work_is_not_compiled() -> None:
    assert program_for(spec_with(), trials(spec_with(), 6), 6, "cpu").program == "vmap"


def best_of(spec: SweepSpec) -> BestFile:
    """Train two trials by machine code, as a cohort would, and return the file of the second."""
    each = trials(spec, 2)
    cohort = make_cohort(spec, each, Provenance("native", "", 2, "cpu"))
    ends = {event.trial: event for event in cohort.train() if isinstance(event, Ended)}
    end = ends["1/0"]
    return BestFile(
        sweep="warm-1",
        trial=1,
        params=each[1].point,
        result={"valid_loss": end.values["valid_loss"]},
        spec=spec.model_dump(mode="json"),
        program="native",
        device="cpu",
        made_with=versions(),
        reports=[[(step, dict(values)) for step, values in end.reports]],
    )


def test_a_trial_of_machine_code_reruns_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, whatever it trained beside; and where there is no compiler it says so instead of training otherwise."""
    spec = spec_with(resources={"program": "native"})
    best = best_of(spec)
    again = rerun(best, spec)
    assert again.reproduced and again.difference is None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BadInput, match=r"ran by the native program, which is not available here: .*no C compiler"):
        rerun(best, spec)


# --- the program belongs to trials that have begun -------------------------------------------------------------------


def begun(folder: Path, **more: Any) -> CohortTrainable:
    spec = spec_with(budget={"steps": 12_000, "batch_size": 5, "reports": 2})
    trainable = CohortTrainable(assigned(spec, folder, patience_s=None, **more).to_config())
    trainable.watchdog.rest()
    return trainable


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's fatal signals and os._exit alone; this worker is none of Ray's."""
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    monkeypatch.setattr("faulthandler.enable", lambda *_, **__: None)
    monkeypatch.setattr(os, "_exit", os._exit)


NATIVE = Provenance("native", "24,000 steps of trials ahead", 2, "cpu")


@pytest.mark.skipif(compiler() is None, reason="machine code needs a C compiler")
def test_what_is_left_of_a_cohort_goes_on_by_the_program_that_it_began_with(tmp_path: Path, calm: None) -> None:
    whole = begun(tmp_path)
    assert whole.provenance and (whole.provenance.program, whole.provenance.lanes) == ("native", 2)
    spec = spec_with(budget={"steps": 12_000, "batch_size": 5, "reports": 2})
    rest = assigned(spec, tmp_path, only=[0]).plan.trials
    assert program_for(spec, rest, 2, "cpu").program != "native", "by itself it would be given another"
    left = begun(tmp_path, only=[0], provenance=NATIVE)
    assert left.cohort is not None
    assert left.provenance == NATIVE


def test_a_machine_that_has_not_the_program_says_so(
    tmp_path: Path, calm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither other last bits, nor trials that have failed."""
    monkeypatch.setattr("espalier.core.native.compile.compiler", lambda: None)
    turn = Turn.from_result(begun(tmp_path, provenance=NATIVE).step())
    assert turn.done and not turn.error
    assert turn.halt and turn.halt.startswith("trials have begun by the native program, which is not available here: ")
    assert "install gcc" in turn.halt
    on_gpu = begun(tmp_path, provenance=replace(NATIVE, program="captured", device="cuda")).step()
    where = "on a GPU, and here they would train on a CPU"
    assert Turn.from_result(on_gpu).halt == f"trials have begun by the captured program {where}"


# --- a board that is away -------------------------------------------------------------------------------------------


def test_what_a_worker_reports_with_a_request_that_nobody_answers_it_reports_again(tmp_path: Path, calm: None) -> None:
    spec = spec_with(budget={"steps": 60, "batch_size": 5, "reports": 2}, search={"sampler": "tpe"})
    worker = CohortTrainable(assigned(spec, tmp_path, patience_s=None).to_config())
    requests: list[int] = []
    worker.ask_for_trials = lambda turn, lanes: requests.append(lanes)
    turn = turn_of(worker)
    worker.watchdog.rest()
    assert turn.done and len(requests) == 1, "it asks once, and ends with the trials that it has"
    assert {event.trial for event in turn.events if isinstance(event, Started)} == {"0/0", "1/0"}
    assert {event.trial for event in turn.events if isinstance(event, Ended)} == {"0/0", "1/0"}


# --- a driver that stops -------------------------------------------------------------------------------------------


def turn_of(trainable: CohortTrainable) -> Turn:
    turn = Turn.from_result(trainable.step())
    trainable.watchdog.rest()
    return turn


def test_a_cohort_that_has_not_begun_when_the_driver_stops_does_not_begin(tmp_path: Path, calm: None) -> None:
    (tmp_path / "stop").touch()
    waiting = begun(tmp_path)
    assert waiting.cohort is None, "not even its data is loaded"
    assert turn_of(waiting) == Turn("node", done=True, events=[])


def test_a_cohort_that_has_made_no_step_when_the_driver_stops_makes_none(tmp_path: Path, calm: None) -> None:
    prepared = begun(tmp_path)
    (tmp_path / "stop").touch()
    assert turn_of(prepared) == Turn("node", done=True, events=[])


def test_what_trains_when_the_driver_stops_reports_as_ever(tmp_path: Path, calm: None) -> None:
    """Tune stops it then, after a checkpoint."""
    trains = begun(tmp_path)
    assert turn_of(trains).events
    (tmp_path / "stop").touch()
    turn = turn_of(trains)
    assert turn.provenance and turn.lane_steps


def test_a_cohort_that_did_not_begin_has_the_checkpoint_that_it_had(tmp_path: Path, calm: None) -> None:
    before = tmp_path / "tune-001" / "cohort-0" / "checkpoint_000003"
    before.mkdir(parents=True)
    trains = begun(tmp_path)
    turn_of(trains)
    trains.save_checkpoint(str(before))
    assert (before / COHORT_FILE).exists()
    (tmp_path / "stop").touch()
    after = tmp_path / "tune-002" / "cohort-0" / "checkpoint_000000"
    after.mkdir(parents=True)
    begun(tmp_path).save_checkpoint(str(after))
    assert last_checkpoint(tmp_path, "cohort-0") == str(before)


# --- the time of a budget ------------------------------------------------------------------------------------------


def timed(folder: Path, **changed: Any) -> CohortTrainable:
    """Return a worker of a sweep whose budget is in time."""
    spec = spec_with(budget={"steps": 10**7, "batch_size": 5, "reports": 2, "hours": 1})
    assignment = assigned(spec, folder, patience_s=None)
    planned = tuple(replace(trial, **changed) for trial in assignment.plan.trials)
    worker = CohortTrainable(replace(assignment, plan=replace(assignment.plan, trials=planned)).to_config())
    return worker


def test_what_trains_when_the_time_is_up_ends_with_what_it_has_come_to(
    tmp_path: Path, calm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.sweeps.running.trainable.TURN_S", 0.01)
    worker, reported = timed(tmp_path), list[Turn]()
    worker.ask_for_trials = lambda turn, lanes: reported.append(Turn.from_text(turn.to_text())) or []
    assert not turn_of(worker).done
    (tmp_path / "time").touch()
    reported.append(turn_of(worker))
    assert reported[-1].done
    ends = [event for turn in reported for event in turn.events if isinstance(event, Ended)]
    assert {(end.trial, end.status, end.evidence) for end in ends} == {
        (f"{k}/0", "stopped", "the time was up") for k in (0, 1)
    }
    assert any(end.step > 0 and end.curve for end in ends)


def test_a_confirmation_trains_on_when_the_time_is_up(
    tmp_path: Path, calm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.sweeps.running.trainable.TURN_S", 0.01)
    worker = timed(tmp_path, confirms=7)
    (tmp_path / "time").touch()
    turn = turn_of(worker)
    assert not turn.done
    assert not [event for event in turn.events if isinstance(event, Ended)]
