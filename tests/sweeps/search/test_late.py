"""Asking late: a search that learns asks for a trunk when a lane falls free, and knows by then all that has ended."""

import random
from collections import deque
from pathlib import Path

import pytest

from espalier.sweeps.running.machine import allocate
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.search import Search
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import life, spec_with
from tests.sweeps.search.desk import BRANCHED, STRUCTURED, Desk, assert_inside, loss_of

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")


class Worker:
    """Trains the trials of one cohort, one trunk after another."""

    def __init__(self, search: Search, cohort: str, trials: list[PlannedTrial]):
        self.search, self.cohort = search, cohort
        self.trunks, self.given = deque([trials]), list(trials)

    def train_one(self) -> bool:
        """Train a trunk to its ends, and ask for more; return whether it has anything left to train."""
        for trial in self.trunks.popleft():
            self.search.take_events(life(trial.number, loss_of(trial.point)))
        if trials := self.search.more_trials(self.cohort, lanes=1):
            self.trunks.append(trials)
            self.given += trials
        return bool(self.trunks)


def train_late(search: Search, dice: random.Random) -> list[list[PlannedTrial]]:
    """Train a whole sweep on as many workers as it gets, which end in any order; return the trials of each cohort."""
    workers: list[Worker] = []
    cohorts: list[Worker] = []
    while True:
        while plan := search.next_cohort():
            workers.append(Worker(search, plan.id, list(plan.trials)))
            cohorts.append(workers[-1])
        if not workers:
            break
        worker = dice.choice(workers)
        if not worker.train_one():
            search.cohort_over(worker.cohort)
            workers.remove(worker)
    search.settle(everything=True)
    assert search.exhausted
    return [worker.given for worker in cohorts]


def ended_before_each_trunk(desk: Desk) -> list[int]:
    """Return how many trunks had ended when each was asked for, by the times that Optuna has written."""
    branches = desk.spec.branches
    trunks = [desk.trials[k : k + branches] for k in range(0, len(desk.trials), branches)]
    begins = [min(trial.datetime_start for trial in trunk if trial.datetime_start) for trunk in trunks]
    ends = [max(trial.datetime_complete for trial in trunk if trial.datetime_complete) for trunk in trunks]
    return [sum(end <= begin for end in ends) for begin in begins]


def learning(sampler: str, trials: int, **changed: object) -> SweepSpec:
    return spec_with(trials=trials, search={"sampler": sampler}, **changed)


@pytest.mark.parametrize(
    ("sampler", "cores"),
    [("gp", 2), *(("tpe", n) for n in (1, 2, 4, 16)), pytest.param("tpe", 64, marks=pytest.mark.slow)],
)
def test_before_a_proposal_all_results_are_known_but_those_in_training(
    sampler: str, cores: int, tmp_path: Path
) -> None:
    spec = learning(sampler, 8 if sampler == "gp" else 2 * cores + 6)
    workers = allocate(spec, cores, 0).cohorts
    desk = Desk(tmp_path, spec, cohorts=workers, cohort_trials=allocate(spec, cores, 0).cohort_trials)
    train_late(desk.search, random.Random(cores))
    known = ended_before_each_trunk(desk)
    assert all(n >= k - (workers + 1) for k, n in enumerate(known, 1)), known
    assert desk.states() == {"COMPLETE": spec.trials}


def test_a_trunk_is_asked_for_with_its_branches(tmp_path: Path) -> None:
    spec = spec_with(**BRANCHED.model_dump(exclude_unset=True) | {"search": {"sampler": "tpe"}})
    desk = Desk(tmp_path, spec, cohorts=2, cohort_trials=16)
    given = train_late(desk.search, random.Random(0))
    known = ended_before_each_trunk(desk)
    assert all(n >= k - 3 for k, n in enumerate(known, 1)), known
    points = {trial.number: trial.point for cohort in given for trial in cohort}
    for trunk in range(0, spec.trials, 4):
        shared = {points[trunk + branch]["lr_exponent"] for branch in range(4)}
        assert len(shared) == 1
        assert len({tuple(points[trunk + branch]["decay_points"]) for branch in range(4)}) == 4


def test_every_trial_is_given_out_once_and_a_cohort_takes_no_more_than_it_may(tmp_path: Path) -> None:
    desk = Desk(tmp_path, learning("tpe", 23), cohorts=2, cohort_trials=5)
    given = train_late(desk.search, random.Random(1))
    assert sorted(trial.number for cohort in given for trial in cohort) == list(range(23))
    assert max(map(len, given)) == 5
    for trial in desk.trials:
        cohort = next(cohort for cohort in given if trial.number in [t.number for t in cohort])
        assert trial.user_attrs["cohort"] == f"cohort-{cohort[0].number}"


@pytest.mark.parametrize("seed", range(3))
def test_a_cohort_takes_trials_of_its_own_structure_alone(seed: int, tmp_path: Path) -> None:
    spec = spec_with(**STRUCTURED.model_dump(exclude_unset=True) | {"search": {"sampler": "tpe", "seed": seed}})
    desk = Desk(tmp_path, spec, cohorts=2, cohort_trials=16)
    given = train_late(desk.search, random.Random(seed))
    for cohort in given:
        assert len({(trial.point["scale"], trial.point["batch_size"]) for trial in cohort}) == 1
    assert max(map(len, given)) > 1
    assert desk.states() == {"COMPLETE": 20}


