"""MLflow's own server on the records of a home, for `sweep ui`."""

import sys

from espalier.core.errors import BadInput
from espalier.sweeps.address import mlflow_page, open_port
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.tracking_uri import STORE_FILE, default_uri, sweep_tracking_uri
from espalier.sweeps.search.store import SweepStore


def home_of_records(home: str | None) -> Home:
    """Return a home with records, or one in which MLflow can create a store. Raises BadInput for any other."""
    place = Home.at(home, reading=True)
    if not (place.path / STORE_FILE).is_file():  # MLflow creates one
        place = Home.at(home)
    check_reachable(default_uri(place.path), reading=True)
    return place


def check_port(host: str, port: int) -> None:
    """Raise BadInput for a port that is in use, or that needs other permissions."""
    try:
        open_port(host, port).close()
    except OSError as error:
        raise BadInput(
            f"--port {port}: {host}:{port} cannot be used ({error.strerror}); give another --port"
        ) from error


def server_command(home: Home, host: str, port: int) -> list[str]:
    """Return the command that serves MLflow's page on the records of a home."""
    options = {
        "--backend-store-uri": default_uri(home.path),
        "--workers": "1",
        "--default-artifact-root": (home.path / "mlartifacts").as_uri(),
        "--host": host,
        "--port": str(port),
    }
    return [sys.executable, "-m", "mlflow", "server", *(word for option in options.items() for word in option)]


def latest_page(home: Home, server: str) -> str:
    """Return the address of MLflow's page on the run of the latest sweep of a home; else that of its experiments."""
    store = SweepStore.open_for_reading(home.storage)
    for sweep in reversed(store.ids()):
        record = store.load(sweep)
        if (parent := record.parent) and not sweep_tracking_uri(record, home).startswith("http"):
            return mlflow_page(server, *parent.ids)
    return mlflow_page(server)
