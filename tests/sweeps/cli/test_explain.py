"""sweep explain: of a real sweep at home, as text and as JSON; what it says is what show, run and MLflow say."""

import json
from pathlib import Path

import pytest

from espalier.sweeps.cli.app import main
from espalier.sweeps.recording.names import DESCRIPTION_TAG
from tests.sweeps.cli.refusals import Sweep, complaint
from tests.sweeps.cli.stored import runs_of
from tests.sweeps.conftest import SmallSweep

pytestmark = pytest.mark.usefixtures("no_ray")


def explained(sweep: Sweep, small: SmallSweep, *more: str) -> str:
    done = sweep("explain", small.id, "--home", str(small.home), *more)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_sweep_is_explained_from_its_home(sweep: Sweep, small_sweep: SmallSweep) -> None:
    text = explained(sweep, small_sweep)
    titles = ("the answer", "why this is the best", "why each was trained", "what was unhealthy", "what to try next")
    places = [text.index(f"\n{title}\n  ") for title in titles]
    assert places == sorted(places)
    assert "3 diverged" in text and "trials diverge from " in text
    assert "--set confirm=3" in text


def test_its_json_has_what_its_text_has(sweep: Sweep, small_sweep: SmallSweep) -> None:
    document = json.loads(explained(sweep, small_sweep, "--json"))
    text = explained(sweep, small_sweep)
    assert document["sweep"] == small_sweep.id
    for line in (*document["answer"]["sentences"], *document["why_best"], *document["unhealthy"], document["how"]):
        assert f"\n  {line}\n" in text
    assert all(step["why"] in text for step in document["next"])


def test_one_answer_stands_in_show_in_mlflow_and_at_the_end_of_the_run(sweep: Sweep, small_sweep: SmallSweep) -> None:
    sentence = json.loads(explained(sweep, small_sweep, "--json"))["answer"]["sentence"]
    assert f"\n{sentence}\n" in sweep("show", small_sweep.id, "--home", str(small_sweep.home)).stdout
    parent, _ = runs_of(small_sweep)
    first, link, rest, *_ = parent.data.tags[DESCRIPTION_TAG].split("\n\n")
    assert first == f"**Best: {sentence}**" and link.startswith("[All trials, the best first](")
    assert rest.startswith("- ")


def test_a_sweep_that_has_no_trial_yet_is_explained(sweep: Sweep, tmp_path: Path) -> None:
    from espalier.sweeps.search.store import SweepStore
    from tests.sweeps.made import spec_with

    store = SweepStore.open(str(tmp_path / "home" / "optuna.journal"))
    store.create("left-1", spec_with(), {"created": "2026-01-01T00:00:00Z"})
    text = sweep("explain", "left-1").stdout
    assert text.startswith("left-1: interrupted; no trial yet") and "no trial has ended yet" in text
    json.loads(sweep("explain", "left-1", "--json").stdout, parse_constant=pytest.fail)


def test_an_unknown_sweep_is_refused(sweep: Sweep) -> None:
    assert "nothing" in complaint(sweep("explain", "nothing"))


def test_it_stands_with_the_commands_that_look() -> None:
    assert "explain" in main.sections["Look"]  # pyright: ignore[reportAttributeAccessIssue]
