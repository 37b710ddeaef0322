"""The learning-rate range test of a spec: run, printed, drawn, recorded, and used by `lr_exponent: auto`."""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from espalier.core.checks import preflight
from espalier.core.checks.lr_range import HIGH, LOW, SEEDS, STEPS, Ramp, RangeTest, range_test
from espalier.core.errors import BadInput
from espalier.core.programs.choose import why_not
from espalier.core.task import load_task
from espalier.sweeps import cohorts as plan
from espalier.sweeps.guard import guard_task
from espalier.sweeps.home import Home
from espalier.sweeps.recording.names import checks_of
from espalier.sweeps.recording.single_run import record_once
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.results import figures as report
from espalier.sweeps.spec.meaning import misread_exponents
from espalier.sweeps.spec.space import AUTO, Range
from espalier.sweeps.spec.spec import SweepSpec, whole_fields

WIDER = 0.5  # decades: a sweep trains longer than the test, so lower rates may be best, or higher ones stable


def run_test(
    spec: SweepSpec, low: float = LOW, high: float = HIGH, steps: int = STEPS, seeds: int = SEEDS
) -> RangeTest:
    """Run the range test with a spec's task, optimizer and batch size, and the first of each choice.

    Raises BadInput for a task that cannot train, an empty range or too few steps.
    """
    if not -40 <= low < high <= 40:
        raise BadInput(f"the range of exponents {low:g} ... {high:g}: low must be below high, both within -40 ... 40")
    if misread_exponents(Range(low=low, high=high)):
        raise BadInput(
            f"low {low:g}, high {high:g}: exponents, which mean rates from {10**low:.4g} to {10**high:.4g}; for "
            f"rates from {low:g} to {high:g} write their powers of ten, as low -5, high -1 for 1e-5 to 0.1"
        )
    if seeds < 1:
        raise BadInput(f"seeds: {seeds} arrived; give a whole number of at least 1")
    torch.set_num_threads(1)
    point = plan.first_point(spec)
    guard_task(spec.task)
    task = load_task(spec.task, plan.task_options(spec, point))
    structure, first = plan.structure(spec, point), int(point["seed"])
    checked = preflight.check(task, structure.batch_size, structure.dtype, first)
    data = checked.data
    batch = tuple(tensor[: structure.batch_size] for tensor in data.train)
    device = "cuda" if torch.cuda.is_available() and spec.resources.gpus != 0 else "cpu"
    alone = seeds == 1 or checked.hidden or why_not("vmap", task, batch) is not None
    program = "plain" if alone else "vmap" if device == "cpu" else "captured"
    return range_test(
        task,
        data,
        structure,
        plan.hyperparameters(spec, point),
        Ramp(low, high, steps),
        range(first, first + seeds),
        program,
        device,
    )


def document(test: RangeTest) -> dict[str, object]:
    """Return the result as a JSON document, with null for NaN and infinity."""
    band = [[None if math.isnan(x) else x for x in row] for row in test.band.tolist()]
    rules = {
        name: {key: None if isinstance(x, float) and math.isnan(x) else x for key, x in asdict(spread).items()}
        for name, spread in test.rules.items()
    }
    return {
        "interval": None if test.interval is None else list(test.interval),
        "edge": test.edge,
        "rules": rules,
        "exponents": test.bins.tolist(),
        "loss_low_median_high": band,
        "seeds": len(test.losses),
        "steps": len(test.exponents),
        "notes": list(test.notes),
    }


def lines(test: RangeTest) -> list[str]:
    """Return the result as plain sentences and one table."""
    page = [f"{'rule':<16} {'exponent':>9}   over the seeds"]
    for name, spread in test.rules.items():
        if math.isnan(spread.median):
            page.append(f"{name:<16} {'-':>9}   nothing, of any seed")
            continue
        silent = f"; nothing of {spread.silent}" if spread.silent else ""
        page.append(f"{name:<16} {spread.median:>9.2f}   {spread.low:.2f} ... {spread.high:.2f}{silent}")
    page += [f"note: {note}" for note in test.notes]
    if test.edge is not None:
        page.append(f"training diverges from an exponent of {test.edge:.2f} on")
    if test.interval is None:
        return [*page, "no interval can be given"]
    low, high = test.interval
    wide = wider(test.interval)
    page.append(f"interval: exponents {low:.2f} ... {high:.2f} (rates {10**low:.2g} ... {10**high:.2g})")
    page.append(f"search it, half a decade wider: --set 'space.lr_exponent={{low: {wide[0]:g}, high: {wide[1]:g}}}'")
    return page


def wider(interval: tuple[float, float]) -> tuple[float, float]:
    """Return an interval of exponents, widened by half a decade on both sides, rounded to two digits.

    >>> wider((-2.031, -0.519))
    (-2.53, -0.02)
    """
    return max(-40.0, round(interval[0] - WIDER, 2)), min(40.0, round(interval[1] + WIDER, 2))


def record_test(spec: SweepSpec, test: RangeTest, home: Home) -> str:
    """Record a test with its figure in MLflow, in an experiment of its own; return the run's id."""
    scaled = [round(1000 * exponent) for exponent in test.bins.tolist()]  # integers, as MLflow's steps are
    series = {
        name: list(zip(scaled, row.tolist(), strict=True))
        for name, row in zip(("loss_low", "loss", "loss_high"), test.band, strict=True)
    }
    if test.interval:
        series |= {"interval_low": [(0, test.interval[0])], "interval_high": [(0, test.interval[1])]}
    with tempfile.TemporaryDirectory() as folder:
        figure = report.range_figure(test, spec.name, Path(folder) / "lr-range.png")
        return record_once(
            resolve_tracking_uri(spec.tracking_uri, home.path),
            checks_of(spec.name),
            "lr-range",
            {"espalier.kind": "lr-range"},
            series,
            {"lr-range.json": json.dumps(document(test), indent=2), "spec.yaml": spec.as_yaml()},
            [figure],
        )


def resolved(spec: SweepSpec, home: Home) -> tuple[SweepSpec, Mapping[str, object]]:
    """Return a spec with `lr_exponent: auto` replaced by the range of a test, and a note on that test.

    Raises BadInput if the test finds no interval.
    """
    if spec.space.lr_exponent != AUTO:
        return spec, {}
    test = run_test(spec)
    if test.interval is None:
        raise BadInput(f"space.lr_exponent: auto: no interval was found: {'; '.join(test.notes)}; or give a range")
    low, high = wider(test.interval)
    run = record_test(spec, test, home)
    fields = whole_fields(spec)
    space = {name: domain for name, domain in fields["space"].items() if name != "lr"}
    fields["space"] = space | {"lr_exponent": {"low": low, "high": high}}
    return SweepSpec.model_validate(fields), {"lr_range_run": run, "lr_exponent_low": low, "lr_exponent_high": high}
