"""The queue: in order, fair, within limits, and none lost or doubled whoever dies."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from espalier.core.errors import BadInput
from espalier.services import queue as queues
from espalier.services import quota
from espalier.services.clusters.cluster import JobState, Status
from espalier.services.clusters.job_folder import accepts_changes
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import State, Submission
from espalier.services.queue import Queue
from espalier.services.quota import Quota
from espalier.services.settings import Settings
from espalier.services.submissions import checked_fields, gpus_at_once, submission_of
from espalier.services.tokens import create
from tests.services.conftest import spec, until

Starts = Callable[[], list[str]]


@pytest.fixture
def hand_in(store: Store, queue: Queue, settings: Settings) -> Callable[..., str]:
    """Hand a sweep in, for an owner; give its id."""

    def submit(owner: str = "ada", name: str = "quick", key: str | None = None, hours: float = 1.0, **more: Any) -> str:
        with store.session() as session:
            create(session, owner, "submit", time.time(), None)
        fields, made = checked_fields(spec(name, **more))
        return queue.admit(submission_of(owner, fields, made, None, hours, key, settings))[0].sweep

    return submit


def states(store: Store) -> dict[str, str]:
    with store.reading() as session:
        return {s.sweep: s.state for s in session.scalars(select(Submission))}


def submission(store: Store, sweep: str) -> Submission:
    with store.reading() as session:
        found = session.scalar(select(Submission).where(Submission.sweep == sweep))
    assert found
    return found


def tick_until(queue: Queue, store: Store, happened: Callable[[dict[str, str]], bool], what: str) -> None:
    def look() -> bool:
        queue.tick()
        return happened(states(store))

    until(look, what)


def test_sweeps_start_in_the_order_in_which_they_came(queue: Queue, store: Store, hand_in, starts: Starts) -> None:
    queue.settings = queue.settings.model_copy(update={"running_total": 1})
    order = [hand_in(f"owner{n % 3}") for n in range(5)]
    tick_until(queue, store, lambda now: set(now.values()) == {"finished"}, "the end of all")
    assert starts() == order


def test_an_owner_with_many_sweeps_does_not_keep_others_waiting(queue: Queue, store: Store, hand_in) -> None:
    queue.settings = queue.settings.model_copy(update={"running_per_owner": 2, "running_total": 3})
    greedy = [hand_in("greedy", "long") for _ in range(4)]
    modest = hand_in("modest", "long")
    also = hand_in("also", "long")
    queue.tick()
    assert [states(store)[s] for s in greedy] == ["running", "running", "queued", "queued"]
    assert states(store)[modest] == "running"
    assert states(store)[also] == "queued"
    queue.stop(modest, "enough")
    tick_until(queue, store, lambda now: now[also] == "running", "room for the next owner")
    assert [states(store)[s] for s in greedy[2:]] == ["queued", "queued"]
    queue.stop(greedy[0], "enough")
    tick_until(queue, store, lambda now: now[greedy[2]] == "running", "room for the greedy one")
    assert states(store)[greedy[3]] == "queued"


def test_a_sweep_that_waits_is_stopped_at_once_and_never_starts(
    queue: Queue, store: Store, hand_in, starts: Starts
) -> None:
    sweep = hand_in()
    queue.stop(sweep, "stopped by ada")
    queue.tick()
    assert states(store)[sweep] == "stopped"
    assert submission(store, sweep).reason == "stopped by ada"
    assert starts() == []


def test_a_stopped_sweep_goes_on_as_another_attempt_of_the_same(
    queue: Queue, store: Store, hand_in, starts: Starts
) -> None:
    sweep = hand_in(name="long")
    queue.tick()
    until(starts, "its start")
    queue.stop(sweep, "for lunch")
    tick_until(queue, store, lambda now: now[sweep] == "stopped", "its stop")
    queue.resume(sweep)
    assert states(store)[sweep] == "queued"
    tick_until(queue, store, lambda now: now[sweep] == "running", "its second start")
    until(lambda: len(starts()) == 2, "two starts")
    assert starts() == [sweep, sweep]


def test_a_sweep_goes_on_with_other_data_in_the_attempt_for_which_that_was_asked(
    queue: Queue, store: Store, hand_in, settings: Settings
) -> None:
    sweep = hand_in(name="refused")
    asked = []
    for changed in (None, True, False):
        if changed is not None:
            queue.resume(sweep, changed)
        tick_until(queue, store, lambda now: now[sweep] == "failed", "its end")
        asked.append(accepts_changes(settings.home / "jobs" / submission(store, sweep).job))
    assert asked == [False, True, False]


def test_a_job_that_died_starts_again_and_after_three_times_no_more(
    queue: Queue, store: Store, hand_in, starts: Starts
) -> None:
    sweep = hand_in(name="dies")
    tick_until(queue, store, lambda now: now[sweep] == "failed", "its last end")
    assert len(starts()) == queue.settings.job_attempts == 3


def test_a_sweep_that_its_driver_refused_is_not_tried_again(
    queue: Queue, store: Store, hand_in, starts: Starts
) -> None:
    sweep = hand_in(name="refused")
    tick_until(queue, store, lambda now: now[sweep] == "failed", "its end")
    assert len(starts()) == 1
    assert submission(store, sweep).reason == "its driver ended with exit code 2"
    said = hand_in(name="refused-why")
    tick_until(queue, store, lambda now: now[said] == "failed", "its end")
    assert submission(store, said).reason == "task: no file a.py"
    crashed = hand_in(name="crashes")
    tick_until(queue, store, lambda now: now[crashed] == "failed", "its end")
    assert submission(store, crashed).reason.startswith("task: a.py:A: the process that ran its code ended: Aborted")


def test_a_cluster_that_forgot_its_jobs_gets_them_again(
    queue: Queue, store: Store, hand_in, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new Ray head knows nothing of the old one's jobs."""
    sweep = hand_in(name="long")
    queue.tick()
    assert states(store)[sweep] == "running"
    with monkeypatch.context() as away:
        away.setattr(queue.cluster, "status", lambda job: Status(JobState.LOST))
        queue.tick()
    assert submission(store, sweep).attempt == 1
    assert states(store)[sweep] in ("queued", "starting", "running")


