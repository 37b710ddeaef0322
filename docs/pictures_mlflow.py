"""Makes the pictures of MLflow's pages in docs/pictures: a sweep's run, the table of its trials, its report, a trial.

`python -m docs.pictures_mlflow HOME`, from the folder of the repository; `make pictures` does it. Needs Chromium.
HOME: with a sweep that has been recorded in it.
"""

import io
import sys
import time
from pathlib import Path

from mlflow.tracking import MlflowClient
from PIL import Image

from espalier.sweeps.address import artifact_page, mlflow_page, trials_page
from espalier.sweeps.recording.names import BEST_TAG, REPORT, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.ports import free_port
from tests.sweeps.recording.browsed import Page, mlflow_browser
from tests.sweeps.recording.saying import mlflow_server

PICTURES = Path(__file__).resolve().parent / "pictures"
SIZE = 1360, 800  # pixels
DRAWING_S = 3.0  # after the last answer: charts, and the report in its frame
WITHOUT_PATH = """for (const part of document.querySelectorAll("*"))
    if (part.textContent.startsWith("Path:") && part.textContent.length < 300) part.style.visibility = "hidden";"""
"""Hides the path of an artifact, which is one of this machine."""
COLOURS = 96  # of a picture: enough for a page of text, and a third of the bytes


def addresses(home: Path, server: str) -> dict[str, str]:
    """Return the address of each page on the latest sweep of a home, by the name of its picture."""
    client = MlflowClient(default_uri(home))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (parent, *_) = client.search_runs(experiments, f"tags.`{BEST_TAG}` != ''")
    experiment, sweep = parent.info.experiment_id, parent.data.tags[SWEEP_TAG]
    trial = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{TRIAL_TAG}` = '{parent.data.tags[BEST_TAG]}'"
    (best,) = client.search_runs([experiment], trial)
    charts = mlflow_page(server, experiment, best.info.run_id).replace("?", "/model-metrics?")
    return {
        "mlflow": mlflow_page(server, experiment, parent.info.run_id),
        "mlflow-trials": trials_page(server, experiment, sweep),
        "mlflow-report": artifact_page(server, experiment, parent.info.run_id, REPORT),
        "mlflow-trial": charts,
    }


def draw(page: Page, address: str, file: Path) -> None:
    """Draw a page of MLflow as somebody sees it who has closed its assistant."""
    page.open(address)
    page.close_assistant()
    time.sleep(DRAWING_S)
    page.tab.run(WITHOUT_PATH)
    with Image.open(io.BytesIO(page.tab.picture())) as picture:
        picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)


def main(home: Path) -> None:
    """Make the pictures of a home's latest sweep."""
    port = free_port()
    with mlflow_server(home, port), mlflow_browser(*SIZE) as page:
        for name, address in addresses(home, f"http://127.0.0.1:{port}").items():
            draw(page, address, PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
