"""A search by pieces: each is a part of a trial of Optuna's, on any number of workers, over any number of processes."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from optuna.trial import FrozenTrial

from espalier.core.training.events import Compared, Ended, Event, Forked, Parked, Repeated, Scored, Started
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.trial_events import Outcome, Start, TrialEvent
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import end, report, spec_with
from tests.sweeps.search.desk import Desk

STEPS = 400
RUNGS = (20, 60, 100, 200)
BUDGET = {"steps": STEPS, "batch_size": 11, "reports": 4}


def by_pieces(**changed: object) -> SweepSpec:
    fields = {
        "budget": dict(BUDGET, trainings=5),
        "schedule": "step",
        "space": {"lr_exponent": {"low": -4, "high": 0}, "decay_points": {"low": 0.4, "high": 0.9}},
        "search": {"sampler": "thaw"},
        "trials": 60,
    }
    return spec_with(**{**fields, **changed})


def loss_of(trial: PlannedTrial, share: float) -> float:
    """A valley at 10 ** -1.5 that early scores see too high, and a best decay point."""
    decay = [*trial.point.get("decay_points", ()), 0.7][0]
    return 2 + (trial.point["lr_exponent"] + 1.5 - 0.3 * (1 - share)) ** 2 + 2 * (decay - 0.7) ** 2 + (1 - share)


def piece_events(
    trial: PlannedTrial, sign: float = 1.0, diverges: bool = False, apart: float | None = None
) -> list[Event]:
    """Return what a worker reports of a piece. apart: how much two replicates differ; None for a single one."""
    if apart is not None:
        both = [_events_of(trial, f"{trial.number}/{r}", sign, diverges, (r - 0.5) * apart) for r in range(2)]
        return [event for events in zip(*both, strict=True) for event in events]
    return _events_of(trial, f"{trial.number}/0", sign, diverges, 0.0)


def _events_of(trial: PlannedTrial, name: str, sign: float, diverges: bool, off: float) -> list[Event]:
    piece = trial.piece
    assert piece
    events: list[Event] = []
    if piece.begin == 0 or piece.source != trial.number:
        events.append(Started(name, 0))
    if piece.source != trial.number:
        events.append(Forked(name, piece.begin, f"{piece.source}/{name[-1]}"))
    if diverges:
        return [*events, end(name, piece.begin + 1, 9.0, "diverged")]
    if piece.until:
        loss = sign * loss_of(trial, piece.until / STEPS) + off
        so_far = end(name, piece.until, loss, "stopped", evidence="")
        return [*events, Scored(name, piece.until, {"valid_loss": loss}, "average"), Parked(name, piece.until, so_far)]
    loss = sign * loss_of(trial, 1.0) + off
    return [*events, report(name, STEPS, loss), end(name, STEPS, loss)]


@dataclass
class Crew:
    """Workers that train the pieces of a search, which end in any order; how many at a time is what a desk allows."""

    desk: Desk
    dice: random.Random
    sign: float = 1.0
    diverging: float = 1.0  # rates above 10 ** this diverge
    apart: float | None = None  # how much two replicates differ, where there are two
    keeps: Literal["all", "nothing", "unsaid"] = "all"  # unsaid: nothing is kept, and what is parked does not say so
    compares: int = 0  # steps that are trained to see whether a trial may go on, the first time
    steps: int = 0  # that were trained
    events: list[TrialEvent] = field(default_factory=list[TrialEvent])
    trained: list[tuple[str, PlannedTrial]] = field(default_factory=list[tuple[str, PlannedTrial]])
    working: dict[str, list[PlannedTrial]] = field(default_factory=dict[str, list[PlannedTrial]])

    def __post_init__(self) -> None:
        self.search = self.desk.search
        self.replicates = self.desk.spec.replicates

    def begin(self) -> bool:
        """Give cohorts to idle workers; return whether any works."""
        self.events += self.search.parked_events()
        while plan := self.search.next_cohort():
            assert plan.id not in self.working
            self.working[plan.id] = list(plan.trials)
            self.events += self.search.parked_events()
        return bool(self.working)

    def train_one(self) -> None:
        """Have one worker train a piece, and ask for another."""
        cohort = self.dice.choice(sorted(self.working))
        trial = self.working[cohort].pop(0)
        self.trained.append((cohort, trial))
        diverges = trial.point["lr_exponent"] > self.diverging
        events = piece_events(trial, self.sign, diverges, self.apart)
        assert trial.piece
        begin = trial.piece.begin if self.keeps == "all" else 0
        self.steps += (trial.piece.until or STEPS) - begin
        if begin < trial.piece.begin:
            again = [Repeated(f"{trial.number}/{r}", begin, trial.piece.begin) for r in range(self.replicates)]
            events = again + events
        if self.compares and trial.piece.begin:
            events = [Compared(f"{trial.number}/0", trial.piece.begin, self.compares), *events]
            self.steps, self.compares = self.steps + self.compares, 0
        if self.keeps == "nothing":
            events = [replace(event, lost=True) if isinstance(event, Parked) else event for event in events]
        for event in events:
            self.desk.ends.keep([event])
            self.events += self.search.take_events([event])
        if more := self.search.more_trials(cohort, lanes=1):
            self.working[cohort] += more
        self.events += self.search.parked_events()
        if not self.working[cohort]:
            self.search.replan_unreached(cohort)
            self.search.cohort_over(cohort)
            del self.working[cohort]

    def finish(self) -> None:
        """Train everything."""
        while self.begin():
            self.train_one()
        assert self.search.exhausted
        self.search.settle(everything=True)


def pieces_of(trials: Sequence[FrozenTrial]) -> list[dict[str, object]]:
    """Return all pieces in the order in which they were asked for."""
    pieces = [piece for trial in trials for piece in trial.user_attrs["pieces"]]
    return sorted(pieces, key=lambda piece: piece["order"])


def cost(piece: dict[str, object]) -> float:
    return float(str(piece.get("end", 1.0))) - float(str(piece["begin"]))


def run(desk: Desk, dice: int = 0, **crew: Any) -> Crew:
    whole = Crew(desk, random.Random(dice), **crew)
    whole.finish()
    return whole


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_it_trains_its_budget_and_knows_every_result_but_those_in_training(workers: int, tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(), cohorts=workers)
    run(desk, dice=workers)
    pieces = pieces_of(desk.trials)
    assert [piece["order"] for piece in pieces] == list(range(len(pieces)))
    assert 4 < sum(map(cost, pieces)) <= 5 + 1e-9
    assert desk.search.record.search_over
    assert set(desk.states()) == {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("keeps", ["nothing", "unsaid"])
def test_steps_that_are_trained_again_are_paid_by_the_budget(
    keeps: Literal["nothing", "unsaid"], workers: int, tmp_path: Path
) -> None:
    """Where a parked trial says that nothing is left of it, the search knows what it costs before it goes on."""
    desk = Desk(tmp_path, by_pieces(), cohorts=workers)
    crew = run(desk, keeps=keeps)
    assert crew.search.parking
    model = crew.search.parking.pieces.model
    assert model.spent == pytest.approx(crew.steps / STEPS)
    unforeseen = workers if keeps == "unsaid" else 0  # whole trainings, at most, that seemed to cost less
    assert 4 < model.spent <= 5 + unforeseen + 1e-9
    assert desk.states()["COMPLETE"] >= 1
    again = desk.take_up()
    assert again.parking
    assert again.parking.pieces.model.spent == pytest.approx(model.spent)
    assert again.exhausted


def test_what_is_trained_to_see_whether_trials_may_share_is_paid_by_the_budget(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(), cohorts=1)
    crew = run(desk, compares=STEPS // 2)
    assert not crew.compares and crew.search.parking
    model = crew.search.parking.pieces.model
    assert model.spent == pytest.approx(crew.steps / STEPS)
    assert 4 < model.spent <= 5 + 1e-9
    again = desk.take_up()
    assert again.parking and again.exhausted
    assert again.parking.pieces.model.spent == pytest.approx(model.spent)


@pytest.mark.parametrize("trainings", [1, 2])
def test_the_smallest_budget_has_an_answer_also_where_nothing_is_kept(trainings: int, tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(budget=dict(BUDGET, trainings=trainings)), cohorts=1)
    crew = run(desk, keeps="nothing")
    assert desk.states()["COMPLETE"] >= 1
    assert crew.steps <= (trainings + 0.3) * STEPS


def test_replicates_that_train_again_are_paid_by_their_share(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(replicates=2), cohorts=1)
    crew = Crew(desk, random.Random(0), apart=0.01)
    while not (going_on := [t for ts in crew.working.values() for t in ts if t.piece and t.piece.begin]):
        crew.begin()
        crew.train_one()
    (trial,) = going_on
    assert trial.piece and desk.search.parking
    model = desk.search.parking.pieces.model
    before = model.spent
    for step, paid in ((0, trial.piece.begin / 2), (10, trial.piece.begin / 2)):  # again after a crash
        desk.search.take_events([Repeated(f"{trial.number}/1", step, trial.piece.begin)])
        assert (model.spent - before) * STEPS == pytest.approx(paid)


def test_a_trunk_is_one_trial_until_a_branch_completes_it_and_others_are_trials_of_their_own(tmp_path: Path) -> None:
    space = {"lr_exponent": {"low": -1.6, "high": -1.4}, "decay_points": {"low": 0.4, "high": 0.9}}
    desk = Desk(tmp_path, by_pieces(space=space, budget=dict(BUDGET, trainings=9)))
    crew = run(desk)
    for trial in desk.trials:
        first, *others = trial.user_attrs["pieces"]
        trunk = desk.trials[first["trunk"]]
        assert trunk.params["lr_exponent"] == trial.params["lr_exponent"]
        if trial.state.name == "PRUNED":
            assert "decay_point" not in trial.params
            assert trial.intermediate_values
        else:
            assert 0.4 <= trial.params["decay_point"] <= 0.9
            assert "decay" in [first, *others][-1]
        assert trunk.number == trial.number or not others
    assert any(trial.user_attrs["pieces"][0]["trunk"] != trial.number for trial in desk.trials)
    last = {event.trial: event for event in crew.events if isinstance(event, Start)}
    for trial in desk.trials:
        decay = [trial.params["decay_point"]] if trial.state.name == "COMPLETE" else None
        assert last[trial.number].params.get("decay_points") == decay
    ended = Counter(event.trial for event in crew.events if isinstance(event, Outcome))
    assert ended == {trial.number: 1 for trial in desk.trials}


def test_a_trunk_goes_from_rung_to_rung_and_its_states_are_kept_where_branches_may_begin(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(budget=dict(BUDGET, trainings=9)))
    crew = run(desk)
    kept: dict[int, set[int]] = {}
    for _, trial in crew.trained:
        piece = trial.piece
        assert piece
        mine = kept.setdefault(piece.source, {0})
        assert piece.begin in mine, "from a state that there is"
        if piece.until:
            assert piece.until == RUNGS[[0, *RUNGS].index(piece.begin)]
            mine.add(piece.until)
        mine |= set(piece.keep_at)
        assert all(piece.begin < step <= (piece.until or STEPS) for step in piece.keep_at)


def test_what_never_goes_on_ends_with_its_story_when_the_search_is_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces())
    crew = run(desk)
    stopped = [event for event in crew.events if isinstance(event, Outcome) and event.status == "stopped"]
    assert stopped
    for outcome in stopped:
        assert "parked at step" in outcome.evidence
        assert outcome.verdict == "healthy"
        assert [type(end) for end in outcome.replicates] == [Ended]
        assert outcome.step in RUNGS


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("repeatable", [False, True])
def test_over_any_number_of_processes_each_piece_is_asked_for_once(repeatable: bool, seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    spec = by_pieces(search={"sampler": "thaw", "repeatable": repeatable})
    desk = Desk(tmp_path, spec, cohorts=dice.randint(1, 3))
    trained: list[PlannedTrial] = []
    begun = desk.search
    for _ in range(200):
        crew = Crew(desk, dice)
        for _ in range(dice.randint(1, 6)):
            if crew.begin():
                crew.train_one()
        trained += [trial for _, trial in crew.trained]
        if desk.search.exhausted:
            break
        desk.cohorts = dice.randint(1, 3)
        if dice.random() < 0.5:
            desk.settle()
        desk.take_up()
    desk.settle()
    assert begun is not desk.search
    pieces = pieces_of(desk.trials)
    assert [piece["order"] for piece in pieces] == list(range(len(pieces)))
    assert 4 < sum(map(cost, pieces)) <= 5 + 1e-9
    assert len(trained) >= len(pieces)
    assert set(desk.states()) <= {"COMPLETE", "PRUNED"}
    if repeatable:
        other = Desk(tmp_path / "other", spec, cohorts=1)
        run(other)
        assert pieces_of(other.trials) == pieces


def test_a_metric_to_be_maximised_is(tmp_path: Path) -> None:
    spec = by_pieces(objective={"metric": "valid_loss", "mode": "max"})
    desk = Desk(tmp_path, spec)
    run(desk, sign=-1.0)
    best = max((t for t in desk.trials if t.value is not None), key=lambda t: t.value or 0.0)
    assert abs(best.params["lr_exponent"] + 1.5) < 0.4


def test_where_most_rates_diverge_it_finds_those_that_do_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces())
    crew = run(desk, diverging=-2.0)
    assert "FAIL" in desk.states()
    assert desk.states()["COMPLETE"] >= 1
    assert crew.search.exhausted


def test_a_cohort_takes_pieces_of_its_own_structure_and_program_alone(tmp_path: Path) -> None:
    space = {
        "lr_exponent": {"low": -4, "high": 0},
        "decay_points": {"low": 0.4, "high": 0.9},
        "scale": [0.1, 1.0],
    }
    desk = Desk(tmp_path, by_pieces(space=space))
    made: dict[str, Provenance] = {}
    desk.search = Search(desk.search.record, 2, 4, {}, made)
    crew = Crew(desk, random.Random(0))
    programs: dict[int, str] = {}
    while crew.begin():
        for cohort in crew.working:
            like = desk.search.live[cohort].like
            made.setdefault(cohort, made.get(like, Provenance(crew.dice.choice(["native", "vmap"]), "", 1, "cpu")))
        crew.train_one()
        cohort, trial = crew.trained[-1]
        assert trial.piece
        program = made[cohort].program
        assert programs.setdefault(trial.piece.source, program) == program
    scales: dict[str, set[float]] = {}
    for cohort, trial in crew.trained:
        scales.setdefault(cohort, set()).add(trial.point["scale"])
    assert all(len(values) == 1 for values in scales.values())


def test_a_worker_that_died_trains_again_what_it_had_in_training_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(), cohorts=1)
    crew = Crew(desk, random.Random(0))
    crew.begin()
    for _ in range(3):
        crew.train_one()
    ((cohort, left),) = crew.working.items()
    desk.search.cohort_again(cohort, {})
    again = desk.search.next_cohort()
    assert again
    assert (again.id, list(again.trials), again.resume_from) == (cohort, left, None)
    assert desk.search.cohort_failed(cohort)
    assert desk.search.next_cohort()


def test_the_reason_of_each_piece_that_the_model_chose_is_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces())
    run(desk)
    chosen = [piece for piece in pieces_of(desk.trials) if "gain" in piece]
    assert len(chosen) > 5
    assert all(piece["gain"] >= 0 and 0 < piece["cost"] <= 1 for piece in chosen)  # type: ignore[operator]


@pytest.mark.parametrize(("wanted", "workers"), [(1, 1), (3, 2), (8, 1), (30, 4)])
def test_there_are_as_many_trials_as_the_spec_says(wanted: int, workers: int, tmp_path: Path) -> None:
    spec = by_pieces(trials=wanted, budget=BUDGET)
    desk = Desk(tmp_path, spec, cohorts=workers)
    run(desk)
    assert len(desk.trials) == wanted
    assert desk.states()["COMPLETE"] >= 1
    again = desk.take_up()
    assert again.exhausted
    assert again.next_cohort() is None


def test_where_every_configuration_has_been_begun_the_search_says_so(tmp_path: Path) -> None:
    space = {"lr_exponent": [-3, -2, -1]}
    desk = Desk(tmp_path, by_pieces(trials=9, budget=BUDGET, space=space, schedule="cosine"))
    crew = run(desk)
    assert len(desk.trials) == 3
    assert crew.search.parking
    assert crew.search.parking.why_over == "there are 3 trials, not 9: every configuration of the space has been begun"
    again = desk.take_up()
    assert again.exhausted
    assert again.record.wanted() == 3


def test_the_best_are_confirmed_when_the_search_is_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(confirm=2))
    crew = Crew(desk, random.Random(0))
    while crew.begin():
        while any(trial.piece for trials in crew.working.values() for trial in trials):
            crew.train_one()
            crew.begin()
        for cohort, trials in list(crew.working.items()):
            for trial in trials:
                name = f"{trial.number}/0"
                events = [Started(name, 0), report(name, STEPS, 3.0), end(name, STEPS, 3.0)]
                crew.events += desk.search.take_events(events)
                desk.search.settle(everything=True)
            desk.search.replan_unreached(cohort)
            desk.search.cohort_over(cohort)
            del crew.working[cohort]
    desk.settle()
    confirmations = [trial for trial in desk.trials if "confirms" in trial.user_attrs]
    assert len(confirmations) == 2
    assert desk.search.exhausted
    assert desk.search.record.wanted() == len(desk.trials)


def test_orders_of_pieces_are_those_of_trials(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces())
    run(desk)
    firsts = [trial.user_attrs["pieces"][0]["order"] for trial in desk.trials]
    assert all(one < next_ for one, next_ in pairwise(firsts))


@pytest.mark.parametrize("ends_first", [True, False])
def test_where_one_seed_diverges_and_another_is_parked_the_trial_has_diverged(ends_first: bool, tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(replicates=2))
    plan = desk.search.next_cohort()
    assert plan
    (trial,) = plan.trials
    piece = trial.piece
    assert piece and piece.until
    ended = end(f"{trial.number}/0", 3, 9.0, "diverged")
    parked = Parked(f"{trial.number}/1", piece.until, end(f"{trial.number}/1", piece.until, 2.0, "stopped"))
    begun = [Started(f"{trial.number}/{r}", 0) for r in range(2)]
    events = desk.search.take_events([*begun, *((ended, parked) if ends_first else (parked, ended))])
    (outcome,) = (event for event in events if isinstance(event, Outcome))
    assert (outcome.status, len(outcome.replicates)) == ("diverged", 2)
    assert trial.number not in desk.search.merging
    assert desk.search.more_trials(plan.id, lanes=2), "the search goes on"


def test_a_worker_that_dies_again_and_again_fails_what_it_had_in_training(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(), cohorts=1)
    crew = Crew(desk, random.Random(0))
    crew.begin()
    crew.train_one()
    crew.train_one()
    ((cohort, (left,)),) = crew.working.items()
    failed = [event for event in desk.search.cohort_failed(cohort) if isinstance(event, Outcome)]
    assert [event.trial for event in failed] == [left.number]
    crew.working.clear()
    crew.finish()
    assert desk.states()["COMPLETE"] >= 1


def test_what_was_given_to_a_cohort_and_never_reached_its_worker_trains_in_another(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(), cohorts=1)
    crew = Crew(desk, random.Random(0))
    crew.begin()
    crew.train_one()
    ((cohort, (lost,)),) = crew.working.items()
    desk.search.replan_unreached(cohort)
    desk.search.cohort_over(cohort)
    plan = desk.search.next_cohort()
    assert plan
    assert plan.id != cohort
    assert list(plan.trials) == [lost]


def test_a_search_that_has_settled_ends_before_its_budget_is_spent_and_stays_ended(tmp_path: Path) -> None:
    spec = by_pieces(budget=dict(BUDGET, trainings=40, until="settled"), trials=400)
    desk = Desk(tmp_path, spec)
    crew = run(desk)
    parking = crew.search.parking
    assert parking
    assert parking.pieces.model.left > 1
    assert "the search has settled after" in parking.why_over
    best = min(trial.value for trial in desk.trials if trial.value is not None)
    assert best < 2.01
    again = desk.take_up()
    assert again.exhausted
    assert again.next_cohort() is None
    assert again.record.wanted() == len(desk.trials)


def test_what_replicates_show_of_the_noise_decides_when_a_search_has_settled(tmp_path: Path) -> None:
    """The same losses: where seeds differ much, less is left to be found. A process that takes over knows as much."""
    spec = by_pieces(budget=dict(BUDGET, trainings=20, until="settled"), replicates=2)
    spent: list[float] = []
    for apart in (1e-9, 0.3):
        desk = Desk(tmp_path / str(apart), spec)
        crew = run(desk, apart=apart)
        assert crew.search.parking
        spent.append(crew.search.parking.pieces.model.spent)
        again = desk.take_up()
        assert again.parking
        assert sorted(again.parking.pieces.ends) == sorted(crew.search.parking.pieces.ends)
    assert spent[1] < spent[0] - 2


def test_a_budget_in_trainings_bounds_no_trials_also_when_the_spec_comes_back_from_the_storage(tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(trials=3))
    run(desk)
    assert len(desk.trials) > 3
    assert sum(map(cost, pieces_of(desk.trials))) > 4
