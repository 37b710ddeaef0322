"""The story of a trial, its complete record (trial.json): from the spool, else from its run in MLflow."""

import json
import tempfile
from collections.abc import Collection
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret, sqlite_file
from espalier.sweeps.recording.experiments import Owner, all_experiments, where
from espalier.sweeps.recording.names import STORY, TRIAL_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.records import TrialEnded
from espalier.sweeps.recording.retry import retry
from espalier.sweeps.recording.server import as_bad_input, download_file, open_client
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.store import is_filled
from espalier.sweeps.results.story import TrialStory


def spooled_stories(spool: Spool, trials: Collection[int]) -> dict[int, TrialStory]:
    """Return the stories in a spool of trials that have ended."""
    ends = (end for end in spool.records(TrialEnded) if end.trial in trials and STORY in end.texts)
    return {end.trial: json.loads(end.texts[STORY]) for end in ends}


def spooled_story(folder: Path, trial: int) -> TrialStory | None:
    """Return the story of a trial from a sweep's folder, None if it is not there."""
    if not (folder / "spool.jsonl").is_file():
        return None
    with closing(Spool(folder)) as spool:
        return spooled_stories(spool, [trial]).get(trial)


def stories_of(folder: Path, uri: str, owner: Owner, trials: Collection[int]) -> dict[int, TrialStory]:
    """Return the stories of trials that have ended, from a sweep's folder or else from MLflow."""
    if not (folder / "spool.jsonl").is_file():
        return complete_stories({}, uri, owner, trials)
    with closing(Spool(folder)) as spool:
        return complete_stories(spooled_stories(spool, trials), uri, owner, trials)


def complete_stories(
    stories: dict[int, TrialStory], uri: str, owner: Owner, trials: Collection[int]
) -> dict[int, TrialStory]:
    """Return stories, completed from MLflow. A trial that MLflow does not have either is left out."""
    complete = dict(stories)
    for trial in (t for t in trials if t not in stories):
        with suppress(BadInput):
            complete[trial] = read_trial(uri, owner.sweep, trial, owner.birth)
    return complete


def read_trial(uri: str, sweep: str, trial: int, birth: str | None = None) -> TrialStory:
    """Return the story of a trial from its run. Raises BadInput if MLflow does not have it. birth: see Owner."""
    run = find_run(uri, sweep, trial, birth)
    with tempfile.TemporaryDirectory() as folder:
        try:
            artifacts = retry(partial(open_client(uri).get_run, run)).info.artifact_uri
            file = download_file(uri, f"{artifacts}/{STORY}", folder)
            return json.loads(Path(file).read_text())
        except Exception as error:
            reason = str(error).split("\n")[0]
            raise BadInput(f"trial {trial} of {sweep} has no artifact {STORY} in {no_secret(uri)}: {reason}") from error


def find_run(uri: str, sweep: str, trial: int, birth: str | None = None) -> str:
    """Return the id of a trial's run. Raises BadInput if MLflow does not have it. birth: see Owner."""
    store = sqlite_file(uri)
    if store is not None and not is_filled(store):
        raise BadInput(f"{store} is not there; record the sweep again: sweep resume {sweep}")
    with as_bad_input(uri):
        client = open_client(uri)
        of_trial = where({TRIAL_TAG: str(trial)})
        run = retry(lambda: Owner(sweep, birth).first_run(client, all_experiments(client), of_trial))
    if run is None:
        raise BadInput(
            f"trial {trial} of {sweep} has no run in {no_secret(uri)}; record it again: sweep resume {sweep}"
        )
    return run.info.run_id


def run_states(uri: str, sweep: str) -> dict[int, list[str]]:
    """Return the states of each trial's runs; normally there is one run each. Raises BadInput."""
    check_reachable(uri)
    states: dict[int, list[str]] = {}
    with as_bad_input(uri):
        client = open_client(uri)
        for run in Owner(sweep).runs(client, all_experiments(client)):
            if TRIAL_TAG in run.data.tags:
                states.setdefault(int(run.data.tags[TRIAL_TAG]), []).append(run.info.status)
    return states
