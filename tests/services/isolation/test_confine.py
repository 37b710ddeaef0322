"""A job runs as its owner's own user: it reaches nothing of the service and of other owners. Only root can try it."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.distributions import FloatDistribution

from espalier.core.errors import BadInput
from espalier.services import serve
from espalier.services.clusters.cluster import Job, JobState
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.isolation import best_file, confine
from espalier.services.isolation.journal import Journal
from espalier.services.isolation.tenants import Tenants
from espalier.services.reading.reports import Reports
from espalier.services.reading.trials import Sweeps
from espalier.services.settings import Settings
from espalier.services.tokens import create
from espalier.sweeps.home import Home
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec
from tests.services.conftest import spec, until
from tests.services.holding import submission
from tests.services.test_cli import Desk
from tests.sweeps.code.test_archive import zipped

HERE = Path(__file__).parent
THIEF = (sys.executable, str(HERE / "thief.py"))
UIDS = range(2_000_000_000, 2_000_000_100)
CODE = zipped({"mine.py": b"class Mine: pass\n"})
needs_root = pytest.mark.skipif(bool(confine.possible()), reason=f"no users of their own: {confine.possible()}")


@pytest.fixture
def tenants(settings: Settings) -> Tenants:
    return Tenants(settings.home, UIDS)


def ended(cluster: LocalCluster, job: Job) -> str:
    """Run a job to its end; return its log."""
    cluster.submit(job)
    until(lambda: cluster.status(job.id).state.over, f"the end of {job.id}")
    assert cluster.status(job.id).state == JobState.SUCCEEDED, cluster.logs(job.id)
    return cluster.logs(job.id)


def of(owner: str, name: str = "quick", number: int = 0) -> Job:
    return Job(f"{name}-{owner}-{number}", f"{name}-{owner}", spec(name), CODE, owner)


def check(stolen: dict[str, Any], owner: str) -> None:
    """A thief saw its own owner's files alone, and no attempt of theirs came to anything."""
    assert stolen["uid"] in UIDS and stolen["groups"] == []
    own = (f"owners/{owner}/", f"code/{owner}/", "jobs/thief")
    assert [path for path in stolen["readable"] if not path.startswith(own)] == []
    assert [path for path in stolen["writable"] if not path.startswith(f"owners/{owner}/")] == []
    assert [path for path in stolen["readable"] if path.endswith("mine.py")] != []
    assert stolen["environments"] == []
    assert stolen["succeeded"] == []
    assert "hush" not in json.dumps(stolen)


@needs_root
def test_a_job_reaches_nothing_but_its_owners(
    settings: Settings, store: Store, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "SWEEP_DATABASE_URL"):
        monkeypatch.setenv(name, "hush")
    with store.session() as session:
        create(session, "ada", "admin", time.time(), None)
    cluster = LocalCluster(settings.home / "jobs", THIEF, tenants=tenants)
    assert "honest" in ended(cluster, of("bob"))
    theirs = [path for path in settings.home.rglob("*bob*/**/*") if path.is_file()]
    before = {path: path.read_bytes() for path in theirs}
    assert {"mine.py", "checkpoint.pt", "spec.json", "log"} <= {path.name for path in theirs}
    stolen = json.loads(ended(cluster, of("ada", "thief")))
    check(stolen, "ada")
    assert {path: path.read_bytes() for path in before} == before
    again = json.loads(ended(cluster, of("ada", "thief", 1)))
    assert again["uid"] == stolen["uid"] != (settings.home / "owners" / "bob").stat().st_uid
    assert not [path for path in settings.home.rglob("*") if path.lstat().st_mode & 0o077]


