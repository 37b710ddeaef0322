"""Record a check or a range test, which is no sweep, as a single run."""

import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.sweeps.recording.experiments import deleted_note, first_run, open_experiment, require_id
from espalier.sweeps.recording.names import FIGURES, METRICS_PER_BATCH, ONCE_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.retry import create_once, retry
from espalier.sweeps.recording.server import as_bad_input, make_metric, open_client
from espalier.sweeps.recording.store import prepare_store

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import MlflowClient, Run

logger = logging.getLogger(__name__)


def record_once(
    uri: str,
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    series: Mapping[str, Sequence[tuple[int, float]]],
    texts: Mapping[str, str],
    files: Sequence[Path],
) -> str:
    """Record a single run at once; return its id.

    series: points (step, value) by metric; NaN and infinity are left out.
    Raises BadInput if the server refuses it or does not answer.
    """
    check_reachable(uri)
    with as_bad_input(uri):
        _warn(prepare_store(uri))
        client = open_client(uri)
        run = _create_run(client, uri, experiment, name, tags).info.run_id
        now = int(time.time() * 1000)
        points = [
            make_metric(metric, value, now, step)
            for metric, values in series.items()
            for step, value in values
            if math.isfinite(value)
        ]
        for start in range(0, len(points), METRICS_PER_BATCH):
            retry(partial(client.log_batch, run, points[start : start + METRICS_PER_BATCH]))
        for file, text in texts.items():
            retry(partial(client.log_text, run, text, file))
        for path in files:
            retry(partial(client.log_artifact, run, str(path), FIGURES))
        retry(partial(client.set_terminated, run))
        return run


def _create_run(client: "MlflowClient", uri: str, experiment: str, name: str, tags: Mapping[str, object]) -> "Run":
    """Create a run in an experiment. By a random tag it is found if the answer was lost."""
    ref = open_experiment(client, experiment, uri)
    _warn(deleted_note(experiment, ref))
    texts = {ONCE_TAG: uuid.uuid4().hex, **{tag: str(value) for tag, value in tags.items()}}
    identity = f"tags.`{ONCE_TAG}` = '{texts[ONCE_TAG]}'"
    return create_once(
        lambda: require_id(client.create_run(ref.id, tags=texts, run_name=name)),
        lambda: first_run(client, [ref.id], identity),
    )


def _warn(sentence: str | None) -> None:
    if sentence:
        logger.warning(sentence)