def test_whoever_dies_between_marking_and_starting_leaves_nothing_lost_or_doubled(
    queue: Queue, store: Store, hand_in, starts: Starts, settings: Settings, cluster: LocalCluster
) -> None:
    sweeps = [hand_in(f"o{n}") for n in range(3)]
    assert list(queue._next()) == sweeps  # and here it dies
    other = Queue(store, cluster, settings, time.time, "other")
    tick_until(other, store, lambda now: set(now.values()) == {"finished"}, "the end of all")
    assert sorted(starts()) == sorted(sweeps)


def test_many_processes_that_look_after_one_queue_start_everything_once(
    store: Store, cluster: LocalCluster, settings: Settings, hand_in, starts: Starts
) -> None:
    sweeps = [hand_in(f"o{n % 4}") for n in range(8)]
    members = [Queue(store, cluster, settings, time.time, f"m{n}") for n in range(4)]
    failures: list[BaseException] = []

    def look(member: Queue) -> None:
        try:
            while not all(State(s).over for s in states(store).values()):
                member.tick()  # without a lease: the worst case
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    assert sorted(starts()) == sorted(sweeps)
    assert set(states(store).values()) == {"finished"}


def test_only_one_of_several_holds_the_lease_and_another_takes_it_over(
    store: Store, cluster: LocalCluster, settings: Settings
) -> None:
    now = [1000.0]
    one, other = (Queue(store, cluster, settings, lambda: now[0], name) for name in ("one", "other"))
    assert one._hold() and not other._hold()
    now[0] += queues.LEASE_S - 1
    assert one._hold() and not other._hold()
    now[0] += queues.LEASE_S + 1
    assert other._hold() and not one._hold()


def test_a_key_that_comes_again_gives_the_same_sweep(store: Store, hand_in) -> None:
    first = hand_in(key="k1")
    assert hand_in(key="k1") == first
    assert hand_in("bob", key="k1") != first
    assert hand_in(key="k2") != first
    with pytest.raises(BadInput, match="Idempotency-Key: 'k1' came before with another sweep"):
        hand_in(key="k1", trials=5)


