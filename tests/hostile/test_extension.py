"""SIGKILL to the driver of an extension: it goes on, and what there was before stays."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from tests.hostile.harness import Sweep
from tests.hostile.test_pieces import assert_reruns

pytestmark = pytest.mark.hostile


def known(sweep: Sweep) -> dict[int, dict[str, Any]]:
    """Return the trials, without their verdicts: these are made beside all others, and so beside new ones."""
    trials = {t.number: asdict(t) for t in sweep.trials()}
    return {n: {k: v for k, v in t.items() if k not in ("verdict", "evidence", "compared")} for n, t in trials.items()}


@pytest.mark.slow
def test_an_extension_that_is_killed_goes_on_and_the_first_trials_are_untouched(
    make_sweep: Callable[..., Sweep],
) -> None:
    space = {"lr_exponent": {"low": -2.5, "high": -0.5}, "decay_points": {"low": 0.4, "high": 0.9}}
    budget = {"steps": 4000, "batch_size": 16, "reports": 10, "trainings": 3}
    sweep = make_sweep(space=space, budget=budget, search={"sampler": "thaw", "seed": 3}, trials=100)
    sweep.run().document()
    before, links = known(sweep), sweep.links()
    extension = sweep.start("extend", sweep.id, "--trainings", "3")
    extension.wait_until(lambda: len(sweep.lines("end")) > len(before), "a further trial ended")
    extension.kill()
    assert sweep.shown()["state"] == "interrupted"

    summary = sweep.resume().document()
    after = known(sweep)
    assert {number: after[number] for number in before} == before
    assert {number: sweep.links()[number] for number in before} == links
    assert len(after) > len(before) and {t["state"] for t in after.values()} <= {"complete", "stopped"}
    assert summary["recorded"] is True
    shown = sweep.shown()
    assert shown["state"] == "finished" and len(shown["extensions"]) == 1
    children = [run for run in sweep.runs() if "espalier.trial" in run.data.tags]
    assert sorted(int(run.data.tags["espalier.trial"]) for run in children) == sorted(after)
    assert_reruns(sweep)
