"""Law: a trial that is parked, taken elsewhere and continued, and a branch from a kept state, equal their solo runs."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core import checkpoint
from espalier.core.python_state.encoding import Unwritable
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Forked, Parked, Reported, Scored, Started
from espalier.core.training.freezing import Frozen
from espalier.core.training.history import fork_step
from espalier.core.training.scores import Scoring
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.laws.cases import OPTIMIZERS, REPORTS, STEPS, TASKS, Engine, every_program, results
from tests.tiers import examples

pytestmark = pytest.mark.each_value


def trunk_of(optimizer: str, schedule: str, decay: float, **more: Any) -> tuple[Structure, Trial]:
    structure = Structure(OPTIMIZERS[optimizer], schedule, 7)
    hyper = Hyperparameters(0.05, (decay,), decay_factor=0.1, momentum=0.9)
    return structure, Trial("trunk", 3, STEPS, hyper, REPORTS, **more)


def through_a_file(frozen: Frozen, folder: Path) -> Any:
    path = folder / f"{frozen.trial}-{frozen.step}.pt"
    checkpoint.save(path, {"lane": frozen.lane})
    return checkpoint.load(path)["lane"]


def train(cohort: Cohort) -> tuple[list[Event], list[Frozen]]:
    events, frozen = list[Event](), list[Frozen]()
    while not cohort.done:
        events += cohort.turn()
        frozen += cohort.take_frozen()
    return events, frozen


def without_ratios(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reports that a branch takes over from its trunk have neither ratios nor verdicts: the trunk's have them."""
    return [
        entry if entry["kind"] != "report" else entry | {"ratios": [], "verdict": "", "evidence": ""} for entry in found
    ]


@every_program
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_trial_that_is_parked_and_goes_on_elsewhere_equals_its_solo_run(
    engine: Engine, optimizer: str, program: str, tmp_path: Path
) -> None:
    structure, trial = trunk_of(optimizer, "step", 0.8)
    task = "names with BatchNorm"
    events, state = list[Event](), None
    for until in (2, 7, 11, None):
        piece = replace(trial, until=until)
        cohort = engine.cohort(task, structure, [piece] if state is None else [], 2, program, new=True)
        if state is not None:
            cohort.thaw(piece, state)
        seen, frozen = train(cohort)
        events += seen
        if until:
            assert [(f.trial, f.step) for f in frozen] == [("trunk", until)]
            assert seen[-1] == Parked("trunk", until)
            state = through_a_file(frozen[0], tmp_path)
    assert results(events)["trunk"] == engine.alone(task, structure, trial, program)
    assert sum(isinstance(event, Started) for event in events) == 1


@every_program
@pytest.mark.parametrize("schedule", ["step", "wsd", "wsd-sqrt", "linear"])
def test_a_branch_from_a_kept_state_equals_its_solo_run(
    engine: Engine, schedule: str, program: str, tmp_path: Path
) -> None:
    """At the last step that its history shares with the trunk's, or before it."""
    structure, trial = trunk_of("AdamW", schedule, 0.9)
    branches = [replace(trial, id=f"branch-{d}", hyper=replace_decay(trial.hyper, d)) for d in (0.4, 0.6)]
    forks = [fork_step(structure, [trial, branch], 0) for branch in branches]
    if None in forks or 0 in forks:
        pytest.skip(f"{schedule} has no decay point")
    kept = replace(trial, keep_at=tuple(sorted({int(f or 0) for f in forks} | {3})), until=12)
    first = engine.cohort("names", structure, [kept], 2, program)
    _, frozen = train(first)
    states = {state.step: through_a_file(state, tmp_path) for state in frozen}
    second = engine.cohort("names", structure, [], 2, program)
    for branch, begin in zip(branches, (forks[0], 3), strict=True):
        second.thaw(branch, states[begin or 0])
    events, _ = train(second)
    for branch, begin in zip(branches, (forks[0], 3), strict=True):
        expected = without_ratios(engine.alone("names", structure, branch, program))
        assert without_ratios(results(events)[branch.id]) == expected
        assert Forked(branch.id, begin or 0, "trunk") in events
    assert second.steps_shared == (forks[0] or 0) + 3
    assert second.lane_steps == 2 * STEPS - (forks[0] or 0) - 3


def replace_decay(hyper: Hyperparameters, decay: float) -> Hyperparameters:
    return Hyperparameters(hyper.lr, (decay,), hyper.numbers)


