"""A worker that dies at one of its trials: that trial alone fails, and the others get the numbers of a calm run."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.sweeps import home as homes
from espalier.sweeps.home import Home, attempt_name, last_checkpoint
from espalier.sweeps.running.retries import TRIES, decide
from espalier.sweeps.running.watchdog import Death
from espalier.sweeps.search.cohort_plan import Provenance
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.trial_events import Outcome
from tests.sweeps.made import life, report, spec_with

STEPS = 300


class Died(Exception):
    pass


def made(trials: Sequence[Trial], lanes: int, program: str) -> Cohort:
    task = Thermometer()
    return Cohort(CohortSetup(task, task.data(), Structure(batch_size=11), trials, lanes, program))


def ends(cohort: Cohort) -> dict[str, Ended]:
    return {event.trial: event for event in cohort.ended}


@pytest.mark.each_value
@pytest.mark.parametrize("program", ["plain", "vmap", "native"])
@pytest.mark.parametrize("certain", [True, False])
def test_only_the_trials_at_which_a_worker_dies_fail(program: str, certain: bool) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed: {seed}")
    draw = random.Random(seed)
    points = [(0.3,), (0.3,), (0.6,), (0.8,), (), ()]
    trials = [
        Trial(f"{k}/0", k % 2, STEPS, Hyperparameters(lr=0.01 * (1 + k // 2), decay_points=points[k])) for k in range(6)
    ]
    calm = made(trials, 4, program)
    list(calm.train())
    fatal = {draw.choice(trials).id: draw.randrange(STEPS) for _ in range(draw.randint(1, 3))}
    print(f"fatal: {fatal}")

    deaths: list[Death] = []
    saved: dict[str, Any] | None = None
    failed: set[str] = set()
    suspects: dict[str, int] = {}
    for _ in range(60):
        cohort = made(trials if saved else [t for t in trials if t.id not in failed], 4, program)
        if saved:
            cohort.load_state(saved)
            for member in failed:
                cohort.stop(member, "failed before")
        training: list[dict[str, int]] = []

        def note(
            lanes: Sequence[Mapping[str, int]],
            training: list[dict[str, int]] = training,
            cohort: Cohort = cohort,
        ) -> None:
            training[:] = [dict(lane) for lane in lanes]
            stops = {run.trial.id: lane.next_stop() for lane in cohort.pool.lanes for run in lane.runs}
            for trial, step in (at for lane in lanes for at in lane.items()):
                if 0 <= fatal.get(trial, -1) - step < 64 and stops[trial] > fatal[trial]:
                    raise Died

        cohort.before = note
        left, turns = dict(suspects), 0
        try:
            while not cohort.done:
                if left and not cohort.isolate(left):
                    left = {}
                cohort.turn()
                turns += 1
                if turns % 7 == 0 and draw.random() < 0.5:
                    saved, deaths = cohort.state(), []
        except Died:
            deaths.append(Death("it died", list(training), certain=certain))
            decision = decide(deaths)
            assert not decision.give_up
            failed |= set(decision.guilty)
            deaths = [] if decision.guilty else deaths
            suspects = dict(decision.suspects)
            continue
        break
    else:
        pytest.fail("it never came to an end")
    riders_of_the_dead = {t.id for t in trials for dead in fatal if t.id == dead or _one_history(t, dead, trials)}
    assert set(fatal) & failed or all(step >= STEPS for step in fatal.values())
    assert failed <= riders_of_the_dead
    whole = {name: end for name, end in ends(cohort).items() if end.status == "complete"}
    assert set(whole) == {t.id for t in trials} - failed
    assert whole == {name: end for name, end in ends(calm).items() if name in whole}


def _one_history(trial: Trial, dead: str, trials: Sequence[Trial]) -> bool:
    """Whether a trial rides in one lane with another from the start: what befalls the lane befalls both."""
    other = next(t for t in trials if t.id == dead)
    return trial.seed == other.seed and trial.hyper.lr == other.hyper.lr


def test_a_cohort_that_dies_before_it_trains_is_given_up_after_a_few_tries() -> None:
    death = Death("killed", certain=False)
    assert [decide([death] * n).give_up for n in range(1, TRIES + 1)] == [False] * (TRIES - 1) + [True]
    hung = Death("data() has not returned for 600 s", hung=True)
    assert [decide([hung] * n).give_up for n in (1, 2)] == [False, True]


# --- the search, which gives a cohort out again -----------------------------------------------------------------------


def search_of(home: Home, resumed: bool = False) -> Search:
    store = SweepStore.open(home.storage)
    record = store.load("warm-1") if resumed else store.create("warm-1", spec_with(), {"created": "2026-01-01"})
    folders = {cohort: last_checkpoint(home.sweep("warm-1"), cohort) for cohort in record.interrupted_cohorts()}
    return Search(record, 2, 3, {cohort: folder for cohort, folder in folders.items() if folder})


def test_a_cohort_whose_worker_died_is_given_out_again_without_the_guilty(tmp_path: Path) -> None:
    search = search_of(Home.at(str(tmp_path)))
    first, second = search.next_cohort(), search.next_cohort()
    assert first and second and search.next_cohort() is None and search.exhausted
    a, b, c = first.numbers
    events = search.take_events([*life(a, 2.0), report(f"{b}/0", 10, 3.0)])
    events += search.fail([b], "segfault", 12)
    search.cohort_again(first.id, {f"{c}/0": 76})
    again = search.next_cohort()
    assert again
    assert again.numbers == [c], "without a checkpoint those begin anew who have not ended"
    assert (again.id, again.attempt, again.suspects) == (first.id, 1, {f"{c}/0": 76})
    ended = [event for event in events if isinstance(event, Outcome)]
    assert [(o.trial, o.status, o.evidence, o.step) for o in ended] == [
        (a, "complete", f"evidence of {a}/0", 40),
        (b, "failed", "segfault", 12),
    ]
    search.take_events(life(c, 1.0))
    search.cohort_again(first.id, {})
    assert search.next_cohort() is None, "all its trials have ended"
    search.settle(everything=True)
    assert [t.state for t in search.record.results() if t.number in (a, b, c)] == ["complete", "failed", "complete"]


def test_a_checkpoint_that_is_older_than_a_failure_does_not_revive_the_trial(tmp_path: Path) -> None:
    from espalier.core import checkpoint

    home = Home.at(str(tmp_path))
    search = search_of(home)
    first = search.next_cohort()
    assert first
    assert first
    place = home.next_tune("warm-1") / attempt_name(first.id, 2) / "checkpoint_000001"
    place.mkdir(parents=True)
    checkpoint.save(place / homes.COHORT_FILE, {})
    failed = first.numbers[0]
    search.fail([failed], "hung")
    search.cohort_again(first.id, {}, last_checkpoint(home.sweep("warm-1"), first.id))
    again = search.next_cohort()
    assert again and again.without == (failed,) and again.resume_from == str(place)
    search.settle(everything=True)
    later = search_of(home, resumed=True).next_cohort()
    assert later and later.id == first.id and later.without == (failed,)


def test_the_program_of_a_cohort_is_kept_with_the_study(tmp_path: Path) -> None:
    search = search_of(Home.at(str(tmp_path)))
    provenance = Provenance("native", "long", 8, "cpu")
    search.record.set_provenance("cohort-0", provenance)
    assert search.record.provenance == {"cohort-0": provenance}
