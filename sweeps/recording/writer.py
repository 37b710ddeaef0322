"""Turns a sweep's records into MLflow calls: few, batched and idempotent."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from espalier.core.garbage import gc_paused
from espalier.sweeps.address import artifact_page, trials_page
from espalier.sweeps.home import naming
from espalier.sweeps.recording.experiments import log_inputs, save_view
from espalier.sweeps.recording.feedback import Feedback
from espalier.sweeps.recording.names import (
    BEST_TAG,
    CODE,
    DESCRIPTION_TAG,
    EXTENDED_TAG,
    FIGURES,
    LINKS,
    METRICS_PER_BATCH,
    NAME_TAG,
    PARAMS_PER_BATCH,
    PARENT_TAG,
    REPORT,
    STEP_TAG,
    TAG_CHARACTERS,
    TRIAL_TAG,
    mlflow_name,
)
from espalier.sweeps.recording.records import (
    Line,
    SweepClosed,
    SweepOpened,
    SweepPaused,
    TrialEnded,
    TrialReported,
    TrialStarted,
    TrialTagged,
)
from espalier.sweeps.recording.retry import is_refusal, retry
from espalier.sweeps.recording.runs import RunState, SweepRuns, Target
from espalier.sweeps.recording.server import file_id, make_dataset, make_metric, make_params, make_tags, open_client
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.store import prepare_store

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import Metric, Param, RunTag

FAILING_TRIALS = 3  # consecutive trials whose records cannot be sent, after which the server counts as unreachable


class RunWriter:
    """Writes lines of a spool to the runs of one sweep. It first reads which runs exist."""

    def __init__(self, target: Target, spool: Spool, feedback: Feedback, store_damaged: bool = False):
        """store_damaged: the target's sqlite store is known to be damaged; a new one takes its place."""
        self.spool, self.uri, self.feedback = spool, target.uri, feedback
        with gc_paused():
            feedback.note(prepare_store(self.uri, store_damaged))
            self.store = file_id(self.uri)
            self.client = open_client(self.uri)
        self.runs = SweepRuns(self.client, target, feedback)

    def is_outdated(self) -> bool:
        """Whether the store's file has been replaced."""
        return self.store != file_id(self.uri)

    def send(self, lines: Sequence[Line]) -> None:
        """Send lines: the sweep's own in order, and between two of them all lines of a trial together."""
        by_trial: dict[int, list[Line]] = {}
        for line in lines:
            if line.trial is not None:
                by_trial.setdefault(line.trial, []).append(line)
            else:
                self._send_trials(by_trial)
                by_trial = {}
                self._send_own(line)
                self.spool.acknowledge(line)
        self._send_trials(by_trial)

    def _send_trials(self, by_trial: dict[int, list[Line]]) -> None:
        """Send the lines of some trials: first create the runs of new trials, since the search waits for their ids.

        A trial whose records cannot be sent does not delay the others. Raises the first error at the end.
        """
        self._read_lost_starts(by_trial)
        failures: list[Exception] = []
        work = [(send, trial) for send in (self._begin, self._write_and_acknowledge) for trial in by_trial]
        for send, trial in work:
            try:
                send(trial, by_trial[trial])
            except Exception as error:
                failures.append(error)
                if len(failures) == FAILING_TRIALS:
                    break
        if failures:
            raise failures[0]

    def _read_lost_starts(self, by_trial: dict[int, list[Line]]) -> None:
        """Add all earlier lines of a trial whose run was deleted: the new run gets all of them."""
        begun = {trial: lines[0].position for trial, lines in by_trial.items() if trial not in self.runs.by_trial}
        deleted = {trial for trial, position in begun.items() if self.spool.first.get(trial, position) < position}
        if not deleted:
            return
        for trial in deleted:
            by_trial[trial] = []
        for line in self.spool.lines_of(deleted):
            assert line.trial is not None
            by_trial[line.trial].append(line)

    # --- a sweep -----------------------------------------------------------------------------------------------------

    def _send_own(self, line: Line) -> None:
        record = line.record
        if isinstance(record, SweepOpened):
            self._open(record, line.time_ms)
        elif isinstance(record, SweepPaused):
            self.runs.pause(line.time_ms)
        elif isinstance(record, SweepClosed):
            self._close(record, line.time_ms)

    def _open(self, record: SweepOpened, time_ms: int) -> None:
        run = self.runs.find_or_create(None, record.name, record.tags, time_ms)
        self.runs.set_running(run)
        to_trials = {DESCRIPTION_TAG: self._links(run, record)} if run.is_new and record.view else {}
        self._log(None, run, params=record.params, tags={**record.tags, **to_trials})
        self._write_texts(run, record.texts)
        self.feedback.note(save_view(self.client, self.runs.experiment.id, self.runs.target.sweep, record.view))
        data = [make_dataset(**each) for each in record.datasets]
        self.feedback.note(log_inputs(self.client, run.run_id, data))

    def _close(self, record: SweepClosed, time_ms: int) -> None:
        run = self.runs.parent(time_ms)
        extended = str(record.tags.get(EXTENDED_TAG, ""))[:TAG_CHARACTERS]
        told = run.has_metrics and run.extended == extended  # once, even if the end is recorded several times
        values = {} if told else record.values
        run.has_metrics, run.extended = True, extended
        several = () if told else record.points
        points = [*several, *((name, 0, value) for name, value in values.items())]  # MLflow lists them in this order
        metrics = [make_metric(name, value, time_ms, step) for name, step, value in points if math.isfinite(value)]
        text = str(record.tags.get(DESCRIPTION_TAG, "")).replace(LINKS, self._links(run, record))
        self._log(None, run, metrics, tags={**record.tags, DESCRIPTION_TAG: text} if text else record.tags)
        self._write_texts(run, record.texts)
        best = str(record.tags.get(BEST_TAG, ""))
        if self.runs.target.shared and best.isdigit() and (its := self.runs.by_trial.get(int(best))):
            logged = retry(partial(self.client.get_run, its.run_id)).inputs  # by the trial's own process
            self.feedback.note(log_inputs(self.client, run.run_id, logged.dataset_inputs if logged else []))
        for name in record.files:
            path = self.spool.path.parent / name  # earlier versions named whole paths
            if path.exists():
                retry(partial(self.client.log_artifact, run.run_id, str(path), _folder_of(path)))
        retry(partial(self.client.set_terminated, run.run_id, record.status, time_ms))

    def _links(self, run: RunState, record: SweepOpened | SweepClosed) -> str:
        """Return links to the table of trials and to the report, for MLflow's own pages, as Markdown."""
        experiment, sweep = self.runs.experiment.id, self.runs.target.sweep
        trials = f"[All trials, the best first]({trials_page('', experiment, sweep).removeprefix('/')})"
        if isinstance(record, SweepOpened) or not any(map(_is_report, record.files)):
            return trials
        return f"{trials} · [Report]({artifact_page('', experiment, run.run_id, REPORT).removeprefix('/')})"

    # --- a trial: its start, tags, reports, end ----------------------------------------------------------------------

    def _begin(self, trial: int, lines: Sequence[Line]) -> None:
        """Create a trial's run, from the first record that has its name."""
        kinds = TrialStarted if trial in self.runs.by_trial else (TrialStarted, TrialEnded)
        line = next((line for line in lines if isinstance(line.record, kinds)), None)
        if line is None:
            return
        record = line.record
        assert isinstance(record, TrialStarted | TrialEnded)
        parent = self.runs.parent(line.time_ms).run_id
        tags = {TRIAL_TAG: str(trial), PARENT_TAG: parent} | (
            dict(record.tags) if isinstance(record, TrialStarted) else {}
        )
        self.runs.find_or_create(trial, record.name, tags, line.time_ms)

    def _write_and_acknowledge(self, trial: int, lines: Sequence[Line]) -> None:
        if trial in self.runs.by_trial:  # else its start was in a lost line
            self._write(trial, self.runs.by_trial[trial], lines)
        self.spool.acknowledge(lines[-1])

    def _write(self, trial: int, run: RunState, lines: Sequence[Line]) -> None:
        """Record lines of one trial in one batch, since each call has a fixed cost."""
        params: Mapping[str, object] = {}
        texts: Mapping[str, str] = {}
        tags: dict[str, object] = {}
        step = run.step
        last: Line | None = None  # of the last start or end
        for line in lines:
            record = line.record
            if isinstance(record, TrialReported):
                step = max(step, record.step)
                continue
            if isinstance(record, TrialStarted | TrialTagged | TrialEnded):
                tags |= record.tags
            if isinstance(record, TrialStarted):
                params, last = record.params or params, line
                if record.name != run.name:  # a trunk went on as a branch; or a worker has made the run
                    tags[NAME_TAG] = run.name = record.name
            elif isinstance(record, TrialEnded):
                texts, last = record.texts, line
        if step > run.step:
            tags[STEP_TAG] = str(step)
        if params and self.runs.target.shared:
            params = self._unset(run, params)
        new_parent = self._new_parent(run)
        self._log(trial, run, self._new_points(run, lines), params, tags | new_parent)
        run.step, run.parent = step, new_parent.get(PARENT_TAG, run.parent)
        self._write_texts(run, texts)
        if last and isinstance(last.record, TrialEnded):
            retry(partial(self.client.set_terminated, run.run_id, last.record.status, last.time_ms))
        elif last:
            self.runs.set_running(run)

    def _unset(self, run: RunState, params: Mapping[str, object]) -> dict[str, object]:
        """Return the params that the trial's process has not logged: MLflow refuses to change one."""
        known = retry(partial(self.client.get_run, run.run_id)).data.params
        return {name: value for name, value in params.items() if mlflow_name(name) not in known}

    def _new_parent(self, run: RunState) -> dict[str, str]:
        """Return the tag of the new parent if a found run's parent was deleted."""
        parent = self.runs.by_trial.get(None)
        now = parent.run_id if parent else ""
        return {} if run.parent in (None, now) else {PARENT_TAG: now}

    def _new_points(self, run: RunState, lines: Sequence[Line]) -> list["Metric"]:
        """Return the points of reports that are newer than the trial's last recorded step, without NaN and infinity."""
        return [
            make_metric(name, value, line.time_ms, step)
            for line in lines
            if isinstance(line.record, TrialReported) and line.record.step > run.step
            for name, step, value in line.record.points
            if math.isfinite(value)
        ]

    # --- writing -----------------------------------------------------------------------------------------------------

    def _write_texts(self, run: RunState, texts: Mapping[str, str]) -> None:
        """Write text artifacts: directly into a local run's folder, since MLflow looks up the run for each file."""
        uri = urlsplit(run.artifacts)
        for name, text in texts.items():
            if uri.scheme == "file":
                file = Path(url2pathname(uri.path)) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                with naming(file):
                    file.write_text(text, encoding="utf-8")
            else:
                retry(partial(self.client.log_text, run.run_id, text, name))

    def _log(
        self,
        trial: int | None,
        run: RunState,
        points: Sequence["Metric"] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Log values in as few batches as MLflow's limits allow, tags with the last: it writes metrics before tags.

        Writing a point twice stores it once, so a crash in between loses nothing. If a batch is refused, its parts
        are logged one by one, and the refused part is noted.
        """
        last_tags = make_tags(tags or {})
        batches = [*batched(points, make_params(params or {}))] or [((), ())] * bool(last_tags)
        for number, (some_points, some_params) in enumerate(batches, 1):
            batch_tags = last_tags if number == len(batches) else []
            try:
                retry(partial(self.client.log_batch, run.run_id, some_points, some_params, batch_tags))
            except Exception as error:
                if not is_refusal(error) or not self._is_active(run):
                    raise
                self._log_apart(trial, run, some_points, some_params, batch_tags)

    def _is_active(self, run: RunState) -> bool:
        """Whether a run exists and is not deleted: then a refusal is caused by the values."""
        return retry(partial(self.client.get_run, run.run_id)).info.lifecycle_stage == "active"

    def _log_apart(
        self,
        trial: int | None,
        run: RunState,
        points: Sequence["Metric"],
        params: Sequence["Param"],
        tags: Sequence["RunTag"],
    ) -> None:
        """Log the parts of a refused batch one by one; note those that are refused again."""
        names = sorted({point.key for point in points})
        parts = [(f"metric {name}", {"metrics": [p for p in points if p.key == name]}) for name in names]
        parts += [(f"param {param.key}", {"params": [param]}) for param in params]
        parts += [(f"tag {tag.key}", {"tags": [tag]}) for tag in tags]
        for what, part in parts:
            try:
                retry(partial(self.client.log_batch, run.run_id, **part))
            except Exception as error:
                if not is_refusal(error):
                    raise
                who = "parent" if trial is None else str(trial)
                self.spool.refuse(who, what[:100], str(error).split("\n")[0][:300])


def batched(points: Sequence["Metric"], params: Sequence["Param"]) -> zip_longest:
    """Return the fewest batches of points and params within MLflow's limits."""
    return zip_longest(
        (points[i : i + METRICS_PER_BATCH] for i in range(0, len(points), METRICS_PER_BATCH)),
        (params[i : i + PARAMS_PER_BATCH] for i in range(0, len(params), PARAMS_PER_BATCH)),
        fillvalue=(),
    )


def _folder_of(file: Path) -> str | None:
    """Return the folder of a file among the artifacts of the sweep's own run; None for the root."""
    return None if _is_report(file.name) else CODE if file.suffix == ".zip" else FIGURES


def _is_report(name: str) -> bool:
    return Path(name).name == REPORT
