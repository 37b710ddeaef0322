"""Whether trials may share what they have trained: it is tried before it is relied upon.

A process that goes on from a checkpoint must come to what it would have come to without one. That is so if its code
saves and restores all that matters, and takes its rate from the configuration. So the first time that a trial goes on,
and the first time that one branches off another, two processes are compared: one goes on from the checkpoint, the other
goes through that step from an earlier one, or from the beginning. Both have the configuration of the trial.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from espalier.core.foreign.folder import Assignment

Kind = Literal["goes on", "branches"]
TOLERANCE = 0.01
"""The most by which both may differ, as a share of the range of the values so far. Bits differ on GPUs, where sums are
taken in any order; code that resumes wrongly is off by far more."""
WAYS = ("goes-on", "through")
"""The names of the two processes."""
CLAIM_S = 60.0
"""Without a sign of life for so long a worker that compares has died."""
FOLDER = ".sharing"  # among the trials' folders


@dataclass(frozen=True)
class Finding:
    """What came of a comparison. text: for the user."""

    same: bool
    text: str


def known(folder: Path, kind: Kind) -> Finding | None:
    """Return what an earlier comparison has found; None if there was none. folder: of trials' folders."""
    with suppress(OSError, ValueError, TypeError):
        return Finding(**json.loads((folder / FOLDER / f"{kind}.json").read_text(encoding="utf-8")))
    return None


def write(folder: Path, kind: Kind, finding: Finding) -> None:
    """Keep what a comparison has found, for all workers of the sweep."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    part = folder / FOLDER / f"{kind}.part"
    part.write_text(json.dumps(vars(finding)), encoding="utf-8")
    part.replace(folder / FOLDER / f"{kind}.json")


def claim(folder: Path, kind: Kind) -> bool:
    """Return whether this worker is to compare; another one that does, or has died at it a minute ago, comes first."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    mark = folder / FOLDER / f"{kind}.claim"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        with suppress(FileNotFoundError):
            if time.time() - mark.stat().st_mtime < CLAIM_S:
                return False
        mark.touch()
    return True


def hold(folder: Path, kind: Kind) -> None:
    """Say that this worker still compares."""
    (folder / FOLDER / f"{kind}.claim").touch()


def pair(assignment: Assignment, earlier: tuple[int, str] | None) -> tuple[Assignment, Assignment] | None:
    """Return what both processes are to train, up to the first report after the checkpoint; None if there is none.

    assignment: that goes on from its checkpoint. earlier: a checkpoint before that, if there is one.
    """
    due = [step for step in (*assignment.due, assignment.steps) if step > assignment.begin]
    if not due or assignment.resume is None:
        return None
    until = min(min(due), assignment.until or assignment.steps)
    goes_on = replace(assignment, until=until, kept=())
    return goes_on, replace(goes_on, resume=earlier)


def compare(
    trial: str,
    begin: int,
    before: Sequence[tuple[int, Mapping[str, float]]],
    goes_on: Sequence[tuple[int, Mapping[str, float]]],
    through: Sequence[tuple[int, Mapping[str, float]]],
) -> Finding:
    """Compare the reports of both processes, and those before the checkpoint with the ones there were then.

    >>> before = [(10, {"loss": 2.0}), (20, {"loss": 1.0})]
    >>> compare("3/0", 20, before, [(30, {"loss": 0.5})], [*before, (30, {"loss": 0.5})]).text
    'trial 3 goes on from its checkpoint at step 20 as it would without one, bit for bit'
    >>> compare("3/0", 20, before, [(30, {"loss": 0.8})], [*before, (30, {"loss": 0.5})]).same
    False
    """
    number = trial.partition("/")[0]
    expected = dict((*before, *goes_on))
    apart, where, name = 0.0, 0, ""
    for step, values in through:
        for metric, value in values.items():
            if (other := expected.get(step, {}).get(metric)) is None or other == value:
                continue
            scale = _range(metric, (*before, *goes_on, *through)) or abs(value)
            if (difference := abs(value - other) / scale) > apart:
                apart, where, name = difference, step, metric
    reached = {step for step, _ in goes_on if step > begin} & {step for step, _ in through}
    if not reached:
        return Finding(False, f"trial {number} reported nothing after it went on from its checkpoint at step {begin:,}")
    if not apart:
        text = f"trial {number} goes on from its checkpoint at step {begin:,} as it would without one, bit for bit"
        return Finding(True, text)
    values = dict(goes_on).get(where) or dict(before).get(where) or {}
    without = dict(through)[where][name]
    example = f"{name} is {values[name]:.6g} at step {where:,}, and {without:.6g} without a checkpoint"
    if apart <= TOLERANCE:
        return Finding(
            True, f"trial {number} goes on from its checkpoint at step {begin:,} nearly as without one: {example}"
        )
    return Finding(
        False,
        f"nothing is shared: trial {number} does not go on from its checkpoint at step {begin:,} as without one: "
        f"{example}; look whether it saves and restores everything, and takes its rate from config.lr_at",
    )


def _range(metric: str, reports: Sequence[tuple[int, Mapping[str, float]]]) -> float:
    values = [values[metric] for _, values in reports if metric in values]
    return max(values) - min(values)
