"""The servers of a deployment, as processes of this machine, and sweeps that use them."""

import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import yaml

from espalier.core.errors import BadInput
from espalier.services.database import external
from espalier.services.local_stack import LocalStack, Postgres, down, environment, postgres, up
from espalier.services.local_stack.process import Daemon, StateFolder, listens
from espalier.sweeps.browse.home_sweep import read_sweep
from espalier.sweeps.home import Home
from espalier.sweeps.repeat import champion
from espalier.sweeps.search import database
from tests.hostile.endings import check_the_end
from tests.hostile.harness import REPOSITORY, Sweep
from tests.services.running import SECRET_FILES, command_lines, files_with_secrets
from tests.sweeps.made import read_best


def secrets_of(stack: LocalStack) -> list[str]:
    """Return every secret of the stack."""
    return list(json.loads((stack.state.path / "secrets.json").read_text()).values())


# --- a whole sweep ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_servers_keep_a_sweep_whole_show_no_secret_and_give_the_champion_back(
    make_real_sweep: Callable[..., Sweep], stack: LocalStack
) -> None:
    """Two cohorts at once; Optuna in PostgreSQL, records in MLflow behind a login, artifacts in a bucket."""
    sweep = make_real_sweep()
    driver = sweep.run()
    driver.wait_until(lambda: sweep.lines("report"), "it reported")
    seen = command_lines()
    assert "mlflow" in seen
    assert not [secret for secret in secrets_of(stack) if secret in seen]
    best = driver.document()["best"]
    check_the_end(sweep)
    assert not (sweep.home / "mlflow.db").exists()
    assert not (sweep.home / "optuna.journal").exists()

    listed = stack.s3.client().list_objects_v2(Bucket="artifacts")["Contents"]
    assert sum(item["Key"].endswith("/trial.json") for item in listed) == sweep.spec.trials

    kept = read_sweep(Home(sweep.home), sweep.id)
    shown = json.dumps(kept.document()) + "".join(kept.lines(10))
    assert f"postgresql+psycopg://espalier:***@127.0.0.1:{stack.postgres.port}/optuna" in shown
    assert not [secret for secret in secrets_of(stack) if secret in shown]

    check_the_champion(sweep, best["trial"])
    assert files_with_secrets(stack.state.path, secrets_of(stack)) == []
    assert files_with_secrets(sweep.folder, secrets_of(stack)) == []


def check_the_champion(sweep: Sweep, trial: int) -> None:
    """The best trial is trained again, registered, and fetched: weights and best file."""
    home, file, folder = Home(sweep.home), sweep.folder / "best.yaml", sweep.folder / "champion"
    file.write_text(read_sweep(home, sweep.id).best_file())
    best, spec = read_best(str(file))
    uri = champion.place_for("hostile-model", best, spec, home)
    outcome = champion.rerun_and_register(file.read_text(), best, spec, "hostile-model", uri)
    assert (outcome.reproduced, outcome.version) == (True, "1")
    pulled = champion.pull("hostile-model", folder, home)
    files = pulled.files
    assert files == [folder / "best.yaml", folder / "weights.pt"]
    assert f"version 1, trial {trial} of {sweep.id}" in pulled.sentence
    assert files[0].read_text() == file.read_text()
    assert torch.load(files[1], weights_only=True)


