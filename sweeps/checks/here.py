"""Checks of a spec in this process, recorded in MLflow; shared by the commands and the Python API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espalier.core.checks.lr_range import RangeTest
from espalier.core.errors import BadInput
from espalier.sweeps.checks import checkup, lr_range
from espalier.sweeps.checks.process_page import examine_processes
from espalier.sweeps.home import Home
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class Check:
    """The result of a check of a task; `print` it for the page. document: the same as plain values."""

    passed: bool
    document: Mapping[str, object] = field(repr=False)
    lines: Sequence[str] = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_markdown_(self) -> str:
        return "```\n" + str(self) + "\n```"


def check_here(spec: SweepSpec, home: Home, lsuv: bool = False) -> Check:
    """Check what trains in a spec, and record the page in MLflow. Raises BadInput for what cannot be loaded or started.

    lsuv: also report the result of layer-sequential unit-variance initialisation, of a task.
    """
    if spec.is_foreign:
        return _check_processes(spec, home, lsuv)
    checked, forecast = checkup.examine(spec, lsuv)
    run = checkup.record_check(spec, checked, forecast, home)
    document = checkup.document(checked, forecast) | {"mlflow_run": run}
    return Check(checked.passed, document, tuple(checkup.lines(checked)))


def _check_processes(spec: SweepSpec, home: Home, lsuv: bool) -> Check:
    """Check a function or a command."""
    if lsuv:
        raise BadInput(f"--lsuv: a {spec.way} trains, which makes its own model; leave it out")
    check_reachable(resolve_tracking_uri(spec.tracking_uri, home.path))
    checked = examine_processes(spec)
    document = checked.document()
    run = checkup.record_page(spec, checked.checkup, document, home)
    return Check(checked.checkup.passed, document | {"mlflow_run": run}, tuple(checkup.lines(checked.checkup)))


@dataclass(frozen=True)
class RecordedRange:
    """A range test, and the id of its run in MLflow."""

    test: RangeTest
    run: str

    def document(self) -> Mapping[str, object]:
        """Return the result as a JSON document."""
        return lr_range.document(self.test) | {"mlflow_run": self.run}

    def lines(self) -> Sequence[str]:
        """Return the result as a page of text."""
        return lr_range.lines(self.test)


def lr_range_here(spec: SweepSpec, home: Home, low: float, high: float, steps: int, seeds: int) -> RecordedRange:
    """Run the range test of a spec's task, and record it in MLflow. Raises BadInput as `lr_range.run_test` does."""
    if spec.is_foreign:
        raise BadInput(f"lr-range: a {spec.way} trains, and it needs a task, with lanes; give space.lr a wide range")
    test = lr_range.run_test(spec, low, high, steps, seeds)
    return RecordedRange(test, lr_range.record_test(spec, test, home))
