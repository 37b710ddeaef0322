"""Reads what the process of a trial logs into its run of MLflow, as lines of reports."""

import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from espalier.core.errors import briefly
from espalier.core.foreign.folder import Line
from espalier.sweeps.address import no_secret
from espalier.sweeps.recording.beside import gather
from espalier.sweeps.recording.names import RUNG

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import Metric, MlflowClient

POLL_S, POLL_MOST_S = 1.0, 20.0  # between two looks
READING_SHARE = 0.05  # of the time, at most: MLflow gives only whole histories, and other trials share the cores
REST_S = 30.0  # how long the last results are waited for when MLflow is away
OTHERS = ("system/", RUNG)  # how the names of metrics begin that are no results of the process
INFINITY = 1.7e308  # what MLflow stores of larger numbers
Point = tuple[int, int, float]  # step, time in ms, value


class RunReader:
    """Finds reports in a run. The objective makes them: one for each step at which it was logged.

    A report has the last values of the other metrics since the one before it. Where the process logs no steps, MLflow
    takes 0 for all: then they are counted, from 0. Calls to MLflow are made by threads, so that none delays training.
    """

    nothing = "it logged no metric to its run of MLflow"

    def __init__(self, client: "MlflowClient", run_id: str, metric: str, environment: Mapping[str, str]):
        """environment: names the run to the process."""
        self.client, self.run_id, self.metric, self.environment = client, run_id, metric, environment
        self._earlier: dict[str, frozenset[Point]] = {}
        self._step = -1  # of the last report
        self._fresh = -1  # the step that a look has found last, which the next one reports: it may be incomplete
        self._reports: list[Line] = []
        self._next_look, self._pause_s = 0.0, POLL_S
        self._looking: threading.Thread | None = None
        self.notes: list[str] = []

    def skip_earlier(self) -> None:
        """Leave out what the run has so far: an earlier process of the trial has logged it."""
        self._earlier = {name: frozenset(self._history(name)) for name in self._names()}

    # --- for the cohort ----------------------------------------------------------------------------------------------

    def read(self, lines: Sequence[str]) -> list[Line]:
        """Return the reports that have been found meanwhile."""
        if not self._is_looking() and time.monotonic() >= self._next_look:
            self._looking = threading.Thread(target=self._look_again, daemon=True)
            self._looking.start()
        return self._take()

    def rest(self) -> list[Line]:
        """Return the last reports. While MLflow is away this waits, for REST_S at most."""
        if self._looking:
            self._looking.join(REST_S)
        end, pause_s = time.monotonic() + REST_S, 0.1
        while True:
            try:
                gather(self.client, self.run_id)
                self._look(last=True)
                return self._take()
            except Exception as error:  # any error of server or network
                if time.monotonic() + pause_s > end:
                    why = f"its results could not be read: MLflow does not answer ({no_secret(briefly(error))})"
                    return [*self._take(), Line(end="failed", error=why)]
            time.sleep(pause_s)
            pause_s = min(2.0, 2 * pause_s)

    def _is_looking(self) -> bool:
        return self._looking is not None and self._looking.is_alive()

    def _take(self) -> list[Line]:
        reports = self._reports[:]
        del self._reports[: len(reports)]  # a look may add some meanwhile
        return reports

    # --- looking -----------------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        begin = time.monotonic()
        try:
            self._look(last=False)
            taken = time.monotonic() - begin
            self._pause_s = min(POLL_MOST_S, max(POLL_S, taken / READING_SHARE))
        except Exception:  # MLflow is away: `rest` says so if it stays away
            self._pause_s = min(POLL_MOST_S, 2 * self._pause_s)
        self._next_look = time.monotonic() + self._pause_s

    def _look(self, last: bool) -> None:
        """Find the reports that are new. last: the process has ended, so that the newest one is complete."""
        points = self._new(self.metric)
        objective = _by_step(points)
        if last and (repeated := _repeated(points)):
            why = "with other values; the last one counts"
            self.notes.append(f"{self.metric} was logged more than once at step {repeated[0]:,}, {why}")
        steps = [step for step in objective if step > self._step]
        others = {name: _by_step(self._new(name)) for name in self._names() - {self.metric}} if steps or last else {}
        if steps and not last and steps[-1] != self._fresh:
            self._fresh = steps.pop()
        for step in steps:
            self._report(step, {self.metric: objective[step]}, others)
        if last:
            after = [step for values in others.values() for step in values if step > self._step]
            if after:
                self._report(max(after), {}, others)

    def _report(self, step: int, values: dict[str, float], others: Mapping[str, Mapping[int, float]]) -> None:
        for name, by_step in others.items():
            between = [at for at in by_step if self._step < at <= step]
            if between:
                values[name] = by_step[between[-1]]
        self._reports.append(Line(step=step, values=values))
        self._step = step

    def _names(self) -> set[str]:
        names = self.client.get_run(self.run_id).data.metrics
        return {name for name in names if not name.startswith(OTHERS)}

    def _new(self, name: str) -> list[Point]:
        return [point for point in self._history(name) if point not in self._earlier.get(name, ())]

    def _history(self, name: str) -> Iterable[Point]:
        return map(_point, self.client.get_metric_history(self.run_id, name))


def _point(metric: "Metric") -> Point:
    too_large = abs(metric.value) >= INFINITY
    return metric.step, metric.timestamp, math.copysign(math.inf, metric.value) if too_large else metric.value


def _repeated(points: Sequence[Point]) -> list[int]:
    """Return the steps with several values, rising; those of step 0 are counted.

    >>> _repeated([(20, 8, 0.5), (10, 1, 3.0), (10, 4, 0.6), (0, 3, 0.7), (0, 4, 0.8), (20, 9, 0.5)])
    [10]
    """
    values: dict[int, set[float]] = {}
    for step, _, value in points:
        values.setdefault(step, set()).add(value)
    return sorted(step for step, those in values.items() if step and len(those) > 1)


def _by_step(points: Sequence[Point]) -> dict[int, float]:
    """Return the value of each step, in the order of steps; those of step 0 are counted.

    >>> _by_step([(20, 8, 0.5), (0, 1, 3.0), (10, 4, 0.6), (10, 3, 0.7)])
    {0: 3.0, 10: 0.6, 20: 0.5}
    >>> _by_step([(0, 1, 3.0), (0, 3, 2.0), (0, 2, 2.5)])
    {0: 3.0, 1: 2.5, 2: 2.0}
    """
    unstepped = [value for step, _, value in sorted(points) if step == 0]
    stepped = {step: value for step, _, value in sorted(points) if step != 0}
    return dict(sorted((dict(enumerate(unstepped)) | stepped).items()))
