"""One contract for whatever runs jobs, held to every member of the family."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from espalier.services.clusters import local
from espalier.services.clusters.cluster import Cluster, Job, JobState, Unreachable
from espalier.services.clusters.environment import variables_of_jobs
from espalier.services.clusters.local import LocalCluster
from espalier.services.clusters.ray_jobs import RayCluster
from tests.services.conftest import SCRIPT, spec, until

Starts = Callable[[], list[str]]


def job(name: str = "quick", number: int = 0) -> Job:
    return Job(f"{name}-sweep-{number}", f"{name}-sweep", spec(name))


class Contract:
    """What a Cluster promises."""

    def state(self, member: Cluster, wanted: Job) -> JobState:
        return member.status(wanted.id).state

    def ends(self, member: Cluster, wanted: Job) -> JobState:
        until(lambda: self.state(member, wanted).over, f"the end of {wanted.id}")
        return self.state(member, wanted)

    def taken(self, member: Cluster, wanted: Job) -> None:
        """Submit as the queue does: again, until the cluster answers."""

        def tried() -> bool:
            try:
                member.submit(wanted)
            except Unreachable as error:
                print(error)
                return False
            return True

        until(tried, f"a cluster that takes {wanted.id}", 180)

    def test_a_job_runs_to_its_end_and_leaves_its_log(self, member: Cluster, starts: Starts) -> None:
        self.taken(member, job())
        assert self.ends(member, job()) == JobState.SUCCEEDED
        assert "this is quick-sweep" in member.logs(job().id)
        assert starts().count("quick-sweep") == 1

    def test_a_job_that_is_submitted_again_is_not_started_again(self, member: Cluster, starts: Starts) -> None:
        wanted = job("long", 7)
        for _ in range(3):
            self.taken(member, wanted)
        until(lambda: "begun" in member.logs(wanted.id), "its first words")
        self.taken(member, wanted)
        member.stop(wanted.id)
        assert self.ends(member, wanted) == JobState.STOPPED
        self.taken(member, wanted)
        assert self.state(member, wanted) == JobState.STOPPED
        assert starts().count("long-sweep") == 1

    def test_another_attempt_is_another_job(self, member: Cluster, starts: Starts) -> None:
        for number in (10, 11):
            self.taken(member, job(number=number))
            assert self.ends(member, job(number=number)) == JobState.SUCCEEDED
        assert starts().count("quick-sweep") == 2

    def test_a_job_that_ends_badly_says_how(self, member: Cluster) -> None:
        self.taken(member, job("refused"))
        assert self.ends(member, job("refused")) == JobState.FAILED
        assert member.status(job("refused").id).exit_code == 2
        self.taken(member, job("dies"))
        assert self.ends(member, job("dies")) == JobState.FAILED
        assert member.status(job("dies").id).exit_code not in (0, 1, 2)

    def test_a_job_that_nobody_knows_is_lost_and_can_be_stopped(self, member: Cluster) -> None:
        assert member.status("nobody-0").state == JobState.LOST
        assert member.logs("nobody-0") == ""
        member.stop("nobody-0")

    def test_stopping_what_has_ended_changes_nothing(self, member: Cluster) -> None:
        wanted = job(number=20)
        self.taken(member, wanted)
        assert self.ends(member, wanted) == JobState.SUCCEEDED
        member.stop(wanted.id)
        assert self.state(member, wanted) == JobState.SUCCEEDED

    def test_it_answers(self, member: Cluster) -> None:
        member.check()


class TestLocalCluster(Contract):
    @pytest.fixture
    def member(self, cluster: LocalCluster) -> Cluster:
        return cluster

    def test_a_job_whose_process_was_killed_has_failed(self, cluster: LocalCluster) -> None:
        wanted = job("long", 30)
        cluster.submit(wanted)
        until(lambda: "begun" in cluster.logs(wanted.id), "its first words")
        keeper = int((cluster.folder / wanted.id / "pid").read_text().split()[0])
        subprocess.run(["pkill", "-9", "-P", str(keeper)], check=True)
        assert self.ends(cluster, wanted) == JobState.FAILED

    def test_a_job_that_was_never_started_is_started_by_the_next(
        self, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever submits may die between any two steps."""
        wanted = job(number=40)
        (cluster.folder / wanted.id).mkdir(parents=True)
        cluster.submit(wanted)
        assert self.state(cluster, wanted) == JobState.PENDING
        monkeypatch.setattr(local, "_abandoned", lambda place: True)
        assert self.state(cluster, wanted) == JobState.LOST
        cluster.submit(wanted)
        assert self.ends(cluster, wanted) == JobState.SUCCEEDED

    def test_a_job_gets_the_variables_on_the_list_and_no_others(
        self, settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hidden = ("SWEEP_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN", "MINE")
        for name in hidden:
            monkeypatch.setenv(name, "hush")
        monkeypatch.setenv("DATA", "/data")
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        show = (sys.executable, "-c", "import os; print(dict(os.environ))")
        told = LocalCluster(settings.home / "jobs", show, ["DATA"])
        told.submit(job(number=50))
        assert self.ends(told, job(number=50)) == JobState.SUCCEEDED
        assert "'DATA': '/data'" in told.logs(job(number=50).id)
        assert "hush" not in told.logs(job(number=50).id)

    def test_a_job_gets_the_login_of_mlflows_server_with_which_it_records(self) -> None:
        login = {"MLFLOW_TRACKING_USERNAME": "jobs", "MLFLOW_TRACKING_PASSWORD": "p"}
        for uri, gets in (("https://mlflow.example.org", True), ("sqlite:///x.db", False), ("", False)):
            given = variables_of_jobs(login | {"MLFLOW_TRACKING_URI": uri})
            assert (login.items() <= given.items()) is gets

    def test_what_a_job_leaves_is_for_its_user_alone(self, settings) -> None:
        write = (sys.executable, "-c", "import os; open('made', 'w').close(); os.mkdir('folder')")
        LocalCluster(settings.home / "jobs", write).submit(job(number=51))
        assert self.ends(LocalCluster(settings.home / "jobs"), job(number=51)) == JobState.SUCCEEDED
        assert (settings.home / "jobs" / job(number=51).id / "made").exists()
        assert not [path for path in settings.home.rglob("*") if path.stat().st_mode & 0o077]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Ray head of its own, whose jobs write where they start, beside whatever Ray runs on this machine."""
    folder = tmp_path_factory.mktemp("ray")
    env = {**os.environ, "SCRIPTED_STARTS": str(folder / "starts"), "RAY_AUTH_MODE": "disabled"}
    env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as sockets:
        options = {
            "--port": free_port(),
            "--dashboard-host": "127.0.0.1",
            "--dashboard-port": port,
            "--dashboard-agent-listen-port": free_port(),
            "--num-cpus": 2,
            "--temp-dir": sockets,
        }
        words = [f"{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        with (
            open(folder / "log", "wb") as log,
            subprocess.Popen([*command, *words], env=env, stdout=log, stderr=log) as ray,
        ):
            yield f"http://127.0.0.1:{port}", folder
            ray.terminate()


def ray_cluster(head: tuple[str, Path]) -> tuple[Cluster, Starts]:
    """Return a cluster where nothing has started yet, and what tells which jobs have."""
    (head[1] / "starts").write_text("")
    return RayCluster(head[0], head[1] / "jobs", 0.1, SCRIPT), lambda: (head[1] / "starts").read_text().split()


@pytest.mark.slow
@pytest.mark.hostile
class TestRayCluster(Contract):
    @pytest.fixture
    def member(self, head: tuple[str, Path]) -> Cluster:
        return ray_cluster(head)[0]

    @pytest.fixture
    def starts(self, head: tuple[str, Path]) -> Starts:
        return ray_cluster(head)[1]


def test_a_cluster_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    nobody = RayCluster(f"http://127.0.0.1:{free_port()}", tmp_path)
    for call in (nobody.check, lambda: nobody.status("x-0"), lambda: nobody.submit(job()), lambda: nobody.stop("x-0")):
        with pytest.raises(Unreachable):
            call()
