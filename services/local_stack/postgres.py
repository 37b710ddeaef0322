"""PostgreSQL from Debian's package: a server on loopback with a password, and its databases."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.services.local_stack.process import LOOPBACK, StateFolder, write_secret

USER = "espalier"
DATABASES = ("optuna", "mlflow", "mlflow_auth", "espalier")
MISSING = "PostgreSQL is not installed; apt-get install postgresql"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, of the newest version installed. Raises BadInput if there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    own = shutil.which("initdb")
    folders = [folder for folder in [*debian, *([Path(own).parent] if own else [])] if (folder / "initdb").exists()]
    if not folders:
        raise BadInput(MISSING)
    return folders[0]


@dataclass(frozen=True)
class Postgres:
    """A server with its data in `postgres/`. As root it runs as the user postgres, as it must."""

    state: StateFolder

    @property
    def data(self) -> Path:
        return self.state.path / "postgres"

    @property
    def port(self) -> int:
        return self.state.port("postgres")

    def url(self, database: str) -> str:
        """Return a database's URL, including the password."""
        password = self.state.secret("postgres")
        return f"postgresql+psycopg://{USER}:{password}@{LOOPBACK}:{self.port}/{database}"

    def env(self) -> dict[str, str]:
        """Return the environment variables with its databases' URLs."""
        return {"SWEEP_STORAGE_URL": self.url("optuna"), "SWEEP_DATABASE_URL": self.url("espalier")}

    def start(self) -> None:
        """Start it; create its databases. Raises BadInput if it is not installed or cannot enter the folder."""
        if self.running:
            return
        if not (self.data / "PG_VERSION").exists():
            self._make()
        self._control("start", "-w", "-l", str(self.data / "server.log"), "-o", f"-p {self.port}")
        self._make_databases()

    def stop(self) -> None:
        """Stop it. Does nothing if it does not run."""
        if self.running:
            self._control("stop", "-w", "-m", "fast")

    @property
    def running(self) -> bool:
        """Whether the server of this folder runs."""
        return (self.data / "postmaster.pid").exists() and self._run("pg_ctl", "status", "-D", str(self.data)) == ""

    def _make(self) -> None:
        """Create the database cluster, with one user."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        password = self.state.path / "postgres.password"
        write_secret(password, self.state.secret("postgres"))
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self.data, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        try:
            self._checked(
                "initdb", "-D", str(self.data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}",
                "-E", "UTF8", "--locale=C", "--no-instructions",
            )  # fmt: skip
        finally:
            password.unlink()
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write(f"\nlisten_addresses = '{LOOPBACK}'\nunix_socket_directories = ''\ntimezone = 'UTC'\n")

    def _make_databases(self) -> None:
        import psycopg

        whole = self.url("postgres").replace("+psycopg", "")
        with psycopg.connect(whole, autocommit=True) as connection:
            known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in known:
                    connection.execute(f"CREATE DATABASE {name}".encode())

    def _control(self, action: str, *options: str) -> None:
        self._checked("pg_ctl", action, "-D", str(self.data), *options)

    def _checked(self, program: str, *arguments: str) -> None:
        if error := self._run(program, *arguments):
            raise BadInput(f"{program}: {error}")

    def _run(self, program: str, *arguments: str) -> str:
        """Run a program of PostgreSQL; return the last line of its output if it fails, "" if it succeeds."""
        command = [str(programs() / program), *arguments]
        if os.getuid() == 0:
            self._check_way()
            command = ["runuser", "-u", "postgres", "--", *command]
        # the server would hold a pipe open as long as it runs
        with open(self.state.log("postgres"), "a+b") as log:
            begin = log.seek(0, os.SEEK_END)
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            log.seek(begin)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return (lines[-1] if lines else f"exit code {done.returncode}") if done.returncode else ""

    def _check_way(self) -> None:
        """Raise BadInput unless the user postgres can enter the folder."""
        test = ["runuser", "-u", "postgres", "--", "test", "-x", str(self.state.path)]
        if subprocess.run(test, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise BadInput(
                f"{self.state.path}: PostgreSQL runs as the user postgres, who cannot enter this folder; "
                "name a folder such as /var/tmp/espalier, or run chmod o+x on the folders above it"
            )