@needs_root
def test_a_home_below_a_folder_that_a_job_may_read_is_closed_all_the_same(
    settings: Settings, store: Store, tenants: Tenants, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever serves from the folder of their code, which stands in $PYTHONPATH, shows the code and nothing else."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(HERE.parents[2])]))
    settings.home.chmod(0o700)
    cluster = LocalCluster(settings.home / "jobs", THIEF, tenants=tenants)
    ended(cluster, of("bob"))
    check(json.loads(ended(cluster, of("ada", "thief"))), "ada")


@needs_root
def test_what_a_job_leaves_running_ends_with_it(settings: Settings, tenants: Tenants) -> None:
    leave = "import subprocess as s; print(s.Popen(['sleep', '600'], start_new_session=True).pid)"
    cluster = LocalCluster(settings.home / "jobs", (sys.executable, "-c", leave), tenants=tenants)
    assert not psutil.pid_exists(int(ended(cluster, of("ada"))))


@needs_root
def test_a_job_that_is_stopped_hears_it(settings: Settings, tenants: Tenants) -> None:
    script = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(130)); print('begun', flush=True)"
    script += "; time.sleep(99)"
    cluster = LocalCluster(settings.home / "jobs", (sys.executable, "-c", script), tenants=tenants)
    cluster.submit(of("ada"))
    until(lambda: "begun" in cluster.logs(of("ada").id), "its first words")
    cluster.stop(of("ada").id)
    until(lambda: cluster.status(of("ada").id).state == JobState.STOPPED, "its end")


@needs_root
def test_a_sweep_from_before_is_not_run_as_root(settings: Settings, tenants: Tenants) -> None:
    (settings.home / "sweeps" / "quick-ada").mkdir(parents=True)
    with pytest.raises(BadInput, match="submit it again"):
        LocalCluster(settings.home / "jobs", THIEF, tenants=tenants).submit(of("ada"))


@needs_root
def test_user_ids_are_not_given_twice_and_run_out_with_a_word(tmp_path: Path) -> None:
    few = Tenants(tmp_path, range(UIDS.start, UIDS.start + 2))
    uids = [few.made_home(owner).stat().st_uid for owner in ("ada", "bob", "ada")]
    assert uids == [UIDS.start, UIDS.start + 1, UIDS.start]
    (few.home_of("bob")).rename(tmp_path / "gone")
    with pytest.raises(BadInput, match="SWEEP_JOB_UIDS: all 2 are taken"):
        few.made_home("eve")


# --- what the service reads of a job's files -------------------------------------------------------------------------


def written(path: Path, sweep: str) -> None:
    """Write a journal with a sweep of one trial, as the user whose folder it lies in."""
    study = SweepStore.open(str(path)).create(sweep, SweepSpec.model_validate(spec()), {}).study
    study.tell(study.ask({"lr_exponent": FloatDistribution(-2.0, 0.0)}), 2.5)
    os.chown(path, path.parent.stat().st_uid, -1)


@needs_root
def test_a_journal_is_read_as_the_file_that_its_owner_wrote_and_as_nothing_else(tenants: Tenants) -> None:
    home = tenants.made_home("ada")
    path, uid = home / "optuna.journal", home.stat().st_uid
    sweeps = Sweeps(Home.at(str(tenants.home)), "", tenants)

    def trials() -> int:
        sweeps._known.clear()
        return len(sweeps.trials("quick-1", owner="ada"))

    assert trials() == 0
    written(path, "quick-1")
    assert trials() == 1
    secret = tenants.made_home("bob") / "optuna.journal"
    written(secret, "quick-1")
    for replace in (
        lambda: path.symlink_to(secret),
        lambda: os.link(secret, path),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.write_bytes(b"\xff{not a journal}\n" * 9),
        lambda: path.write_bytes(b'{"op_code": 0}\n'),
        lambda: path.write_bytes(b"[" * 100_000 + b"\n"),
    ):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        replace()
        if not path.is_symlink() and not path.samefile(secret):
            os.chown(path, uid, uid)
        assert trials() == 0
    path.unlink()
    written(path, "quick-1")
    assert trials() == 1


