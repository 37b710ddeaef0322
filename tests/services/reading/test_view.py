"""What the service says of a sweep, read from Optuna's storage."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from espalier.core.errors import BadInput
from espalier.services.database.tables import ACTIVE, State, Submission
from espalier.services.reading.answers import trial_view
from espalier.services.reading.trials import Sweeps, trials_of
from espalier.services.reading.view import sweep_view
from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.cli.remote import follow_remote
from espalier.sweeps.client.lines import beside_the_best, show_lines
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.origins.service_origin import ServiceSweep
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.reference_result import ReferenceResult, reference_lines
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec
from tests.services.conftest import spec

SWEEP = "quick-20260101-abcd"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a sweep of two trials, one of which has ended while MLflow knew its run, one before it did."""
    home = Home.at(str(tmp_path / "home"))
    store = SweepStore.open(home.storage)
    record = store.create(SWEEP, SweepSpec.model_validate(spec()), {"created": "2026-01-01T00:00:00Z"})
    study = record.study
    for number in (0, 1):
        trial = study.ask({"lr_exponent": FloatDistribution(-2.0, 0.0)})
        if number == 0:
            trial.set_user_attr("mlflow_run", "a" * 32)
        trial.report(2.5, 10)
        study.tell(trial, 2.5 - number)
    record.set_late_runs({1: "b" * 32})
    return home


def submission() -> Submission:
    now = time.time()
    return Submission(
        sweep=SWEEP, owner="ada", name="quick", spec=spec(), fingerprint="", state=str(State.RUNNING), reason="",
        trials=4, gpus=0.0, hours=1.0, attempt=0, created=now, changed=now, ran_s=0.0,
    )  # fmt: skip


def test_every_trial_that_is_recorded_names_its_run(home: Home) -> None:
    told = [trial_view(trial) for trial in Sweeps(home).trials(SWEEP)]
    assert [trial.mlflow_run for trial in told] == ["a" * 32, "b" * 32]
    assert [trial.step for trial in told] == [10, 10]


def test_the_page_of_a_sweep_is_that_of_its_own_run_once_there_is_one(home: Home) -> None:
    def page(mlflow_url: str) -> str | None:
        return sweep_view(submission(), Sweeps(home, mlflow_url), None).mlflow.page

    assert page("https://mlflow.example.org/") is None
    SweepStore.open(home.storage).load(SWEEP).set_parent(ParentRun("3", "c" * 32, "quick-2"))
    wanted = f"https://mlflow.example.org/#/experiments/3/runs/{'c' * 32}?workflowType=machine_learning"
    assert page("https://ada:hush@mlflow.example.org/") == wanted
    assert page(f"sqlite:///{home.path}/mlflow.db") is None  # no server, no page
    assert sweep_view(submission(), Sweeps(home), None).mlflow.experiment == "quick-2"


ADAMW = ReferenceResult("adamw", "AdamW at 0.001 with a cosine", "complete", 2.0, reports={10: 2.5, 20: 2.0})
FREE = ReferenceResult(
    "schedule-free-sgd", "schedule-free SGD at its defaults", "complete", 1.25, hint="optimizer: sgd"
)
LOST = ReferenceResult(
    "schedule-free-adamw", "schedule-free AdamW", "diverged", None, "the loss is NaN", reports={10: math.nan}
)


def test_what_an_untuned_run_gets_is_shown_from_afar_as_at_home(home: Home) -> None:
    record = SweepStore.open(home.storage).load(SWEEP)
    assert sweep_view(submission(), Sweeps(home), None).references == []
    for reference in (ADAMW, FREE, LOST):
        record.add_reference(reference)
    answer = sweep_view(submission(), Sweeps(home), None).model_dump(mode="json")
    json.dumps(answer, allow_nan=False)
    expected = list(reference_lines([ADAMW, FREE, LOST], 1.5, 1.0))
    assert expected[0] == "references: tuning gained 0.50000 over AdamW at 0.001 with a cosine (2.00000)"
    assert len(expected) == 2
    shown = list(show_lines(answer, [], 10))
    assert [line for line in shown if line.startswith("references:")] == expected
    assert list(beside_the_best(answer)) == expected
    assert [line for line in record_lines(home) if line.startswith("references:")] == expected
    adamw, free, lost = ServiceSweep(Remote("http://localhost:1"), answer).references
    assert (adamw, free) == (ADAMW, FREE)
    assert (lost.value, lost.evidence) == (None, "the loss is NaN")
    del answer["references"]
    assert list(beside_the_best(answer)) == [], "of a service of an earlier version"


def record_lines(home: Home) -> list[str]:
    """Return what `sweep show` prints at home."""
    return list(HomeOrigin(home).read(SWEEP).lines(10))