def test_a_key_that_comes_from_many_sides_at_once_gives_one_sweep(store: Store, hand_in) -> None:
    hand_in("ada")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(hand_in("ada", key="k"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 1


def test_a_quota_of_trials_is_kept_to_the_last(queue: Queue, store: Store, hand_in) -> None:
    hand_in(trials=6)
    with store.session() as session:
        quota.set_quota(session, "ada", 10, None, False, time.time())
    with pytest.raises(Quota, match="trials: 5 asked for; 4 of 10 are left to ada"):
        hand_in(trials=5)
    hand_in(trials=4)
    hand_in("bob", trials=100)


def test_a_quota_of_gpu_hours_is_checked_against_what_is_foreseen(store: Store, hand_in) -> None:
    gpus = {"resources": {"gpus": 1, "cohorts": 2}}
    hand_in(hours=1.0, **gpus)
    with store.session() as session:
        quota.set_quota(session, "ada", None, 3.0, False, time.time())
    with pytest.raises(Quota, match=r"GPU-hours: 2 foreseen .*; 1 of 3 are left"):
        hand_in(hours=1.0, **gpus)
    hand_in(hours=0.5, **gpus)
    hand_in(hours=24.0, resources={"gpus": 0})
    with pytest.raises(Quota, match=r"^GPU-hours: 1 foreseen \(1 GPU for 1 hour\); 0 of 3 are left to ada$"):
        hand_in(hours=1.0, resources={"gpus": 1, "cohorts": 1})
    with store.session() as session:
        quota.set_quota(session, "ada", None, 1.0, False, time.time())  # less than was used
    hand_in(hours=24.0, resources={"gpus": 0})


@pytest.mark.parametrize(
    ("devices", "changed", "gpus"),
    [
        ([], {}, 0.0),
        (["nvidiactl"], {}, 0.0),
        (["nvidia0", "nvidia1"], {}, 1.0),
        (["kfd"], {}, 1.0),
        ([], {"gpus_at_once": 4.0}, 4.0),
        ([], {"ray_address": "http://head:8265"}, 1.0),
    ],
)
def test_a_sweep_is_counted_with_no_gpu_where_there_is_none(
    devices: list[str], changed: dict[str, Any], gpus: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in devices:
        (tmp_path / name).touch()
    monkeypatch.setattr("espalier.services.settings.DEVICES", tmp_path)
    _, wanted = checked_fields(spec())
    assert gpus_at_once(wanted, Settings(home=tmp_path, **changed)) == gpus


def test_a_sweep_that_runs_longer_than_was_foreseen_is_stopped(
    store: Store, cluster: LocalCluster, settings: Settings, hand_in
) -> None:
    late = [0.0]
    queue = Queue(store, cluster, settings, lambda: time.time() + late[0], "late")
    sweep = hand_in(name="long", hours=1.0)
    queue.tick()
    assert states(store)[sweep] == "running"
    late[0] = 3601.0
    tick_until(queue, store, lambda now: now[sweep] == "stopped", "its stop")
    assert "ran for the 1 hour foreseen" in submission(store, sweep).reason


def test_gpu_hours_that_run_out_while_a_sweep_runs_stop_it(
    store: Store, cluster: LocalCluster, settings: Settings, hand_in
) -> None:
    late = [0.0]
    queue = Queue(store, cluster, settings, lambda: time.time() + late[0], "late")
    sweep = hand_in(name="long", hours=2.0, resources={"gpus": 1, "cohorts": 1})
    queue.tick()
    with store.session() as session:
        quota.set_quota(session, "ada", None, 1.0, False, time.time())
    late[0] = 3700.0
    tick_until(queue, store, lambda now: now[sweep] == "stopped", "its stop")
    assert "1 GPU-hours of ada are used up" in submission(store, sweep).reason
    with pytest.raises(Quota):
        queue.resume(sweep)


def test_what_never_ran_uses_nothing(queue: Queue, store: Store, hand_in) -> None:
    queue.stop(hand_in(trials=50), "never mind")
    with store.reading() as session:
        assert quota.used(session, "ada", time.time()) == (0, 0.0)


def test_an_unknown_owner_is_named_with_the_nearest(store: Store, hand_in) -> None:
    hand_in("ada")
    with store.session() as session, pytest.raises(BadInput, match="owner 'adda' is unknown; did you mean 'ada'"):
        quota.set_quota(session, "adda", 1, None, False, time.time())