@pytest.mark.parametrize("checkpoint", [True, False], ids=["with a checkpoint", "without"])
def test_a_resumed_search_goes_on_asking_as_if_nothing_had_been(checkpoint: bool, tmp_path: Path) -> None:
    """The trials that a cohort got while it trained come back with it, whichever process had asked for them."""
    desk = Desk(tmp_path, learning("tpe", 14), cohorts=2, cohort_trials=14)
    plans = [desk.search.next_cohort(), desk.search.next_cohort()]
    workers = [Worker(desk.search, plan.id, list(plan.trials)) for plan in plans if plan]
    for worker in [*workers, *workers]:
        worker.train_one()
    unfinished = {worker.cohort: [trial.number for trial in worker.trunks[0]] for worker in workers}
    if checkpoint:
        desk.checkpoints = {worker.cohort: f"checkpoint of {worker.cohort}" for worker in workers}
    resumed = [plan for plan in (desk.take_up().next_cohort(), desk.search.next_cohort()) if plan]
    assert {plan.id for plan in resumed} == {worker.cohort for worker in workers}
    for plan in resumed:
        assert plan.numbers[-1:] == unfinished[plan.id]
        assert len(plan.trials) == (3 if checkpoint else 1)
        assert plan.resume_from == desk.checkpoints.get(plan.id)
    dice = random.Random(0)
    workers = [
        Worker(desk.search, plan.id, [trial for trial in plan.trials if trial.number in unfinished[plan.id]])
        for plan in resumed
    ]
    while workers:
        worker = dice.choice(workers)
        if not worker.train_one():
            desk.search.cohort_over(worker.cohort)
            workers.remove(worker)
    desk.settle()
    known = ended_before_each_trunk(desk)
    assert all(n >= k - 3 for k, n in enumerate(known, 1)), known
    assert desk.states() == {"COMPLETE": 14}


def test_a_worker_that_died_trains_again_what_its_cohort_had_got_meanwhile(tmp_path: Path) -> None:
    desk = Desk(tmp_path, learning("tpe", 9), cohorts=1, cohort_trials=9)
    plan = desk.search.next_cohort()
    assert plan
    worker = Worker(desk.search, plan.id, list(plan.trials))
    worker.train_one()
    worker.train_one()
    desk.search.cohort_again(plan.id, {}, "its checkpoint")
    again = desk.search.next_cohort()
    assert again
    assert (again.id, again.numbers, again.resume_from) == (plan.id, [0, 1, 2], "its checkpoint")


def test_an_interrupted_cohort_is_taken_up_before_anything_is_asked_for(tmp_path: Path) -> None:
    """On fewer cores than before: a cohort that waits comes before new trials, so who trains asks for none."""
    desk = Desk(tmp_path, learning("tpe", 10), cohorts=3, cohort_trials=10)
    for _ in range(3):
        desk.search.next_cohort()
    desk.cohorts = 1
    first = desk.take_up().next_cohort()
    assert first
    worker = Worker(desk.search, first.id, list(first.trials))
    assert not worker.train_one(), "it ends, and makes room for the others"
    desk.search.cohort_over(first.id)
    second = desk.search.next_cohort()
    assert second
    assert second.numbers == [1]


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid"])
def test_samplers_that_learn_nothing_are_asked_for_whole_cohorts(sampler: str, tmp_path: Path) -> None:
    space = {"lr_exponent": [-3.0, -2.9, -2.8, -2.7, -2.6, -2.5]} if sampler == "grid" else {}
    spec = spec_with(search={"sampler": sampler}, **({"space": space} if space else {}))
    desk = Desk(tmp_path, spec, cohorts=2, cohort_trials=3)
    plan = desk.search.next_cohort()
    assert plan
    assert len(plan.trials) == 3
    assert desk.search.more_trials(plan.id, lanes=1) == []
    for trial in plan.trials:
        assert_inside(trial.point, spec)


def test_trials_that_never_reached_the_worker_that_asked_train_in_another_cohort(tmp_path: Path) -> None:
    """The board was lost with the answer on it: the worker was given no trials, and ends with those that it has."""
    desk = Desk(tmp_path, learning("tpe", 6), cohorts=1, cohort_trials=6)
    plan = desk.search.next_cohort()
    assert plan
    desk.search.take_events(life(plan.numbers[0], 1.0))
    lost = [trial.number for trial in desk.search.more_trials(plan.id, lanes=3)]
    desk.search.replan_unreached(plan.id)
    desk.search.cohort_over(plan.id)
    again = desk.search.next_cohort()
    assert again and lost
    assert (again.numbers, again.resume_from) == (lost, None)
    assert again.id != plan.id, "what its cohort has trained still counts"
    desk.search.replan_unreached(again.id)
    desk.search.cohort_over(again.id)
    assert not desk.search.waiting, "a cohort that begins nothing is not planned again and again"