def plainly(home: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of a home to its end."""
    return subprocess.run(
        [sys.executable, "-m", "espalier.sweeps.cli", *arguments, "--home", str(home)],
        cwd=REPOSITORY,
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
    )


def test_who_drives_is_known_wherever_the_database_is_shared(postgres_server: Postgres) -> None:
    url, sweeps = postgres_server.url("optuna"), [f"names-{number}" for number in range(8)]
    with ExitStack() as held:
        for sweep in sweeps[::2]:
            held.enter_context(database.driver_lock(url, sweep))
        assert database.driven_sweeps(url, sweeps) == set(sweeps[::2])
        assert database.driven_sweeps(postgres_server.url("mlflow"), sweeps) == set()
    assert database.driven_sweeps(url, sweeps) == set()


@pytest.mark.slow
@pytest.mark.hostile
def test_a_killed_driver_is_resumed_over_real_servers_and_has_the_sweep_for_itself(
    make_real_sweep: Callable[..., Sweep], stack: LocalStack
) -> None:
    sweep = make_real_sweep(trials=12, budget={"steps": 3000, "batch_size": 16, "reports": 10})
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    elsewhere = plainly(sweep.folder / "elsewhere", "resume", sweep.id)
    assert elsewhere.returncode == 2
    assert f"sweep {sweep.id} is being driven by another process" in elsewhere.stderr
    assert f"{sweep.id}: running" in plainly(sweep.folder / "elsewhere", "show", sweep.id).stdout
    driver.kill()
    sweep.resume().document()
    check_the_end(sweep)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_wrong_password_of_the_database_is_one_line(postgres_server: Postgres, tmp_path: Path) -> None:
    wrong = postgres_server.url("optuna").replace(postgres_server.state.secret("postgres"), "wr%40ng/word")
    refused = plainly(tmp_path / "home", "list", SWEEP_STORAGE_URL=wrong)
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 2
    assert line.startswith("sweep: SWEEP_STORAGE_URL: postgresql+psycopg://espalier:***@127.0.0.1")
    assert "password authentication failed" in line
    assert "ng/word" not in line


@pytest.mark.slow
@pytest.mark.parametrize("password", ["wrong-password", ""])
def test_a_wrong_password_of_mlflow_is_one_line(
    make_real_sweep: Callable[..., Sweep], stack: LocalStack, password: str
) -> None:
    sweep = make_real_sweep()
    refused = plainly(sweep.home, "run", str(sweep.spec_file), MLFLOW_TRACKING_PASSWORD=password)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("sweep: ")]
    assert f"MLFLOW_TRACKING_URI: {stack.mlflow.address} refuses" in line
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    assert "Traceback" not in refused.stderr


def test_a_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    refused = plainly(tmp_path / "home", "list", SWEEP_STORAGE_URL="postgresql://me:hidden@127.0.0.1:1/optuna")
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 2
    assert line.startswith("sweep: SWEEP_STORAGE_URL: postgresql://me:***@127.0.0.1:1/optuna cannot be used:")


@pytest.mark.slow
def test_what_a_mlflow_without_a_login_shows_is_its_health(stack: LocalStack) -> None:
    assert urllib.request.urlopen(f"{stack.mlflow.address}/health").status == 200
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(f"{stack.mlflow.address}/api/2.0/mlflow/experiments/search?max_results=1")
    refused.value.close()


@pytest.mark.slow
def test_mlflow_refuses_a_host_that_it_was_not_told_of(stack: LocalStack) -> None:
    asked = urllib.request.Request(f"{stack.mlflow.address}/", headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(asked)
    refused.value.close()


# --- the folder of the stack ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_secrets_lie_in_files_that_nobody_else_can_read(stack: LocalStack) -> None:
    stack.ray.env()
    for name in SECRET_FILES:
        assert stat.S_IMODE((stack.state.path / name).stat().st_mode) == 0o600


def test_ports_and_secrets_are_chosen_once(tmp_path: Path) -> None:
    first, second = StateFolder.at(tmp_path), StateFolder.at(tmp_path)
    assert first.port("a") == second.port("a")
    assert first.secret("a") == second.secret("a") != first.secret("b")


def test_the_environment_names_every_service(tmp_path: Path) -> None:
    assert set(environment(tmp_path)) == {
        "SWEEP_STORAGE_URL",
        "SWEEP_DATABASE_URL",
        "SWEEP_RAY_ADDRESS",
        "SWEEP_HOME",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "RAY_ADDRESS",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN_PATH",
    }


def test_without_postgresql_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "Path", lambda path: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="PostgreSQL is not installed; apt-get install postgresql"):
        postgres.programs()


def test_a_process_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon(StateFolder.at(tmp_path), "brief")
    with pytest.raises(BadInput, match=r"brief ended at once; .*brief\.log ends with: no luck"):
        daemon.start([sys.executable, "-c", "raise SystemExit('no luck')"], {}, lambda: False)
    daemon.stop()


def test_a_process_is_stopped_by_another_one_and_gets_no_strangers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_TOKEN", "secret")
    state, note = StateFolder.at(tmp_path), tmp_path / "environment"
    code = f"import json, os, time; open({str(note)!r}, 'w').write(json.dumps(dict(os.environ))); time.sleep(600)"
    first = Daemon(state, "sleeper")
    first.start([sys.executable, "-c", code], {"OWN": "1"}, lambda: note.exists() and bool(note.read_text()))
    environment = json.loads(note.read_text())
    assert environment["OWN"] == "1"
    assert "SOMEBODYS_TOKEN" not in environment
    process = first.process
    assert process is not None
    stop = f"from espalier.services.local_stack.process import Daemon, StateFolder; from pathlib import Path; Daemon(StateFolder(Path({str(tmp_path)!r})), 'sleeper').stop()"  # noqa: E501
    subprocess.run([sys.executable, "-c", stop], cwd=REPOSITORY, check=True)
    assert not process.alive
    first.stop()


# --- tables -----------------------------------------------------------------------------------------------------------

UPGRADE = """
import sys
from espalier.services.database import external
external.upgrade_optuna(sys.argv[1])
external.upgrade_mlflow(sys.argv[2])
"""


@pytest.mark.slow
def test_three_processes_make_the_tables_of_new_databases_at_once(stack: LocalStack) -> None:
    import psycopg

    with psycopg.connect(stack.postgres.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        for name in ("new_optuna", "new_mlflow"):
            connection.execute(f"CREATE DATABASE {name}".encode())
    urls = [stack.postgres.url(name) for name in ("new_optuna", "new_mlflow")]
    code = [sys.executable, "-c", UPGRADE, *urls]
    processes = [subprocess.Popen(code, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said


def test_tables_that_are_there_already_are_upgraded_to_the_same(postgres_server: Postgres) -> None:
    for _ in range(2):
        external.upgrade_optuna(postgres_server.url("optuna"))


def test_an_upgrade_that_is_refused_names_no_password() -> None:
    with pytest.raises(BadInput, match=r"SWEEP_STORAGE_URL: postgresql://me:\*\*\*@127.0.0.1:1/x cannot be used"):
        external.upgrade_optuna("postgresql://me:hidden@127.0.0.1:1/x")
    with pytest.raises(BadInput, match=r"the database of MLflow: postgresql://me:\*\*\*@127.0.0.1:1/x cannot be used"):
        external.upgrade_mlflow("postgresql://me:hidden@127.0.0.1:1/x")


# --- down and up ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_the_servers_stored_is_there_when_they_come_back(
    make_real_sweep: Callable[..., Sweep], stack: LocalStack
) -> None:
    sweep = make_real_sweep()
    sweep.run().document()
    down(stack.state.path)
    assert not [port for port in (stack.postgres.port, stack.s3.port, stack.mlflow.port) if listens(port)]
    assert up(stack.state.path, workers=0) == stack.env()
    check_the_end(sweep)
    best = plainly(sweep.home, "best", sweep.id)
    assert best.returncode == 0, best.stderr
    assert yaml.safe_load(best.stdout)["sweep"] == sweep.id


# --- Ray --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.cluster
def test_a_cluster_lets_in_who_has_the_token_and_uses_a_worker_that_joins(
    make_real_sweep: Callable[..., Sweep], stack: LocalStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack.ray.start(2)
    try:
        for path in ("/api/jobs/", "/nodes"):
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                urllib.request.urlopen(stack.ray.jobs + path)
            refused.value.close()

        with monkeypatch.context() as stranger:
            stranger.delenv("RAY_AUTH_TOKEN_PATH")
            stranger.setenv("RAY_AUTH_MODE", "disabled")
            sweep = make_real_sweep()
            command = sweep.run("--address", stack.ray.address)
            assert command.wait() == 2
            assert "if it asks for a token, set RAY_AUTH_MODE=token" in command.said()

        sweep = make_real_sweep(
            trials=12,
            budget={"steps": 30000, "batch_size": 16, "reports": 10},
            resources={"cpus": 1, "gpus": 0, "cohorts": 3, "lanes": 2, "program": "vmap"},
        )
        driver = sweep.run("--address", stack.ray.address)
        driver.wait_until(lambda: len(sweep.nodes()) == 2, "two workers trained")
        stack.ray.add_worker()
        seen = command_lines()
        assert not [secret for secret in secrets_of(stack) if secret in seen]
        driver.document()
        assert len(sweep.nodes()) == 3
        check_the_end(sweep)
        assert files_with_secrets(stack.state.path, secrets_of(stack)) == []
    finally:
        stack.ray.stop()
    assert not listens(stack.state.port("ray"), "127.0.0.2")
