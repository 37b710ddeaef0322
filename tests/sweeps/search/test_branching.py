"""Decay points with a step, and lists of them, are branches of a trunk as those of a range are."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from espalier.core.training.events import Ended
from espalier.core.training.resume import LaneWithRow
from espalier.core.training.trial import Trial
from espalier.sweeps.engine import make_cohort
from espalier.sweeps.running.states import States
from espalier.sweeps.search.asking import distribution
from espalier.sweeps.search.branching import branching_of
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.search.search import Search
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import spec_with
from tests.sweeps.search.desk import Desk, assert_inside
from tests.sweeps.search.test_pieces import BUDGET, STEPS, Crew, by_pieces, pieces_of, run

PLAIN = Provenance("plain", "", 1, "cpu")
KINDS: Mapping[str, dict[str, Any]] = {
    "steps": {"low": 0.4, "high": 0.9, "step": 0.1},
    "many steps": {"low": 0.3, "high": 0.9, "step": 0.003},
    "two points at steps": {"count": 2, "low": 0.3, "high": 0.9, "step": 0.15},
    "a list": {"choices": [0.5, 0.7, 0.9]},
    "a list of lists": {"choices": [0.45, [0.5, 0.8], [0.5, 0.9], [0.7, 0.8, 0.9], []]},
}
every_kind = pytest.mark.parametrize("points", KINDS.values(), ids=KINDS)


def search_over(points: Mapping[str, Any], schedule: str = "step", trainings: float = 9, **changed: Any) -> SweepSpec:
    space = {"lr_exponent": {"low": -1.8, "high": -1.2}, "decay_points": dict(points)}
    return by_pieces(space=space, schedule=schedule, budget=dict(BUDGET, trainings=trainings), **changed)


def decay_of(trial: FrozenTrial) -> dict[str, Any]:
    return {name: value for name, value in trial.params.items() if name.startswith("decay_point")}


@every_kind
def test_branches_of_a_trunk_decay_where_the_spec_allows_it_and_the_distributions_are_the_specs(
    points: Mapping[str, Any], tmp_path: Path
) -> None:
    spec = search_over(points)
    desk = Desk(tmp_path, spec)
    crew = run(desk)
    complete = [trial for trial in desk.trials if trial.state.name == "COMPLETE"]
    decided = {str(decay_of(trial)) for trial in complete}
    assert len(decided) > 1, "several were tried"
    for trial in complete:
        point = crew.search.point_of(trial.number)
        if "choices" in points:
            allowed = [sorted(c) if isinstance(c, list) else [c] for c in points["choices"]]
            assert point["decay_points"] in allowed
        else:
            assert_inside(point, spec)
        for name in decay_of(trial):
            expected = distribution(dict(spec.space.domains())[name])
            assert trial.distributions[name] == expected
            assert expected._contains(expected.to_internal_repr(trial.params[name])), "to the last bit"
    assert all(not decay_of(trial) for trial in desk.trials if trial.state.name == "PRUNED")
    rows = {row.number: row.params for row in crew.search.record.results()}
    assert all(("decay_points" in rows[t.number]) == (t.state.name == "COMPLETE") for t in desk.trials)
    assert_branches_share_their_trunk(crew, desk)


def assert_branches_share_their_trunk(crew: Crew, desk: Desk) -> None:
    """They begin where rows of it are kept."""
    kept: dict[int, set[int]] = {}
    for _, trial in crew.trained:
        assert trial.piece
        mine = kept.setdefault(trial.piece.source, {0})
        assert trial.piece.begin in mine, "from a state that there is"
        mine |= {*trial.piece.keep_at, *([trial.piece.until] if trial.piece.until else [])}
    others = [t for t in desk.trials if t.user_attrs["pieces"][0]["trunk"] != t.number]
    assert others, "branches of a trunk that had one"
    assert any(trial.user_attrs["pieces"][0]["begin"] > 0.2 for trial in others)


@every_kind
def test_over_several_processes_the_same_is_asked_for(points: Mapping[str, Any], tmp_path: Path) -> None:
    spec = search_over(points, trainings=3, search={"sampler": "thaw", "repeatable": True})
    desk, dice = Desk(tmp_path / "one", spec), random.Random(0)
    for _ in range(200):
        crew = Crew(desk, dice)
        for _ in range(dice.randint(1, 6)):
            if crew.begin():
                crew.train_one()
        if desk.search.exhausted:
            break
        desk.take_up()
    desk.settle()
    other = Desk(tmp_path / "other", spec, cohorts=1)
    run(other)
    assert pieces_of(other.trials) == pieces_of(desk.trials)
    assert [trial.params for trial in other.trials] == [trial.params for trial in desk.trials]


@pytest.mark.parametrize("schedule", ["step", "wsd", "linear"])
def test_every_trial_ends_as_it_would_alone_and_what_is_shared_is_trained_once(schedule: str, tmp_path: Path) -> None:
    points = KINDS["a list of lists"] if schedule == "step" else {"choices": [0.45, 0.6, 0.9, []]}
    spec = search_over(points, schedule, trainings=5)
    spec = spec_with(
        **spec.model_dump() | {"space": spec.model_dump()["space"] | {"lr_exponent": {"low": -3, "high": -2}}}
    )
    desk = Desk(tmp_path, spec, cohorts=1)
    trained, ends = train_pieces(desk.search, States(tmp_path / "states"))
    desk.settle()
    assert len(ends) >= 3
    paid = sum(piece.get("end", 1.0) - piece["begin"] for piece in pieces_of(desk.trials))  # type: ignore[operator]
    assert trained <= paid * STEPS + len(pieces_of(desk.trials)), "a step a piece, since rows are kept at whole steps"
    assert paid <= 5 + 1e-9
    assert trained < sum(max(piece.get("end", 1.0) for piece in t.user_attrs["pieces"]) for t in desk.trials) * STEPS
    for number, end in ends.items():
        alone = make_cohort(spec, [PlannedTrial(number, desk.search.point_of(number))], PLAIN)
        (expected,) = (event for event in alone.train() if isinstance(event, Ended))
        assert expected.reports == end.reports
        assert expected.values == end.values


def train_pieces(search: Search, states: States) -> tuple[int, dict[int, Ended]]:
    """Train a search as a worker does, each piece in a cohort of its own; return the lane-steps, and the ends."""
    steps, ends = 0, dict[int, Ended]()
    while plan := search.next_cohort():
        search.parked_events()

        def state_of(trial: PlannedTrial, replicate: Trial) -> LaneWithRow | None:
            return states.find(trial.number, 0, trial.piece, replicate.steps) if trial.piece else None

        cohort = make_cohort(search.spec, plan.trials, PLAIN, state_of=state_of)
        while not cohort.done:
            events = cohort.turn()
            states.keep(cohort.take_frozen(), plan.trials)
            ends |= {e.trial_id.number: e for e in events if isinstance(e, Ended) and e.status == "complete"}
            search.take_events(events)
        steps += cohort.lane_steps
        search.cohort_over(plan.id)
    search.parked_events()
    return steps, ends


@pytest.mark.parametrize("points", [{"choices": [0.5, 0.9]}, {"low": 0.4, "high": 0.9, "step": 0.1}])
def test_where_the_peak_lies_at_the_decay_point_nothing_is_shared(points: dict[str, Any]) -> None:
    spec = search_over(points, "onecycle")
    assert branching_of(spec, {name: distribution(domain) for name, domain in spec.space.domains()}) is None


@pytest.mark.parametrize(
    "points", [{"choices": [0.5]}, {"choices": [0.5, [0.5]]}, {"low": 0.4, "high": 0.45, "step": 0.1}]
)
def test_a_single_one_is_no_choice_among_branches(points: dict[str, Any]) -> None:
    spec = search_over(points)
    assert branching_of(spec, {name: distribution(domain) for name, domain in spec.space.domains()}) is None


def test_steps_however_many_are_not_written_down() -> None:
    spec = search_over({"low": 0.4, "high": 0.9, "step": 1e-9})
    branching = branching_of(spec, {name: distribution(domain) for name, domain in spec.space.domains()})
    assert branching
    assert len(branching.steps) == 21
    assert branching.decay == (branching.steps[0], branching.steps[-1])
