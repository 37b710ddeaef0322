"""The MLflow sink: batched, spooled to disk, idempotent, and off the training path. The only file that imports mlflow.

A sweep is a parent run, a trial a child run, each found by its identity tags before it is made. Whatever is to be
recorded is a line of JSON, written to the spool first and sent by one thread; a line sent twice changes nothing.
While the server is away lines wait in the spool, and training goes on.
"""

import base64
import configparser
import fcntl
import hashlib
import http.client
import json
import logging
import math
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from core import cache
from core.errors import BadInput, nearest
from sweeps.address import no_secret, without_login
from sweeps.collector import uncollected

SWEEP_TAG, TRIAL_TAG, STEP_TAG = "espalier.sweep", "espalier.trial", "espalier.step"
VARIABLE, AT_HOME = "MLFLOW_TRACKING_URI", "home"
CHAMPION = "champion"  # the alias of a model's best version, and the folder of its files among the run's artifacts
STORY = "trial.json"  # a child run's artifact: every report, the curve and the ratios of each replicate
SEND_EVERY_S = 1.0
SEND_LATEST_S = 20.0  # the most that a trial's lines wait; less where sending all of them takes less of a core than
SENDING_SHARE = 0.05  # this: MLflow's sqlite takes 10-20 ms a call, and cohorts train on the same cores
RETRY_MOST_S = 30.0
CLOSING_S = 20.0  # how long a sweep that has ended waits for a server that is away
SPOOL_MOST_BYTES = 256 * 2**20  # beyond this, points of curves are dropped and counted; starts and ends never
METRICS_A_BATCH, PARAMS_A_BATCH = 800, 100  # MLflow takes 1000 things a batch, 100 params and 100 tags among them
Line = dict[str, Any]

logger = logging.getLogger(__name__)


def _quiet_mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow.tracking

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow


def default_uri(home: Path) -> str:
    """Return the store inside a home."""
    return f"sqlite:///{home.resolve() / 'mlflow.db'}"


def tracking_of(wanted: str | None, home: Path, begun: str | None = None) -> str:
    """Return where something is recorded: as its spec wants, else at $MLFLOW_TRACKING_URI, else in the home.

    begun: where its sweep began to be recorded, AT_HOME or a server. What began at home stays there, whatever the
    variable says now; a server may go by another name here than where the sweep began.
    """
    elsewhere = None if begun == AT_HOME else os.environ.get(VARIABLE) or begun
    return wanted or elsewhere or default_uri(home)


def begins(home: Path) -> str:
    """Return what a new sweep notes of where it is recorded, for `tracking_of`."""
    uri = tracking_of(None, home)
    return AT_HOME if uri == default_uri(home) else no_secret(uri)


