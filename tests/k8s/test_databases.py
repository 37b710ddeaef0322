"""The script that makes the roles and databases, run on a real PostgreSQL."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.k8s.pods import ROOT, Object, Pod, pods

PASSWORDS = {"SERVICE_PASSWORD": "0a", "SEARCH_PASSWORD": "0b", "MLFLOW_DB_PASSWORD": "0c"}
OWNERS = {"service": "service", "search": "search", "mlflow": "mlflow", "mlflow_auth": "mlflow"}


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment of a client of a fresh server; the server asks everyone for a password."""
    programs = [shutil.which(name) for name in ("initdb", "pg_ctl", "psql")]
    if not all(programs):
        pytest.skip("needs PostgreSQL: initdb, pg_ctl and psql on the path")
    initdb, pg_ctl, _ = map(str, programs)
    drop = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it does not run as root
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="espalier-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        place.chmod(0o777)
        (place / "password").write_text("0f")
        (place / "password").chmod(0o644)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

        def run(*command: str) -> None:
            subprocess.run([*drop, *command], check=True, capture_output=True, cwd=folder, timeout=60)

        try:
            run(initdb, "-D", f"{folder}/data", "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={folder}/password")
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"PostgreSQL cannot be started here: {error}")
        run(pg_ctl, "-D", f"{folder}/data", "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield {**os.environ, **PASSWORDS, "PGHOST": "127.0.0.1", "PGPORT": port, "PGPASSWORD": "0f"}
        finally:
            run(pg_ctl, "-D", f"{folder}/data", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def asked(server: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that asks as a role, after the script has run twice."""
    for _ in range(2):
        script = ["bash", ROOT / "k8s/base/postgres/databases.sh"]
        said = subprocess.run(script, env=server, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr

    def ask(role: str, password: str, database: str, query: str) -> subprocess.CompletedProcess[str]:
        command = ["psql", "--no-psqlrc", "-At", "-U", role, "-d", database, "-c", query]
        env = {**server, "PGPASSWORD": password}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    return ask


PASSWORD_OF = {"service": "0a", "search": "0b", "mlflow": "0c"}


@pytest.mark.parametrize("database", OWNERS)
def test_each_role_keeps_its_own_tables(asked: Callable[..., subprocess.CompletedProcess[str]], database: str):
    role = OWNERS[database]
    said = asked(role, PASSWORD_OF[role], database, "CREATE TABLE mine (it int); DROP TABLE mine; SELECT current_user")
    assert said.stdout.splitlines()[-1] == role, said.stderr


@pytest.mark.parametrize("database", OWNERS)
def test_no_role_opens_the_database_of_another(asked: Callable[..., subprocess.CompletedProcess[str]], database: str):
    for role in set(OWNERS.values()) - {OWNERS[database]}:
        said = asked(role, PASSWORD_OF[role], database, "SELECT 1")
        assert said.returncode != 0 and "permission denied" in said.stderr


def script_of(pod: Pod, backups: Path) -> str:
    """Return what the pod's only container runs, on another folder of backups."""
    (container,) = pod.spec["containers"]
    (script,) = container["args"]
    return script.replace("/backups", str(backups))


def test_what_the_backup_wrote_the_restore_brings_back(
    build: Callable[[str], Sequence[Object]],
    server: dict[str, str],
    asked: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
):
    (backup,) = [pod for pod in pods(build("laptop")) if pod.name == "backup"]
    (restore,) = pods(build("restore"))
    env = {**server, "PGUSER": "postgres"}
    asked("service", "0a", "service", "CREATE TABLE kept (it int); INSERT INTO kept VALUES (7)")
    (tmp_path / "2020-01-01T000000Z").mkdir()
    os.utime(tmp_path / "2020-01-01T000000Z", (0, 0))
    for _ in range(2):  # the second replaces nothing of the first
        command = ["bash", "-euo", "pipefail", "-c", script_of(backup, tmp_path)]
        said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        if len(list(tmp_path.iterdir())) == 1:
            time.sleep(1.1)  # folders are named by their second
    assert not (tmp_path / "2020-01-01T000000Z").exists()  # older than two weeks
    asked("service", "0a", "service", "UPDATE kept SET it = 8; CREATE TABLE later (it int)")
    command = ["bash", "-euo", "pipefail", "-c", script_of(restore, tmp_path)]
    said = subprocess.run(command, env={**env, "RESTORE_FROM": ""}, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert asked("service", "0a", "service", "SELECT it FROM kept").stdout == "7\n"


def test_a_wrong_password_opens_nothing(asked: Callable[..., subprocess.CompletedProcess[str]]):
    assert "password authentication failed" in asked("service", "0f", "service", "SELECT 1").stderr
