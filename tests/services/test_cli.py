"""The service as people meet it: `sweep serve` in one process, `sweep submit` and the others in others."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.project import write_project
from tests.services.clusters.test_cluster import free_port
from tests.services.conftest import until

ROOT = Path(__file__).resolve().parents[2]
NAMES = str(ROOT / "sweeps/library/names.yaml")
SMALL = ["--set", "trials=4", "--set", "budget.steps=80", "--set", "task_options.validation=500"]


class Desk:
    """A folder, in which a home will be, and commands that run there."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.services: list[subprocess.Popen[str]] = []
        self.server = f"http://127.0.0.1:{self.port}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "MLFLOW_", "RAY_"))}
        self.env = kept | {
            "SWEEP_CONFIG": str(folder / "config.yaml"),
            "SWEEP_TICK_S": "0.1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "110",
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments: str, folder: Path | None = None, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "espalier.services.cli", *arguments],
            cwd=folder or self.folder,
            env=self.env | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *arguments: str, folder: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        with self.start(*arguments, folder=folder, **env) as process:
            out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def serve(self, *more: str) -> "subprocess.Popen[str]":
        with open(self.folder / "serve.log", "a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "espalier.services.cli", "serve", "--port", str(self.port), *more],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.services.append(process)
        until(self.answers, "an answer of the service", 120)
        return process

    def end(self) -> None:
        """Stop what runs, then the service."""
        try:
            for view in self.views():
                self.run("stop", view["id"], "--wait", "--server", self.server)
        finally:  # as where a test has failed before it had a token
            for process in self.services:
                process.terminate()
                process.wait(30)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.server}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def views(self) -> list[dict[str, Any]]:
        """Return what `list --server --json` prints, without a process for each look."""
        token = self.env.get("SWEEP_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"{self.server}/v1/sweeps", headers=headers, timeout=30).json()["sweeps"]

    def trials(self, sweep: str) -> list[dict[str, Any]]:
        """Return what the service says of a sweep's trials."""
        return httpx.get(f"{self.server}/v1/sweeps/{sweep}/trials", timeout=30).json()["trials"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def served(desk: Desk) -> Iterator[Desk]:
    desk.serve()
    yield desk
    desk.end()


@pytest.mark.slow
@pytest.mark.hostile
def test_a_sweep_goes_to_the_service_and_its_best_comes_back_and_reruns(served: Desk) -> None:
    """The same names that run at home; the service is killed in the middle, and another goes on."""
    submitting = served.start("submit", NAMES, *SMALL, "--json", "--server", served.server)
    until(lambda: any(v["state"] == "running" for v in served.views()), "a running sweep", 60)
    served.services[0].kill()
    served.services[0].wait(30)
    served.serve()
    out, err = submitting.communicate(timeout=240)
    assert submitting.returncode == 0, err
    view = json.loads(out)
    assert view["state"] == "finished"
    assert view["trials"] | {"stopped": 0} == {
        "wanted": 4, "ended": 4, "running": 0, "interrupted": 0,
        "complete": 4, "stopped": 0, "diverged": 0, "failed": 0,
    }  # fmt: skip
    assert err.count("trial ") >= 4 and f"{served.server}/#/sweeps/{view['id']} shows it" in err
    shown = served.run("show", "names", "--server", served.server)
    assert shown.stdout.startswith(f"{view['id']}: finished")
    (row,), (seen,) = json.loads(served.run("list", "--server", served.server, "--json").stdout), served.views()
    assert row["best"] == seen.pop("best")["value"] and row | seen == row
    (served.folder / "best.yaml").write_text(served.run("best", "names", "--server", served.server).stdout)
    rerun = served.run("rerun", "best.yaml")
    assert rerun.returncode == 0, rerun.stderr
    assert "bit for bit" in rerun.stdout
    assert "4 complete" in served.run("logs", "names", "--server", served.server).stdout
    values = lambda: {t["number"]: t["value"] for t in served.trials(view["id"])}  # noqa: E731
    before = values()
    extended = served.run("extend", "names", "--trials", "2", "--json", "--server", served.server)
    assert extended.returncode == 0, extended.stderr
    grown = json.loads(extended.stdout)
    assert (grown["extended"], grown["trials"]["ended"], grown["attempt"]) == ({"trials": 6}, 6, 1), grown
    assert values() | before == values() != before  # to the last bit
    again = served.run("stop", "names", "--wait", "--server", served.server)
    assert "finished" in again.stderr
    assert "  extended to 6 trials\n" in served.run("show", "names", "--server", served.server).stdout


@pytest.mark.slow
@pytest.mark.hostile
def test_control_c_detaches_and_stop_and_resume_go_round(served: Desk) -> None:
    long = ["--set", "budget.steps=200000", "--set", "trials=2"]
    submitting = served.start("submit", NAMES, *long, "--server", served.server)
    until(lambda: any(v["state"] == "running" for v in served.views()), "a running sweep", 60)
    time.sleep(1)
    submitting.send_signal(signal.SIGINT)
    _, err = submitting.communicate(timeout=60)
    assert submitting.returncode == 0
    assert "detached" in err and "Traceback" not in err
    (view,) = served.views()
    assert view["state"] == "running"
    log = lambda: served.run("logs", "names", "--server", served.server).stdout  # noqa: E731
    until(lambda: "train" in log(), "the first loss", 120)
    stopped = served.run("stop", "names", "--wait", "--server", served.server)
    assert "stopped" in stopped.stderr
    assert "sweep resume" in log()
    resumed = served.start("resume", "names", "--server", served.server)
    until(lambda: served.views()[0]["state"] == "running", "its second attempt", 60)
    assert served.views()[0]["attempt"] == 1
    resumed.send_signal(signal.SIGINT)
    resumed.communicate(timeout=60)


@pytest.mark.slow
def test_a_tasks_own_file_goes_along(served: Desk) -> None:
    code = served.folder / "code"
    code.mkdir()
    (code / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom espalier.core.task import Batch, Data, Task\nimport beside\n\n\n"
        "class Mine(Task):\n"
        "    def model(self):\n        return nn.Linear(1, 1)\n\n"
        "    def loss(self, model, batch):\n        return (model(batch[0]) - batch[1]).square().mean()\n\n"
        "    def data(self):\n        x = torch.linspace(-1, 1, 64)[:, None]\n"
        "        return Data(train=(x, beside.SLOPE * x), valid=(x, beside.SLOPE * x))\n"
    )
    (code / "beside.py").write_text("SLOPE = 3.0\n")
    (code / "mine.yaml").write_text(
        "name: mine\ntask: mine.py:Mine\ntrials: 2\nbudget: {steps: 20, batch_size: 8}\n"
        "space: {lr_exponent: {low: -2, high: -1}}\n"
    )
    done = served.run("submit", "code/mine.yaml", "--code", "code", "--json", "--server", served.server)
    assert done.returncode == 0, done.stderr + served.run("logs", "mine", "--server", served.server).stdout
    assert json.loads(done.stdout)["trials"]["complete"] == 2
    best = served.run("best", "mine", "--server", served.server).stdout
    assert "task: mine.py:Mine" in best  # as it was handed in, not where it lay in the cluster


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["file", "module", "kinds"])
def test_a_project_with_packages_of_our_folders_names_goes_along(served: Desk, spec: str) -> None:
    """Its packages core, services, sweeps and utils, and its kinds, are found by the job and after a pull.

    Here the checkout, in which our folders have these names, is on Python's search path too.
    """
    project = write_project(served.folder / "project")
    submit = ["submit", f"{spec}.yaml", "--code", ".", "--json", "--server", served.server]
    done = served.run(*submit, folder=project)
    assert done.returncode == 0, done.stderr + served.run("logs", spec, "--server", served.server).stdout
    trials = json.loads(done.stdout)["trials"]
    assert trials["complete"] + trials["stopped"] == 4 and trials["complete"] >= 2
    best = served.run("best", spec, "--server", served.server).stdout
    assert "/jobs/" not in best and "/code/" not in best, best
    (project / "best.yaml").write_text(best)
    rerun = served.run("rerun", "best.yaml", folder=project)
    assert "bit for bit" in rerun.stdout, rerun.stdout + rerun.stderr


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from espalier.services.cli import command
command()
"""
EXTRA = ("fastapi", "uvicorn", "psutil", "jsonschema", "multipart", "pydantic_settings", "prometheus_client", "psycopg")


@pytest.mark.parametrize(
    "wish",
    (
        ["serve"],
        ["serve", "--host", "0.0.0.0"],
        ["token", "list"],
        ["token", "create", "--owner", "ada"],
        ["token", "revoke", "0123456789ab"],
        ["quota", "ada"],
        ["db", "upgrade"],
    ),
    ids=" ".join,
)
def test_without_the_services_packages_its_commands_say_which_to_install(tmp_path: Path, wish: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SWEEP_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", WITHOUT % (EXTRA,), *wish]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.startswith("sweep: ") and "pip install 'espalier[service]'" in line


def test_without_the_services_packages_the_rest_goes_on(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SWEEP_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", WITHOUT % (EXTRA,), "list"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "no sweep here yet" in done.stdout, done.stderr


@pytest.mark.parametrize("wish", ("serve", "ui"))
def test_a_taken_port_is_one_line(desk: Desk, wish: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = desk.run(wish, "--port", str(port))
    lines = [line for line in done.stderr.strip().splitlines() if "INFO" not in line]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert lines[0].startswith(f"sweep: --port {port}: ") and "give another --port" in lines[0]


def test_the_service_and_its_tokens_take_a_home_as_other_commands_do(desk: Desk, tmp_path: Path) -> None:
    made = desk.run("token", "create", "--owner", "ada", "--home", str(tmp_path / "there"))
    assert made.returncode == 0 and (tmp_path / "there" / "service.db").exists(), made.stderr
    listed = desk.run("token", "list", "--home", "~/there", HOME=str(tmp_path))
    assert "ada" in listed.stdout, listed.stderr
    assert "ada" in desk.run("token", "list", HOME=str(tmp_path), SWEEP_HOME="~/there").stdout
    assert "ada" not in desk.run("token", "list").stdout
    refused = desk.run("serve", "--port", "0", "--host", "0.0.0.0", "--home", str(tmp_path / "elsewhere"))
    assert refused.returncode == 2 and "no token yet" in refused.stderr


BAD: dict[str, tuple[list[str], dict[str, str], str]] = {
    "no server": (["submit", NAMES], {}, "--server: missing"),
    "nobody there": (["submit", NAMES, "--server", "http://127.0.0.1:9"], {}, "no service answers there"),
    "no address": (["list", "--server", "example.org"], {}, "write http://"),
    "both": (["list", "--server", "http://127.0.0.1:9", "--home", "."], {}, "keep one"),
    "a bad spec": (["submit", NAMES, "--set", "trials=0", "--server", "http://127.0.0.1:9"], {}, "trials"),
    "no spec": (["submit", "nowhere.yaml", "--server", "http://127.0.0.1:9"], {}, "cannot be read"),
    "a token with spaces": (["list", "--server", "http://127.0.0.1:9"], {"SWEEP_TOKEN": "a b"}, "SWEEP_TOKEN"),
    "open doors": (["serve", "--host", "0.0.0.0"], {}, "no token yet"),
    "half of TLS": (["serve", "--tls-key", "k.pem"], {}, "belong together"),
    "a wrong setting": (["serve"], {"SWEEP_RUNNING_TOTAL": "many"}, "SWEEP_RUNNING_TOTAL"),
    "a wrong database": (["token", "list"], {"SWEEP_DATABASE_URL": "nosuch://x:secret@y/z"}, "SWEEP_DATABASE_URL"),
    "a wrong Ray": (["serve"], {"SWEEP_RAY_ADDRESS": "head:8265"}, "SWEEP_RAY_ADDRESS"),
    "a home that is a file": (["token", "list", "--home", "/dev/null"], {}, "--home /dev/null: cannot be written"),
    "a wrong role": (["token", "create", "--owner", "ada", "--role", "admn"], {}, "did you mean 'admin'"),
    "an unknown token": (["token", "revoke", "0123456789ab"], {}, "unknown"),
    "an unknown owner": (["quota", "ada", "--trials", "3"], {}, "owner 'ada' is unknown"),
}


PATIENT = ("nobody there",)  # the client tries again for some seconds


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case in PATIENT else []) for case in BAD]
)
def test_a_wrong_wish_is_one_line_and_exit_code_2(desk: Desk, case: str) -> None:
    arguments, env, said = BAD[case]
    done = desk.run(*arguments, **env)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sweep: ") and said in last
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_tokens_open_the_service_by_environment_and_by_file(served: Desk) -> None:
    made = served.run("token", "create", "--owner", "ada", "--role", "admin", "--days", "1")
    token = made.stdout.strip()
    closed = served.run("list", "--server", served.server)
    assert closed.returncode == 2 and "set SWEEP_TOKEN" in closed.stderr
    assert served.run("list", "--server", served.server, SWEEP_TOKEN=token).returncode == 0
    (served.folder / "config.yaml").write_text(f"server: {served.server}\ntoken: {token}\n")
    assert "hand one in" in served.run("list").stdout
    listed = served.run("token", "list").stdout
    assert "ada" in listed and token not in listed and token.split("_")[2] not in listed
    assert "0 trials (of 10)" in served.run("quota", "ada", "--trials", "10").stdout
    id_ = token.split("_")[1]
    assert served.run("token", "revoke", id_).returncode == 0
    (served.folder / "config.yaml").unlink()
    assert served.run("list", "--server", served.server, SWEEP_TOKEN=token).returncode == 2
    log = (served.folder / "serve.log").read_text()
    assert token.split("_")[2] not in log
    again = served.run("token", "create", "--owner", "ada", "--role", "admin", "--days", "1")
    served.env["SWEEP_TOKEN"] = again.stdout.strip()  # for who stops what runs: the door stays shut to all others