def test_a_sweep_that_is_followed_to_its_end_ends_with_its_references(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    SweepStore.open(home.storage).load(SWEEP).add_reference(FREE)
    answer = sweep_view(submission(), Sweeps(home), None).model_dump(mode="json") | {"state": "finished"}
    trials = [trial_view(trial).model_dump(mode="json") for trial in trials_of(submission(), Sweeps(home))]
    monkeypatch.setattr("espalier.sweeps.client.lines.follow", lambda *_: answer)
    monkeypatch.setattr(Remote, "spec", lambda *_: submission().spec)

    def ends_with(read: Callable[..., list[Any]]) -> list[str]:
        monkeypatch.setattr(Remote, "trials", read)
        with pytest.raises(SystemExit) as exit_:
            follow_remote(Remote("http://localhost:1"), SWEEP, wait=True, as_json=False)
        assert exit_.value.code == 0
        *lines, pull, report = capsys.readouterr().err.splitlines()
        assert pull.startswith("pull it: sweep best") and report.startswith("see it all: sweep report")
        return lines

    near = HomeOrigin(home).read(SWEEP)
    assert ends_with(lambda *_: trials) == list(
        answer_of(near.spec, near.trials, near.references, "finished").without_health
    )

    def away(*_: Any) -> list[Any]:
        raise BadInput("no service answers there")

    assert ends_with(away) == [*reference_lines([FREE], 1.5, 1.0)]  # what the service had said before


def test_no_more_than_all_of_a_sweep_has_ended_whose_number_of_trials_was_not_known(home: Home) -> None:
    open_ended = submission()
    open_ended.trials = 1
    view = sweep_view(open_ended, Sweeps(home), None)
    assert (view.trials.ended, view.progress) == (2, 1.0)


@pytest.mark.parametrize("state", State)
def test_no_trial_of_a_sweep_that_does_not_run_is_said_to_run(home: Home, state: State) -> None:
    study = SweepStore.open(home.storage).load(SWEEP).study
    study.ask({"lr_exponent": FloatDistribution(-2.0, 0.0)})
    now = submission()
    now.state, now.attempt = str(state), 1
    view = sweep_view(now, Sweeps(home), None)
    trials = [trial_view(trial).model_dump() for trial in trials_of(now, Sweeps(home))]
    word = "running" if state in ACTIVE else "interrupted"
    assert (view.trials.ended, view.trials.running + view.trials.interrupted) == (2, 1)
    assert [trial["state"] for trial in trials] == ["complete", "complete", word]
    lines = list(show_lines(view.model_dump(mode="json"), trials, 10))
    assert f"  trials   1 {word}, 2 complete, of 4" in lines
    assert sum(word in line for line in lines) >= 2


def test_a_sweep_that_another_version_wrote_is_shown_without_its_trials(home: Home) -> None:
    study = SweepStore.open(home.storage).load(SWEEP).study
    study.set_user_attr("spec", study.user_attrs["spec"] | {"replicates": 1001})
    view = sweep_view(submission(), Sweeps(home), None)
    assert (view.id, view.trials.ended, view.best) == (SWEEP, 0, None)


def test_a_sweep_is_shown_from_afar_with_verdicts_their_evidence_and_what_diverged(home: Home) -> None:
    def trial(number: int, state: str, value: float | None, verdict: str, evidence: str) -> dict[str, Any]:
        params = {"lr_exponent": -1.0 - number}
        return {"number": number, "state": state, "value": value, "params": params} | {
            "verdict": verdict,
            "evidence": evidence,
        }

    view = sweep_view(submission(), Sweeps(home), None).model_dump(mode="json")
    view["trials"] |= {"ended": 3, "complete": 2, "diverged": 1}
    trials = [
        trial(0, "diverged", None, "diverged", "the loss is NaN at step 3"),
        trial(1, "complete", 2.5, "frozen", "update ratios below 1e-4"),
        trial(2, "complete", 1.5, "healthy", ""),
    ]
    lines = list(show_lines(view, trials, 10))
    assert "  trials   2 complete, 1 diverged, of 4" in lines
    best, second, lost = (line for line in lines if line.startswith("  trial  "))
    assert best.split()[1] == "2" and best.endswith("healthy")
    assert second.split()[1] == "1" and second.endswith("frozen")
    assert "diverged" in lost and lost.split()[1] == "0"
    assert lines[-2:] == ["trial 1 frozen: update ratios below 1e-4", "trial 0 diverged: the loss is NaN at step 3"]
    assert len([line for line in show_lines(view, trials, 1) if line.startswith("  trial  ")]) == 1