def _make_store(mlflow: Any, uri: str) -> None:
    """Make the tables of a new sqlite store whole or not at all: MLflow cannot open one whose making was killed."""
    store = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or store.exists():
        return
    part = store.with_name(f"{store.name}.part")
    with open(store.with_name(f"{store.name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another sweep may begin in this home
        if not store.exists():
            part.unlink(missing_ok=True)
            _fill(mlflow, part)
            os.replace(part, store)


def _fill(mlflow: Any, store: Path) -> None:
    """Make the tables of a sqlite store, or copy empty ones: MLflow's migrations take two seconds.

    MLflow's experiment "Default" has its artifacts below the working directory, so each has a copy of its own.
    """
    here = hashlib.sha256(os.getcwd().encode()).hexdigest()[:16]
    empty = cache.folder("mlflow") / f"{mlflow.version.VERSION}-{here}.db"
    with suppress(OSError):
        shutil.copyfile(empty, store)
        return
    mlflow.tracking.MlflowClient(tracking_uri=f"sqlite:///{store}").search_experiments()
    cache.keep(empty, store.read_bytes())


_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def check_reachable(uri: str) -> None:
    """Raise BadInput if a tracking server does not answer or refuses the login, or a store's folder is read-only."""
    scheme, colon, rest = uri.partition("://")
    kind, name = scheme.split("+")[0], _source_of(uri)
    instead = f"leave {name} out to record in the home"
    if kind == "sqlite":
        folder = Path(rest.removeprefix("/")).absolute().parent
        if not os.access(folder, os.W_OK):
            raise BadInput(f"{name}: the folder {folder} of {uri} cannot be written; {instead}")
    elif not colon or kind not in _PORTS:
        raise BadInput(f"{name}: '{no_secret(uri)}' is no address; write http://HOST:PORT or sqlite:///PATH")
    else:
        try:
            _knock(uri, kind, name)
        except BadInput:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = no_secret(str(getattr(error, "reason", None) or error))
            raise BadInput(f"{name}: {no_secret(uri)} does not answer ({reason}); start it, or {instead}") from error


def _source_of(uri: str) -> str:
    """Return what names this address: the environment, or a spec."""
    return VARIABLE if uri == os.environ.get(VARIABLE) else "tracking_uri"


def _knock(uri: str, kind: str, name: str) -> None:
    """Ask a tracking server for its health and to be let in, or connect to a database's port."""
    if kind in ("http", "https"):
        place, login = _login(uri)
        urllib.request.urlopen(place + "/health", timeout=5).close()
        if not {"MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"} & os.environ.keys():  # ways in that are not known
            _enter(place, login, name)
    else:
        parts = urlsplit(uri)
        socket.create_connection((parts.hostname or "localhost", parts.port or _PORTS[kind]), timeout=5).close()


def _enter(place: str, login: Mapping[str, str], name: str) -> None:
    """Ask a tracking server for something that needs a login where there are logins; health needs none."""
    asked = urllib.request.Request(f"{place}/api/2.0/mlflow/experiments/search?max_results=1", headers=dict(login))
    try:
        urllib.request.urlopen(asked, timeout=10).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise
        said = error.read(200).decode(errors="replace").split("\n")[0].strip()
        known = "the login" if login else "a visitor without a login"
        ask = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if error.code == 401 else f"it says: {said}"
        raise BadInput(f"{name}: {place} refuses {known} ({error.code}); {ask}") from error


def _login(uri: str) -> tuple[str, dict[str, str]]:
    """Return a server's address without a login, and the header of the login that MLflow would use."""
    parts = urlsplit(uri)
    place = without_login(uri)
    file = configparser.ConfigParser(interpolation=None)
    file.read(Path("~/.mlflow/credentials").expanduser())
    user, password = (
        os.environ.get(name) or file.get("mlflow", name.lower(), fallback=None) or unquote(carried or "")
        for name, carried in (
            ("MLFLOW_TRACKING_USERNAME", parts.username),
            ("MLFLOW_TRACKING_PASSWORD", parts.password),
        )
    )
    if user and password:
        return place, {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return place, {"Authorization": f"Bearer {token}"} if token else {}


class Spool:
    """Lines on disk in the order they were said, and how many of them have been sent."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.mark = folder / "spool.jsonl", folder / "spool.sent"
        self.sent = int(self.mark.read_text() or 0) if self.mark.exists() else 0
        self._mend()
        self._file = open(self.path, "ab")  # noqa: SIM115 - open as long as the spool is
        self.reached = {line["trial"]: line["step"] for line in self.said("report")}  # trial -> its last step said
        self.dropped = 0

    def _mend(self) -> None:
        """Cut off a last line that a crash left unfinished."""
        if self.path.exists():
            content = self.path.read_bytes()
            if not content.endswith(b"\n"):
                self.path.write_bytes(content[: content.rfind(b"\n") + 1])

    def append(self, line: Line) -> None:
        """Write one line so that it outlives this process; but no report again, as trials that resume say them all."""
        if line["op"] == "report":
            if line["step"] <= self.reached.get(line["trial"], -1):
                return
            if self._file.tell() - self.sent > SPOOL_MOST_BYTES:
                self.dropped += 1
                return
            self.reached[line["trial"]] = line["step"]
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def pending(self, most: int = 5000) -> tuple[list[Line], int]:
        """Return lines that wait, each with its place in the file as `at`, and the place after them."""
        lines, place = [], self.sent
        with open(self.path, "rb") as file:
            file.seek(place)
            while len(lines) < most and (text := file.readline()).endswith(b"\n"):
                lines.append(json.loads(text) | {"at": place})
                place += len(text)
        return lines, place

    def done(self, place: int) -> None:
        """Remember that everything before a place has been sent."""
        self.sent = place
        temporary = self.mark.with_suffix(".part")
        temporary.write_text(str(place))
        os.replace(temporary, self.mark)

    def close(self) -> None:
        """Take no more lines."""
        self._file.close()

    def said(self, op: str) -> Iterator[Line]:
        """Yield all lines of one kind, sent or not."""
        with open(self.path, "rb") as file:
            for text in file:
                if text.endswith(b"\n") and (line := json.loads(text))["op"] == op:
                    yield line


def _metric_name(name: str) -> str:
    """Return a name that MLflow takes.

    >>> _metric_name("valid_accuracy@5")
    'valid_accuracy_5'
    """
    return re.sub(r"[^\w\-. /:]", "_", name)


class Recorder:
    """Records one sweep. Every method but `close` returns at once."""

    def __init__(
        self,
        uri: str,
        sweep: str,
        experiment: str,
        folder: Path,
        on_run: Callable[[int, str], None] = lambda trial, run: None,
        on_parent: Callable[[str, str], None] = lambda experiment, run: None,
        first_wait_s: float = SEND_EVERY_S,
    ):
        """Begin to record.

        folder: where the spool lies. on_run: told of each child run (trial, run id).
        on_parent: told of the sweep's own run (experiment id, run id), which may be each time it is found again.
        first_wait_s: how long to gather before the first send, if nobody wakes the recorder before.
        """
        self.uri, self.sweep, self.experiment = uri, sweep, experiment
        self.spool = Spool(folder)
        self.on_run, self.on_parent = on_run, on_parent
        self.trouble: str | None = None
        self.seconds_sending = 0.0
        self._closing, self._wake = threading.Event(), threading.Event()
        self._busy = False
        self._give_up = 0.0
        self._first_wait = first_wait_s
        self._patience = SEND_EVERY_S
        self._through: dict[int | None, int] = {}  # trial -> the place behind its last line that has been sent
        self._sender: _Sender | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sink", daemon=True)
        self._thread.start()

    def say(self, op: str, **fields: Any) -> None:
        """Record something: _Sender tells what there is."""
        self.spool.append({"op": op, "time": int(time.time() * 1000), **fields})

    def stories(self, trials: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the stories of trials that have ended: from the spool, else (another machine's) from MLflow."""
        found = {
            line["trial"]: json.loads(line["texts"][STORY])
            for line in self.spool.said("end")
            if line["trial"] in trials
        }
        return found | {t: read_trial(self.uri, self.sweep, t) for t in trials if t not in found}

    def wake(self) -> None:
        """Send all that waits, now."""
        self._wake.set()

    def flush(self, patience_s: float = 30.0) -> None:
        """Wait until what was said so far has been sent, or the server is in trouble, or patience ends."""
        end = self.spool.path.stat().st_size
        self.send_until(lambda: self.spool.sent >= end, patience_s)

    def send_until(self, happened: Callable[[], bool], patience_s: float) -> None:
        """Send what waits until something has happened, or the server is in trouble, or patience ends."""
        deadline = time.monotonic() + patience_s
        while not happened() and not self.trouble and time.monotonic() < deadline:
            if not self._busy:  # what it does not send now, it is to send next
                self._wake.set()
            time.sleep(0.05)

    def close(self, patience_s: float = 60.0) -> bool:
        """Send what waits and stop. Return whether everything has arrived; what has not stays in the spool.

        A server that is away is tried again for CLOSING_S; one that takes what it is sent has `patience_s`.
        """
        self._give_up = time.monotonic() + min(CLOSING_S, patience_s)
        self._closing.set()
        self._wake.set()
        self._thread.join(patience_s)
        self.spool.close()
        lines, _ = self.spool.pending(1)
        return not lines

    def _run(self) -> None:
        wait = self._first_wait
        while True:
            woken = self._wake.wait(wait)
            self._busy = True
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                begin = time.monotonic()
                self._send(everything=woken or closing)
                self.seconds_sending += time.monotonic() - begin
                self.trouble, wait = None, SEND_EVERY_S
            except Exception as error:  # whatever a server or a network can do: say it, wait, try again
                self._sender = None  # a new one looks up which runs exist: an answer that was lost may have made one
                self.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                logger.warning("recording waits: %s", self.trouble)
                wait = SEND_EVERY_S if closing else min(RETRY_MOST_S, wait * 2)
                if closing and time.monotonic() > self._give_up:
                    return
            else:
                if closing:
                    return
            self._busy = False

    def _send(self, everything: bool) -> None:
        """Send what is due: everything said so far, or what `_due` tells; of what is said meanwhile the latter.

        After a crash, what was sent before older lines is sent again, which changes nothing.
        """
        asked = self.spool.path.stat().st_size if everything else 0
        lines, place = self.spool.pending()
        while lines:
            fresh = [line for line in lines if line["at"] >= self._through.get(line.get("trial"), 0)]
            due = self._due(fresh, asked)
            if due:
                if self._sender is None:
                    self._sender = _Sender(self)
                begin = time.monotonic()
                self._sender.send(due)
                self._through |= {line.get("trial"): line["at"] + 1 for line in due}
                took = (time.monotonic() - begin) / len(_trials_of(due) or "-") * len(_trials_of(fresh))
                self._patience = min(SEND_LATEST_S, max(SEND_EVERY_S, took / SENDING_SHARE))
            waiting = [line["at"] for line in fresh if line["at"] >= self._through.get(line.get("trial"), 0)]
            self.spool.done(min(waiting, default=place))
            if waiting:
                return
            lines, place = self.spool.pending()

    def _due(self, lines: list[Line], asked: int) -> list[Line]:
        """Return the lines of trials that have ended, have waited long, or have one before the place that is asked for.

        One call for many lines costs as for one. The sweep's own lines do not wait, nor do others beside them.
        """
        late = time.time() * 1000 - self._patience * 1000
        due = {line.get("trial") for line in lines if line["op"] == "end" or line["time"] < late or line["at"] < asked}
        return lines if any("trial" not in line for line in lines) else [line for line in lines if line["trial"] in due]


def _trials_of(lines: Sequence[Line]) -> set[int]:
    return {line["trial"] for line in lines if "trial" in line}


def experiment_id(client: Any, mlflow: Any, name: str, uri: str) -> str:
    """Return the experiment of a name, made if it is new; a store in a home has its artifacts beside it."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    local = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / name if uri.startswith("sqlite:///") else None
    try:
        return client.create_experiment(name, artifact_location=local.as_uri() if local else None)
    except mlflow.exceptions.MlflowException:  # somebody else was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


class _Sender:
    """Turns lines into MLflow calls: few, wide, and safe to repeat."""

    def __init__(self, recorder: Recorder):
        uri, self.sweep, self.on_run, self.on_parent = recorder.uri, recorder.sweep, recorder.on_run, recorder.on_parent
        with uncollected():
            self.mlflow = _quiet_mlflow()
            _make_store(self.mlflow, uri)
            self.client = self.mlflow.tracking.MlflowClient(tracking_uri=uri)
        self.experiment_id = experiment_id(self.client, self.mlflow, recorder.experiment, uri)
        self.runs: dict[str, str] = {}
        self.folders: dict[str, str] = {}  # run -> where its artifacts lie
        self.made: set[str] = set()  # which of them are new
        self.steps: dict[str, float] = {}
        self.ended: set[str] = set()
        self._find_runs()

    def _find_runs(self) -> None:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], f"tags.`{SWEEP_TAG}` = '{self.sweep}'", max_results=1000, page_token=token
            )
            for run in page:
                key = run.data.tags.get(TRIAL_TAG, "parent")
                self.runs[key] = run.info.run_id
                self.folders[run.info.run_id] = run.info.artifact_uri
                self.steps[key] = float(run.data.tags.get(STEP_TAG, -1))
                if any(key == "parent" or name.startswith("final_") for name in run.data.metrics):
                    self.ended.add(key)
                if key == "parent":
                    self.on_parent(self.experiment_id, run.info.run_id)
                else:
                    self.on_run(int(key), run.info.run_id)  # a trial that goes on after a crash does not start again
            token = page.token
            if not token:
                return

    def send(self, lines: Sequence[Line]) -> None:
        """Carry out lines: the sweep's own in their order, and between two of them all of a trial's at once."""
        gathered: dict[str, list[Line]] = {}
        for line in lines:
            if "trial" in line:
                gathered.setdefault(str(line["trial"]), []).append(line)
            else:
                self._trials(gathered)
                self._tolerate("-", partial(getattr(self, f"_do_{line['op']}"), line))
        self._trials(gathered)

    def _trials(self, gathered: dict[str, list[Line]]) -> None:
        """Carry out what was gathered: first the runs of all trials that began, since others wait for their names."""
        for key, lines in gathered.items():
            begins = "start" if key in self.runs else ("start", "end")
            if begun := next((line for line in lines if line["op"] in begins), None):
                self._tolerate(key, partial(self._begin, key, begun))
        for key, lines in gathered.items():
            if key in self.runs:
                self._tolerate(key, partial(self._trial, key, lines))
        gathered.clear()

    def _tolerate(self, trial: Any, call: Callable[[], Any]) -> bool:
        """Do it, or say that MLflow refuses it: again would not help, and must not hold up the rest."""
        try:
            call()
        except self.mlflow.exceptions.MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"):
                raise
            logger.warning("MLflow refused a record of trial %s: %s", trial, error)
            return False
        return True

    # --- a sweep -----------------------------------------------------------------------------------------------------

    def _do_open(self, line: Line) -> None:
        """The sweep begins, or goes on: tags, params and text artifacts of the parent run."""
        run = self._run_of("parent", line["name"], line["tags"], line["time"])
        goes_on = "parent" not in self.made
        if goes_on:
            self.client.update_run(run, status="RUNNING")
        self._log("parent", params=line["params"], tags=line["tags"] if goes_on else {})
        self._texts(run, line["texts"])

    def _do_pause(self, line: Line) -> None:
        """The sweep is interrupted: none of its runs stays RUNNING."""
        for key, run in self.runs.items():
            if self.client.get_run(run).info.status == "RUNNING":
                self.client.set_terminated(run, "KILLED", line["time"])
                logger.debug("run of trial %s marked as killed", key)

    def _do_close(self, line: Line) -> None:
        """The sweep ends: the parent's last values, artifacts (texts, and files by path) and status."""
        run = self._run_of("parent", self.sweep, {}, line["time"])
        self._log("parent", self._last_points("parent", line), tags=line["tags"])
        self._texts(run, line["texts"])
        for path in line["files"]:
            if Path(path).exists():
                self.client.log_artifact(run, path, "figures")
        self.client.set_terminated(run, line["status"], line["time"])

    # --- a trial: its start, tags, reports, end ----------------------------------------------------------------------

    def _begin(self, key: str, line: Line) -> None:
        parent = self._run_of("parent", self.sweep, {}, line["time"])
        tags = {TRIAL_TAG: key, "mlflow.parentRunId": parent} | (line["tags"] if line["op"] == "start" else {})
        self.on_run(int(key), self._run_of(key, line["name"], tags, line["time"]))

    def _trial(self, key: str, lines: Sequence[Line]) -> None:
        """Record lines of one trial in one batch: all that MLflow does for a call, it does once."""
        run, points = self.runs[key], self._fresh_points(key, lines)
        params, tags, texts = {}, {}, {}
        step, state = self.steps.get(key, -1), None
        for line in lines:
            if line["op"] == "report":
                step = max(step, line["step"])
                continue
            tags |= line["tags"]
            if line["op"] == "start":
                params, state = line["params"], line
            elif line["op"] == "end":
                points, texts, state = points + self._last_points(key, line), line["texts"], line
        if step > self.steps.get(key, -1):
            tags[STEP_TAG] = str(step)
        self._log(key, points, params, tags)
        self.steps[key] = step
        self._texts(run, texts)
        if state and state["op"] == "end":
            self.client.set_terminated(run, state["status"], state["time"])
        elif state and key not in self.made:
            self.client.update_run(run, status="RUNNING")

    def _fresh_points(self, key: str, lines: Sequence[Line]) -> list[Any]:
        """Return the points of reports that are newer than the trial's last recorded step."""
        fresh = []
        for line in lines:
            if line["op"] == "report" and line["step"] > self.steps.get(key, -1):
                fresh += [self._point(name, value, line["time"], step) for name, step, value in line["points"]]
        return [point for point in fresh if math.isfinite(point.value)]

    # --- how ---------------------------------------------------------------------------------------------------------

    def _last_points(self, key: str, line: Line) -> list[Any]:
        """Return the last values of a run. They are logged once, however often its end is told."""
        known = key in self.ended
        self.ended.add(key)
        finite = {name: value for name, value in line["values"].items() if math.isfinite(value)}
        return [] if known else [self._point(k, v, line["time"], line.get("step", 0)) for k, v in finite.items()]

    def _point(self, name: str, value: float, time_ms: int, step: int) -> Any:
        return self.mlflow.entities.Metric(_metric_name(name), value, time_ms, step)

    def _texts(self, run: str, texts: Mapping[str, str]) -> None:
        """Write text artifacts: into the run's own folder if that is here, since MLflow looks the run up for each."""
        uri = urlsplit(self.folders.get(run, ""))
        for name, text in texts.items():
            if uri.scheme == "file":
                file = Path(url2pathname(uri.path)) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            else:
                self.client.log_text(run, text, name)

    def _run_of(self, key: str, name: str, tags: Mapping[str, str], time_ms: int) -> str:
        if key not in self.runs:
            made = self.client.create_run(
                self.experiment_id, time_ms, {SWEEP_TAG: self.sweep, **{k: str(v) for k, v in tags.items()}}, name
            )
            self.runs[key] = made.info.run_id
            self.folders[made.info.run_id] = made.info.artifact_uri
            self.made.add(key)
            if key == "parent":
                self.on_parent(self.experiment_id, made.info.run_id)
        return self.runs[key]

    def _log(
        self, key: str, points: Sequence[Any] = (), params: Mapping[str, Any] | None = None, tags: Any = None
    ) -> None:
        """Log values in as few batches as MLflow's limits allow, tags with the last: it writes metrics before tags.

        A point that is there already is there once, so a crash in between loses nothing. Of a batch that is refused
        for one of its parts the others are logged one by one.
        """
        entities = self.mlflow.entities
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (params or {}).items()}
        some = [entities.Param(k, v) for k, v in texts.items()]
        tagged = [entities.RunTag(k, str(v)) for k, v in (tags or {}).items()]
        batches = list(
            zip_longest(
                (points[i : i + METRICS_A_BATCH] for i in range(0, len(points), METRICS_A_BATCH)),
                (some[i : i + PARAMS_A_BATCH] for i in range(0, len(some), PARAMS_A_BATCH)),
                fillvalue=(),
            )
        ) or [((), ())] * bool(tagged)
        run, log = self.runs[key], self.client.log_batch
        for number, (metrics, values) in enumerate(batches, 1):
            last = tagged if number == len(batches) else []
            if not self._tolerate(key, partial(log, run, metrics, values, last)):
                self._tolerate(key, partial(log, run, metrics))
                for value in values:
                    self._tolerate(key, partial(log, run, params=[value]))
                for tag in last:
                    self._tolerate(key, partial(log, run, tags=[tag]))


# --- reading ---------------------------------------------------------------------------------------------------------


def read_trial(uri: str, sweep: str, trial: int) -> dict[str, Any]:
    """Return the story of a trial from its run. Raises BadInput if MLflow does not have it."""
    client, run = _client(uri), run_of(uri, sweep, trial)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return json.loads(Path(client.download_artifacts(run, STORY, folder)).read_text())
        except Exception as error:
            raise BadInput(f"trial {trial} of {sweep} has no artifact {STORY} in {no_secret(uri)}: {error}") from error


def run_of(uri: str, sweep: str, trial: int) -> str:
    """Return the id of a trial's run. Raises BadInput if MLflow does not have it."""
    with _understood(uri):
        client = _client(uri)
        experiments = [e.experiment_id for e in client.search_experiments()]
        tags = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{TRIAL_TAG}` = '{trial}'"
        runs = client.search_runs(experiments, tags, max_results=1)
    if not runs:
        raise BadInput(f"trial {trial} of {sweep} has no run in {no_secret(uri)}")
    return runs[0].info.run_id


def _client(uri: str) -> Any:
    return _quiet_mlflow().tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _understood(uri: str, what: str = "the record") -> Iterator[None]:
    """Turn what MLflow or the way to it says into BadInput."""
    exceptions = _quiet_mlflow().exceptions
    try:
        yield
    except (exceptions.MlflowException, OSError) as error:
        said = str(error).split("\n")[0]
        raise BadInput(f"{_source_of(uri)}: {no_secret(uri)} refuses {what}: {no_secret(said)}") from error


# --- models ----------------------------------------------------------------------------------------------------------


def register(uri: str, name: str, sweep: str, trial: int, folder: Path, tags: Mapping[str, Any]) -> str:
    """Log the files of a folder to a trial's run, register them as a model, call it champion; return its version.

    A trial that is a version already keeps it: its files are the same to the last bit.
    Raises BadInput if MLflow refuses, or does not have the trial.
    """
    run = run_of(uri, sweep, trial)
    with _understood(uri, f"the model {name}"):
        client = _client(uri)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        found = [v.version for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run]
        if not found:
            client.log_artifacts(run, str(folder), CHAMPION)
            source = f"{client.get_run(run).info.artifact_uri}/{CHAMPION}"
            tags = {SWEEP_TAG: sweep, TRIAL_TAG: trial} | dict(tags)
            made = client.create_model_version(name, source, run, {k: str(v) for k, v in tags.items()})
            found = [made.version]
        client.set_registered_model_alias(name, CHAMPION, str(found[0]))
        return str(found[0])


def fetch_model(uri: str, name: str, alias: str, folder: Path) -> dict[str, str]:
    """Download the files of a registered model into a folder; return its version, sweep and trial.

    Raises BadInput if there is no model of this name with this alias, naming those there are.
    """
    check_reachable(uri)
    with _understood(uri, f"the model {name}"):
        client = _client(uri)
        found = client.search_registered_models(f"name = '{name}'")
        if not found:
            known = [model.name for model in client.search_registered_models()]
            raise BadInput(f"unknown model '{name}' in {no_secret(uri)}; {nearest(name, known)}")
        if alias not in found[0].aliases:
            raise BadInput(f"model {name} has no alias '{alias}'; {nearest(alias, found[0].aliases)}")
        version = client.get_model_version_by_alias(name, alias)
        root = f"{client.get_run(version.run_id).info.artifact_uri}/" if version.run_id else ""
        if not root or not version.source.startswith(root):
            raise BadInput(f"model {name}, version {version.version}: its files are not those of a run")
        client.download_artifacts(version.run_id, version.source.removeprefix(root), str(folder))
        told = {name: version.tags.get(tag, "unknown") for name, tag in (("sweep", SWEEP_TAG), ("trial", TRIAL_TAG))}
        return {"version": str(version.version), **told}


# --- once ------------------------------------------------------------------------------------------------------------


def run_states(uri: str, sweep: str) -> dict[int, list[str]]:
    """Return the states of each trial's runs: one run each, where all is well. Raises BadInput."""
    check_reachable(uri)
    mlflow = _quiet_mlflow()
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    states: dict[int, list[str]] = {}
    page = None
    while True:
        runs = client.search_runs(experiments, f"tags.`{SWEEP_TAG}` = '{sweep}'", max_results=1000, page_token=page)
        for run in runs:
            if TRIAL_TAG in run.data.tags:
                states.setdefault(int(run.data.tags[TRIAL_TAG]), []).append(run.info.status)
        page = runs.token
        if not page:
            return states


def record_once(
    uri: str,
    experiment: str,
    name: str,
    tags: Mapping[str, Any],
    series: Mapping[str, Sequence[tuple[int, float]]],
    texts: Mapping[str, str],
    files: Sequence[Path],
) -> str:
    """Record something that is no sweep as one run, at once, and return the run's id.

    series: points (step, value) by metric; those that are no number are left out.
    Raises BadInput if the server refuses it or does not answer.
    """
    check_reachable(uri)
    mlflow = _quiet_mlflow()
    with _understood(uri):
        _make_store(mlflow, uri)
        client = _client(uri)
        place = experiment_id(client, mlflow, experiment, uri)
        run = client.create_run(place, tags={k: str(v) for k, v in tags.items()}, run_name=name).info.run_id
        now = int(time.time() * 1000)
        points = [
            mlflow.entities.Metric(_metric_name(metric), value, now, step)
            for metric, values in series.items()
            for step, value in values
            if math.isfinite(value)
        ]
        for start in range(0, len(points), METRICS_A_BATCH):
            client.log_batch(run, points[start : start + METRICS_A_BATCH])
        for file, text in texts.items():
            client.log_text(run, text, file)
        for path in files:
            client.log_artifact(run, str(path), "figures")
        client.set_terminated(run)
        return run
