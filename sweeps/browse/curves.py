"""The reports of trials, read from their stories: from a sweep's spool, else from MLflow."""

from collections.abc import Mapping, Sequence
from typing import Any

from espalier.core.errors import BadInput, nearest
from espalier.sweeps.home import Home
from espalier.sweeps.recording.experiments import Owner
from espalier.sweeps.recording.stories import stories_of
from espalier.sweeps.search.replicates import mean

TRAIN_CURVE = "train_curve"


def points(
    home: Home, uri: str, owner: Owner, trials: Sequence[int], metric: str, objective: str = ""
) -> list[tuple[int, int, float]]:
    """Return (trial, step, value) of all reports of a metric, means over replicates; all blocks of `train_curve`.

    uri: of the sweep's MLflow, for trials whose story is not in the home.

    Raises BadInput for a metric that no trial reported, unless it is the objective.
    """
    known: set[str] = {TRAIN_CURVE, objective} - {""}
    curve_points: list[tuple[int, int, float]] = []
    for trial, story in stories_of(home.sweep(owner.sweep), uri, owner, trials).items():
        members = story["members"]
        known |= {name for member in members for _, values in member["reports"] for name in values}
        curves = [_curve(member, metric) for member in members]
        for step in sorted(set[int]().union(*curves)):
            if all(step in curve for curve in curves):
                curve_points.append((trial, step, mean([curve[step] for curve in curves])))
    if not curve_points and metric not in known:
        raise BadInput(f"'{metric}' was not reported; {nearest(metric, known)}")
    return curve_points


def _curve(member: Mapping[str, Any], metric: str) -> dict[int, float]:
    if metric == TRAIN_CURVE:
        return dict(member["curve"])
    return {step: values[metric] for step, values in member["reports"] if metric in values}