@examples(25)
@given(data=st.data(), task=st.sampled_from(TASKS))
def test_any_pieces_in_any_company_equal_their_solo_runs(engine: Engine, data: st.DataObject, task: str) -> None:
    """Trunks that come to rungs, park and go on in one cohort, beside each other and in any number of lanes."""
    structure, trial = trunk_of("momentum", "step", 0.8)
    lanes = data.draw(st.integers(1, 4))
    trunks = [replace(trial, id=f"t{k}", hyper=Hyperparameters(10.0**-k, (0.8,))) for k in range(1, 4)]
    stops = {t.id: sorted(data.draw(st.sets(st.integers(1, STEPS - 1), max_size=3))) for t in trunks}

    def piece(trunk: Trial) -> Trial:
        return replace(trunk, until=stops[trunk.id].pop(0) if stops[trunk.id] else None)

    cohort = engine.cohort(task, structure, [piece(t) for t in trunks], lanes)
    by_id, events = {t.id: t for t in trunks}, list[Event]()
    while not cohort.done:
        events += cohort.turn()
        for state in cohort.take_frozen():
            cohort.thaw(piece(by_id[state.trial]), state.lane)
    assert results(events) == engine.all_alone(task, structure, trunks)


@pytest.mark.parametrize("kind", ["average", "probe"])
def test_a_trial_is_scored_at_a_rung_before_it_is_parked_there(engine: Engine, kind: str) -> None:
    structure, trial = trunk_of("SGD", "step", 0.8, rungs=(4, 9))
    scoring = Scoring((kind,), 2)
    whole = engine.cohort("names", structure, [trial], 2, scoring=scoring)
    expected = [event for event in whole.train() if isinstance(event, Scored)]
    events, state = list[Event](), None
    for until in (4, 9):
        cohort = engine.cohort("names", structure, [] if state else [replace(trial, until=until)], 2, scoring=scoring)
        if state:
            cohort.thaw(replace(trial, until=until), state)
        seen, frozen = train(cohort)
        events, state = [*events, *seen], frozen[-1].lane
    assert [event for event in events if isinstance(event, Scored)] == expected


@pytest.mark.parametrize("kill", [0, 1, 2, 3])
def test_a_kill_loses_no_parked_trial(engine: Engine, kill: int, tmp_path: Path) -> None:
    """What is about to go on is in the checkpoint; what was parked had been taken before it was written."""
    structure, trial = trunk_of("Adam", "step", 0.8)
    _, frozen = train(engine.cohort("names", structure, [replace(trial, until=5)], 2))
    cohort = engine.cohort("names", structure, [replace(trial, id="other", seed=4)], 1)
    cohort.thaw(trial, frozen[0].lane)
    seen = list[Event]()
    for _ in range(kill):
        seen += cohort.turn()
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    again = engine.cohort("names", structure, [replace(trial, id="other", seed=4), trial], 1)
    again.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    seen += again.train()
    ended = {event.trial: event for event in seen if isinstance(event, Ended)}
    alone = engine.alone("names", structure, trial)
    assert results([ended["trunk"]])["trunk"] == alone[-1:]
    assert set(ended) == {"trunk", "other"}


def test_a_parked_trial_does_not_begin_again_after_a_kill(engine: Engine, tmp_path: Path) -> None:
    structure, trial = trunk_of("Adam", "step", 0.8)
    trials = [replace(trial, until=2), replace(trial, id="other", seed=4)]
    cohort = engine.cohort("names", structure, trials, 1)
    while not cohort.take_frozen():
        cohort.turn()
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    again = engine.cohort("names", structure, trials, 1)
    again.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    assert {event.trial for event in again.train()} == {"other"}
    assert not again.take_frozen()


def test_parked_trials_are_no_reports(engine: Engine) -> None:
    structure, trial = trunk_of("SGD", "step", 0.8)
    events, _ = train(engine.cohort("names", structure, [replace(trial, until=2)], 1))
    assert not [event for event in events if isinstance(event, Reported | Ended)]
    assert list(itertools.chain(events)) == [Started("trunk", 0), Parked("trunk", 2)]


def test_what_no_file_can_hold_is_parked_without_a_state(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    structure, trial = trunk_of("SGD", "step", 0.8)
    cohort = engine.cohort("names", structure, [replace(trial, until=2)], 1)

    def unwritable(lane: object) -> None:
        raise Unwritable("a generator")

    monkeypatch.setattr(cohort.python, "encoded", unwritable)
    events, frozen = train(cohort)
    assert not frozen
    assert events[-1] == Parked("trunk", 2)
