"""A real sweep that stops trials early."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.cli.refusals import Sweep
from tests.sweeps.cli.stored import runs_of, trials_of

pytestmark = pytest.mark.usefixtures("no_ray")


def rungs_of(trial: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in trial.user_attrs.items() if name.startswith("rung.")]


@pytest.mark.slow
def test_stopped_trials_are_pruned_with_their_values_and_their_scores(halved_sweep: Any) -> None:
    trials = trials_of(halved_sweep)
    states = Counter(t.state.name for t in trials)
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert halved_sweep.document["states"] == {"complete": states["COMPLETE"], "stopped": states["PRUNED"]}
    for t in trials:
        scores = {int(name[5:]): value for name, (value, _) in rungs_of(t)}
        if t.state.name == "COMPLETE":
            assert set(scores) == {12, 30}
            continue
        found = re.fullmatch(
            r"ranked (\d+) of (\d+) by average at step (\d+) \((.*)\), the best (\d+) go on", t.user_attrs["evidence"]
        )
        assert found, t.user_attrs["evidence"]
        rank, of, step, score, kept = found.groups()
        assert int(kept) < int(rank) <= int(of)
        assert float(score) == pytest.approx(scores[int(step)], rel=1e-4)
        assert set(t.intermediate_values) == {s for s in (12, 24, 36, 48, 60) if s <= int(step)}
    for rung in (12, 30):
        first = min((t for t in trials if f"rung.{rung}" in t.user_attrs), key=lambda t: t.user_attrs[f"rung.{rung}"])
        assert f"at step {rung} " not in first.user_attrs["evidence"], "the best at a rung goes on"


@pytest.mark.slow
def test_trials_of_cohorts_that_train_at_once_are_compared_with_each_other(halved_sweep: Any) -> None:
    trials = trials_of(halved_sweep)
    histories = {(t.user_attrs["cohort"], rung, leader) for t in trials for rung, (_, leader) in rungs_of(t)}
    of_a_cohort = Counter((cohort, rung) for cohort, rung, _ in histories)
    compared = [int(words[3]) for t in trials if (words := t.user_attrs["evidence"].split())[0] == "ranked"]
    assert max(compared) > max(of_a_cohort.values())


@pytest.mark.slow
def test_branches_that_share_their_trunk_have_one_score_and_one_leader(halved_sweep: Any) -> None:
    """At a fifth of the budget no branch has parted; at half of it some have."""
    scores: dict[tuple[str, int], set[float]] = {}
    for t in trials_of(halved_sweep):
        for rung, (score, leader) in rungs_of(t):
            scores.setdefault((rung, leader), set()).add(score)
            assert leader in ([t.number - t.number % 2] if rung == "rung.12" else [t.number, t.number - t.number % 2])
    assert all(len(each) == 1 for each in scores.values())


@pytest.mark.slow
def test_the_runs_of_stopped_trials_say_why_and_what_they_were_worth(halved_sweep: Any) -> None:
    _, children = runs_of(halved_sweep)
    for t in trials_of(halved_sweep):
        run = children[t.number]
        stopped = t.state.name == "PRUNED"
        assert run.data.tags["espalier.status"] == ("stopped" if stopped else "complete")
        evidence = run.data.tags["espalier.evidence"]  # a complete one may say more: how it is beside others
        assert evidence == t.user_attrs["evidence"] or (not stopped and evidence.endswith(t.user_attrs["evidence"]))
        last = max(int(name[5:]) for name, _ in rungs_of(t))
        assert run.data.metrics["rung_valid_loss"] == t.user_attrs[f"rung.{last}"][0]


@pytest.mark.slow
def test_the_best_of_a_halved_sweep_reruns_to_the_same_number(sweep: Sweep, halved_sweep: Any) -> None:
    best = sweep("best", halved_sweep.id, "--home", str(halved_sweep.home))
    Path("best.yaml").write_text(best.stdout)
    again = sweep("rerun", "best.yaml")
    assert again.exit_code == 0, again.output
    assert "bit for bit" in again.stdout
