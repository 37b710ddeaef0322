"""Start, check and stop the whole service on one machine: PostgreSQL, S3, MLflow, a Ray cluster and the API."""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from espalier.core.errors import BadInput, counted
from espalier.services import local_stack as stack
from espalier.services import tokens
from espalier.services.database import external, schema
from espalier.services.database.store import Store
from espalier.services.local_stack.process import LOOPBACK, Daemon, StateFolder, python, write_secret
from espalier.sweeps.client.answers import SweepAnswer
from espalier.sweeps.results.formatting import decimals

ADMIN_DAYS = 365.0
API = "api"


def state_folder(folder: str | None) -> Path:
    """Return the folder of a local service (default: $SWEEP_LOCAL or ./espalier-local)."""
    return Path(folder or os.environ.get("SWEEP_LOCAL") or "espalier-local").expanduser().absolute()


def up(folder: Path, workers: int = 2) -> dict[str, str]:
    """Start everything that does not run yet; return addresses and logins. Raises BadInput if a server cannot start."""
    env = stack.up(folder, workers)
    external.upgrade_optuna(env["SWEEP_STORAGE_URL"])
    store = Store(env["SWEEP_DATABASE_URL"])
    state = StateFolder.at(folder)
    try:
        schema.upgrade(store)
        token = _token(state, store)
    finally:
        store.engine.dispose()
    port = state.port(API)
    # the driver of a sweep runs beside Ray's head, so that the workers' cores are for training
    environment = env | {"SWEEP_RAY_JOB_CPUS": "0", "OMP_NUM_THREADS": "1"}
    command = [*python("espalier.services.cli", "serve"), "--host", LOOPBACK, "--port", str(port)]
    Daemon(state, API).start(command, environment, lambda: _answers(f"http://{LOOPBACK}:{port}/readyz"))
    return {
        "server": f"http://{LOOPBACK}:{port}",
        "token": token,
        "mlflow": env["MLFLOW_TRACKING_URI"],
        "mlflow_user": env["MLFLOW_TRACKING_USERNAME"],
        "mlflow_password": env["MLFLOW_TRACKING_PASSWORD"],
        "ray": env["SWEEP_RAY_ADDRESS"],
        "home": env["SWEEP_HOME"],
    }


def _token(state: StateFolder, store: Store) -> str:
    """Return the admin's stored token, or a new one if that is no longer valid."""
    file = state.path / "token"
    now = time.time()
    with store.session() as session:
        known = file.read_text().strip() if file.exists() else ""
        if known and tokens.find(session, known, now):
            return known
        token = tokens.create(session, "admin", "admin", now, ADMIN_DAYS)
    write_secret(file, token)
    return token


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return page.status == 200
    except OSError:
        return False


def down(folder: Path) -> None:
    """Stop everything. The data stay; a later `up` uses them again."""
    Daemon(StateFolder.at(folder), API).stop()
    stack.down(folder)


def check(folder: Path, spec: str, assignments: list[str]) -> Iterator[str]:
    """Submit a sweep, follow it and check its results everywhere; yield a line for each check. Raises BadInput."""
    service = up(folder)
    env = os.environ | {"SWEEP_SERVER": service["server"], "SWEEP_TOKEN": service["token"]}
    begin = time.monotonic()
    view: SweepAnswer = json.loads(_sweep(["submit", spec, "--json", *assignments], env))
    if view["state"] != "finished" or view["trials"]["ended"] != view["trials"]["wanted"]:
        raise BadInput(f"{view['id']} ended as {view['state']} with {view['trials']}")
    yield f"{view['id']}: {view['trials']['wanted']} trials in {time.monotonic() - begin:.0f} s"
    best = folder / f"best-{secrets.token_hex(4)}.yaml"
    best.write_text(_sweep(["best", view["id"]], env))
    if pulled := view["best"]:
        yield f"pulled: {pulled['metric']} {decimals(pulled['value'])} (trial {pulled['trial']})"
    yield from _check_runs(stack.environment(folder), view)
    yield _sweep(["rerun", str(best)], env).strip()
    best.unlink()


def _sweep(arguments: list[str], env: dict[str, str]) -> str:
    done = subprocess.run([*python("espalier.services.cli", *arguments)], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BadInput(f"sweep {' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def _check_runs(env: dict[str, str], view: SweepAnswer) -> Iterator[str]:
    """Check that MLflow has one run of each trial, confirmation and reference, and none still RUNNING."""
    from espalier.sweeps.recording.stories import run_states

    os.environ.update({name: env[name] for name in env if name.startswith("MLFLOW_")})
    states = run_states(env["MLFLOW_TRACKING_URI"], view["id"])
    wanted = view["trials"]["wanted"]
    missing, twice = {*range(wanted)} - states.keys(), [n for n, of_trial in states.items() if len(of_trial) != 1]
    if missing or twice:
        raise BadInput(f"MLflow lacks {len(missing)} of {wanted} trials, and has {len(twice)} more than once")
    running = [trial for trial, of_trial in states.items() if of_trial == ["RUNNING"]]
    if running:
        raise BadInput(f"MLflow still has {counted(len(running), 'trial')} RUNNING: {running[:5]}")
    others = f" and {len(states) - wanted} of confirmations and references" if len(states) > wanted else ""
    yield f"MLflow: {counted(wanted, 'run')}{others}, each once, none RUNNING"


def main() -> None:
    """Run the command behind `make up`, `make down` and `make e2e`."""
    command, *arguments = sys.argv[1:] or ["up"]
    folder = state_folder(None)
    try:
        if command == "up":
            service = up(folder)
            for name, value in service.items():
                print(f"{name:<16} {value}")
            print(f"{'try':<16} SWEEP_TOKEN=$(cat {folder / 'token'}) sweep list --server {service['server']}")
        elif command == "down":
            down(folder)
        else:
            spec = arguments[0] if arguments else "sweeps/library/names.yaml"
            for line in check(folder, spec, arguments[1:]):
                print(line, flush=True)
    except BadInput as error:
        print(f"{command}: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
