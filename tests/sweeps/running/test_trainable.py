"""Which program a cohort of a sweep is given, in how many lanes; and that machine code reruns to the same numbers."""

from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.core.programs.choose import NATIVE_FROM
from espalier.core.training.events import Ended, Started
from espalier.sweeps import cohorts as plan
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.engine import make_cohort, program_for
from espalier.sweeps.identity import versions
from espalier.sweeps.repeat.rerun import rerun
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import spec_with


def trials(spec: SweepSpec, number: int) -> list[PlannedTrial]:
    return [PlannedTrial(k, plan.first_point(spec) | {"lr_exponent": -2 - k / number}) for k in range(number)]


def long(**changed: Any) -> SweepSpec:
    return spec_with(budget={"steps": NATIVE_FROM // 10, "batch_size": 11, "reports": 2}, **changed)


def test_long_work_is_machine_code_in_few_lanes() -> None:
    native = Provenance("native", "40,000 steps of trials ahead", 8, "cpu")
    assert program_for(long(), trials(long(), 20), 64, "cpu") == native
    assert program_for(long(), trials(long(), 10), 3, "cpu").lanes == 3, "no more than there are"
    assert program_for(long(resources={"lanes": 16}), trials(long(), 20), 16, "cpu").lanes == 16, "as the spec says"


def test_all_replicates_of_a_trial_train_side_by_side() -> None:
    """A rung waits for every one of them; each keeps a lane free for its first branch."""
    spec = long(replicates=12)
    branches = [PlannedTrial(k, trials(spec, 1)[0].point | {"decay_points": [0.5 + k / 10]}) for k in (0, 1)]
    provenance = program_for(spec, branches, 64, "cpu")
    assert (provenance.program, provenance.lanes) == ("native", 24)
    begun = make_cohort(spec, branches, provenance).turn()
    replicates = {f"{trial}/{replicate}" for trial in (0, 1) for replicate in range(12)}
    assert {event.trial for event in begun if isinstance(event, Started)} == replicates


def test_short_work_is_not_compiled() -> None:
    assert program_for(spec_with(), trials(spec_with(), 6), 6, "cpu").program == "vmap"


def best_of(spec: SweepSpec) -> BestFile:
    """Train two trials by machine code, as a cohort would, and return the file of the second."""
    each = trials(spec, 2)
    cohort = make_cohort(spec, each, Provenance("native", "", 2, "cpu"))
    ends = {event.trial: event for event in cohort.train() if isinstance(event, Ended)}
    end = ends["1/0"]
    return BestFile(
        sweep="warm-1",
        trial=1,
        params=each[1].point,
        result={"valid_loss": end.values["valid_loss"]},
        spec=spec.model_dump(mode="json"),
        program="native",
        device="cpu",
        made_with=versions(),
        reports=[[(step, dict(values)) for step, values in end.reports]],
    )


def test_a_trial_of_machine_code_reruns_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, whatever it trained beside; and where there is no compiler it says so instead of training otherwise."""
    spec = spec_with(resources={"program": "native"})
    best = best_of(spec)
    again = rerun(best, spec)
    assert again.reproduced and again.difference is None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BadInput, match=r"ran by the native program, which cannot be had here: .*no C compiler"):
        rerun(best, spec)