@needs_root
def test_nothing_of_an_owners_home_runs_as_root_when_their_best_file_is_made(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python runs what the packages in $HOME name as it starts: outside of a virtual environment, and before the fall.

    The base Python stands for that here; the environment's packages come by $PYTHONPATH.
    """
    home = tenants.made_home("ada")
    uid, witness = home.stat().st_uid, home / "who"
    monkeypatch.setattr(sys, "executable", os.path.realpath(sys.executable))
    site = home / ".local" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (site / "thief.pth").write_text(f"import os; open({str(witness)!r}, 'a').write(str(os.geteuid()) + ' ')\n")
    os.chown(witness if witness.exists() else site, uid, uid)
    written(home / "optuna.journal", "quick-1")
    with pytest.raises(BadInput):  # this Python lacks what the command needs, or the trial has no story
        Sweeps(Home.at(str(tenants.home)), "", tenants).best("quick-1", "ada", None)
    who = witness.read_text().split() if witness.exists() else []
    assert "0" not in who


@needs_root
def test_a_report_is_drawn_by_its_owners_user_who_sees_no_other_home(tenants: Tenants) -> None:
    home, secret = tenants.made_home("ada"), tenants.made_home("bob") / "optuna.journal"
    path, uid = home / "optuna.journal", home.stat().st_uid
    written(path, "quick-1")
    written(secret, "quick-1")
    for entry in home.rglob("*"):
        os.chown(entry, uid, uid)
    reports, theirs = Reports(Sweeps(Home.at(str(tenants.home)), "", tenants)), submission("quick-1", spec())
    page = reports.page(theirs, "http://there").text.decode()
    assert "sweep best quick-1 --server http://there" in page
    assert {entry.stat().st_uid for entry in home.rglob("*")} == {uid}  # root has written nothing
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(BadInput):
        reports.page(theirs, "http://elsewhere")


@needs_root
def test_points_are_added_to_an_owners_journal_by_their_user(tenants: Tenants) -> None:
    home = tenants.made_home("ada")
    path, uid = home / "optuna.journal", home.stat().st_uid
    written(path, "quick-1")
    for entry in home.rglob("*"):
        os.chown(entry, uid, uid)
    sweeps = Sweeps(Home.at(str(tenants.home)), "", tenants)
    points = [{"lr_exponent": -1.5}, {"lr_exponent": -0.5}]
    assert sweeps.enqueue("quick-1", "ada", points, None, 1) == 2
    record = SweepStore.open_for_reading(str(path)).load("quick-1")
    assert [entry["point"] for entry in record.enqueued().values()] == points
    assert {entry.stat().st_uid for entry in home.rglob("*")} == {uid}  # root has written nothing
    with pytest.raises(BadInput, match=r"point 1\.lr_exponent: 9 lies outside"):
        sweeps.enqueue("quick-1", "ada", [{"lr_exponent": 9}], None, 1)
    further = [{"lr_exponent": -1.0}] * 5
    with pytest.raises(BadInput, match="room for 1 further point "):
        sweeps.enqueue("quick-1", "ada", further, None, 1)
    assert sweeps.enqueue("quick-1", "ada", further, None, 1, {"trials": 8}) == 5
    with pytest.raises(KeyError):
        sweeps.enqueue("quick-2", "ada", points, None, 1)


def test_a_journal_that_grows_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    path.touch()
    os.truncate(path, 2**33)
    with pytest.raises(KeyError):
        Journal(path, os.getuid()).store()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('x' * 5000)", "more than 1,000 bytes"),
        ("import sys\nwhile True: sys.stdout.write('x' * 9999)", "more than 1,000 bytes"),
        ("import time; time.sleep(600)", "took more than"),
        ("import os, time; os.close(1); time.sleep(600)", "took more than"),
    ],
)
def test_what_makes_a_best_file_is_waited_for_and_read_within_bounds(script: str, said: str) -> None:
    seconds = 60.0 if "bytes" in said else 1.0
    with pytest.raises(BadInput, match=said):
        best_file.output_of([sys.executable, "-c", script], os.environ, most=1000, seconds=seconds)


def test_what_makes_a_best_file_says_how_it_ended() -> None:
    script = "import sys; print('né'); print('a\\nsweep: no', file=sys.stderr); sys.exit(3)"
    assert best_file.output_of([sys.executable, "-c", script], os.environ) == (3, "né\n", "sweep: no")


# --- where jobs have no users of their own ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "changes", "root", "said"),
    [
        ("127.0.0.1", {}, False, None),
        ("0.0.0.0", {}, False, "start it as root"),
        ("192.0.2.7", {}, True, "may not mount"),
        ("127.0.0.1", {"trusted_proxies": "127.0.0.1"}, False, "SWEEP_TRUSTED_PROXIES=127.0.0.1: others"),
        ("0.0.0.0", {"database_url": "postgresql+psycopg://a@db/service"}, False, None),
        ("0.0.0.0", {"database_url": "postgresql+psycopg://a@db/service"}, True, "SWEEP_RAY_ADDRESS"),
        ("0.0.0.0", {"database_url": "sqlite:////elsewhere/service.db"}, False, "could open its database"),
        ("0.0.0.0", {"ray_address": "http://head:8265"}, False, "every node of the cluster sees the home"),
        ("0.0.0.0", {"ray_address": "http://head:8265", "database_url": "postgresql://a@db/s"}, False, None),
        ("0.0.0.0", {"ray_address": "http://head:8265", "database_url": "sqlite:////elsewhere/s.db"}, False, None),
    ],
)
def test_others_are_served_only_if_their_jobs_cannot_open_the_database(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    changes: dict[str, str],
    root: bool,
    said: str | None,
) -> None:
    why = "it may not mount (Operation not permitted)" if root else "it does not run as root"
    monkeypatch.setattr(confine, "possible", lambda: why)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    wanted = settings.model_copy(update=changes)
    if said is None:
        serve.check_isolation(wanted, host)
    else:
        with pytest.raises(BadInput, match=said) as refused:
            serve.check_isolation(wanted, host)
        assert "\n" not in str(refused.value)


@needs_root
def test_with_users_of_their_own_others_are_served_and_files_that_jobs_cannot_write_are_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("MLFLOW_TRACKING_URI", "SWEEP_STORAGE_URL"):
        monkeypatch.delenv(variable, raising=False)
    serve.check_isolation(settings, "0.0.0.0")
    serve.check_jobs(settings)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(BadInput, match=r"MLFLOW_TRACKING_URI: sqlite:///mlflow\.db: jobs have users of their own"):
        serve.check_jobs(settings)


def test_a_home_of_an_earlier_version_is_closed(settings: Settings) -> None:
    for name in ("jobs/x/spec.json", "service.db", "optuna.journal"):
        (settings.home / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / name).touch()
        (settings.home / name).chmod(0o644)
    serve.make_private(settings)
    assert not [path for path in (settings.home, *settings.home.iterdir()) if path.stat().st_mode & 0o077]


# --- the whole -------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.slow
@pytest.mark.hostile
def test_a_hostile_task_trains_and_steals_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    desk.env |= {"AWS_SECRET_ACCESS_KEY": "hush", "AWS_ACCESS_KEY_ID": "hush"}
    token: Callable[[str], str] = lambda owner: desk.run("token", "create", "--owner", owner).stdout.strip()  # noqa: E731
    ada, bob = token("ada"), token("bob")
    (tmp_path / "code").mkdir()
    for name, to in (("hostile_task.py", "mine.py"), ("thief.py", "thief.py")):
        (tmp_path / "code" / to).write_bytes((HERE / name).read_bytes())
    for name in ("honest", "thief"):
        options = json.dumps({"home": str(tmp_path / "sweep-data")})
        (tmp_path / "code" / f"{name}.yaml").write_text(
            f"name: {name}\ntask: mine.py:Hostile\ntask_options: {options}\ntrials: 2\n"
            "budget: {steps: 20, batch_size: 8}\nspace: {lr_exponent: {low: -2, high: -1}}\n"
        )
    try:
        desk.serve()
        for owner, name in ((bob, "honest"), (ada, "thief")):
            submit = ("submit", f"code/{name}.yaml", "--code", "code", "--server", desk.server)
            done = desk.run(*submit, SWEEP_TOKEN=owner)
            assert done.returncode == 0, done.stderr
        log = desk.run("logs", "thief", "--server", desk.server, SWEEP_TOKEN=ada).stdout
        stolen = [json.loads(line.partition("stolen: ")[2]) for line in log.splitlines() if "stolen: " in line]
        assert stolen
        for one in stolen:
            check(one, "ada")
        assert "mine.py:Hostile" in desk.run("best", "thief", "--server", desk.server, SWEEP_TOKEN=ada).stdout
        loose = [p for p in (tmp_path / "sweep-data").rglob("*") if not p.is_symlink() and p.lstat().st_mode & 0o077]
        assert loose == []
        assert bob not in log and ada not in log
    finally:
        for process in desk.services:
            process.terminate()
            process.wait(30)
