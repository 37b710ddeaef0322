"""What the service answers, and what its client takes it for."""

from typing import Any

import pytest
from pydantic import BaseModel

from espalier.services.http.report_routes import TraceOfTrial, Traces, WorkDone
from espalier.services.http.routes import Submitted
from espalier.services.reading.answers import (
    Best,
    MLflowPlace,
    NoiseOfSeed,
    ReferenceRow,
    Sweep,
    TiesWithBest,
    Trial,
    TrialCounts,
)
from espalier.services.reading.best import as_submitted
from espalier.sweeps.client import answers

ANSWERS = [
    (Sweep, answers.SweepAnswer),
    (TrialCounts, answers.CountsAnswer),
    (Best, answers.BestAnswer),
    (MLflowPlace, answers.MLflowAnswer),
    (NoiseOfSeed, answers.NoiseAnswer),
    (TiesWithBest, answers.TiesAnswer),
    (ReferenceRow, answers.ReferenceAnswer),
    (Trial, answers.TrialAnswer),
    (Submitted, answers.SubmittedAnswer),
    (Traces, answers.TracesAnswer),
    (TraceOfTrial, answers.TraceAnswer),
    (WorkDone, answers.WorkAnswer),
]


@pytest.mark.parametrize(("model", "answer"), ANSWERS, ids=lambda kind: kind.__name__)
def test_the_client_has_the_fields_of_the_services_answers(model: type[BaseModel], answer: type) -> None:
    assert set(model.model_fields) == set(answer.__annotations__)


def test_a_best_file_names_code_as_it_was_handed_in() -> None:
    """Wherever a spec may name it; in a trial: a schedule that was searched, the program that it trained by."""
    submitted: dict[str, Any] = {
        "task": "top.py:Line",
        "task_options": {"path": "words.txt"},
        "watchers": ["top.py:Norm"],
        "optimizer": "kinds.py:Lion",
        "stopping": {"score": "kinds.py:Trend"},
        "resources": {"program": "kinds.py:Program"},
        "space": {"schedule": ["step", "kinds.py:Saw"], "hidden": [1, 2]},
    }
    stored = {
        **submitted,
        "task": "/jobs/code/top.py:Line",
        "task_options": {"path": "/jobs/code/words.txt"},
        "watchers": ["/jobs/code/top.py:Norm"],
        "optimizer": {"kind": "/jobs/code/kinds.py:Lion"},
        "stopping": {"score": "/jobs/code/kinds.py:Trend", "rungs": [0.5]},
        "resources": {"program": "/jobs/code/kinds.py:Program"},
        "space": {"schedule": {"choices": ["step", "/jobs/code/kinds.py:Saw"]}, "hidden": [1, 2]},
    }
    params = {"schedule": "/jobs/code/kinds.py:Saw", "hidden": 2, "decay_points": [0.5]}
    best = as_submitted({"spec": stored, "params": params, "program": "/jobs/code/kinds.py:Program"}, submitted)
    assert "/jobs/code" not in str(best)
    assert best["params"] == {"schedule": "kinds.py:Saw", "hidden": 2, "decay_points": [0.5]}
    assert best["program"] == "kinds.py:Program" and best["spec"]["optimizer"] == {"kind": "kinds.py:Lion"}
