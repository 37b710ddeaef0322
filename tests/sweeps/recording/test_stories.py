"""The story of a trial comes back from the spool, else from MLflow."""

import shutil
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.recording.names import STORY
from espalier.sweeps.recording.stories import read_trial
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.recording.saying import SWEEP, recorder_at, say_everything, say_start


def test_the_story_of_a_trial_reads_back(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    from_spool = recorder.stories([0, 1])
    assert recorder.close()
    assert read_trial(default_uri(home), SWEEP, 1) == from_spool[1]
    assert from_spool[0]["members"] == [{"reports": [[40, {"valid_loss": 1.5}]]}]


def test_a_story_whose_spool_is_gone_comes_from_mlflow(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    shutil.rmtree(recorder.spool.path.parent)
    again = recorder_at(home)
    assert again.stories([1])[1]["program"] == "vmap"
    assert again.close()


def test_a_trial_that_is_not_recorded_is_refused_by_name(home: Path) -> None:
    with pytest.raises(BadInput, match=f"trial 5 of {SWEEP} has no run in sqlite:///"):
        read_trial(default_uri(home), SWEEP, 5)
    recorder = recorder_at(home)
    say_start(recorder, 5)
    assert recorder.close()
    with pytest.raises(BadInput, match=f"trial 5 of {SWEEP} has no artifact {STORY}"):
        read_trial(default_uri(home), SWEEP, 5)
