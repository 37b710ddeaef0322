"""The MLflow sink: batched, spooled to disk, idempotent, and off the training path. The only file that imports mlflow.

A sweep is a parent run, a trial a child run, each found by its identity tags before it is made. Whatever is to be
recorded is a line of JSON, written to the spool first and sent by one thread; a line sent twice changes nothing.
While the server is away lines wait in the spool, and training goes on. At the end MLflow is asked which runs it has,
and what it lacks is sent again.
"""

import base64
import configparser
import errno
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
import sqlite3
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from espalier.core import cache
from espalier.core.errors import BadInput, nearest
from espalier.sweeps.address import no_secret, sqlite_file, sqlite_url, without_login
from espalier.sweeps.garbage import gc_paused
from espalier.sweeps.home import NO_ROOM, full, naming, write_probe
from espalier.sweeps.recording.spool import Line, Spool

SWEEP_TAG, TRIAL_TAG, STEP_TAG, KIND_TAG = "espalier.sweep", "espalier.trial", "espalier.step", "espalier.kind"
PARENT_TAG, ONCE_TAG = "mlflow.parentRunId", "espalier.record"
VARIABLE, AT_HOME, STORE = "MLFLOW_TRACKING_URI", "home", "mlflow.db"
CHAMPION = "champion"  # the alias of a model's best version, and the folder of its files among the run's artifacts
STORY = "trial.json"  # a child run's artifact: every report, the curve and the ratios of each replicate
SEND_EVERY_S = 1.0
SEND_LATEST_S = 20.0  # the most that a trial's lines wait; less where sending all of them takes less of a core than
SENDING_SHARE = 0.05  # this: MLflow's sqlite takes 10-20 ms a call, and cohorts train on the same cores
RETRY_MOST_S = 30.0
CLOSING_S = 20.0  # how long a sweep that has ended waits for a server that is away
PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, None)  # before a call is repeated whose request or answer was lost
QUICK_S = 2.0  # a call that took longer is not repeated at once: others wait
FAILING = 3  # trials in a row whose records cannot be sent: then the server is away
METRICS_A_BATCH, PARAMS_A_BATCH = 800, 100  # MLflow takes 1000 things a batch, 100 params and 100 tags among them
TEXT_MOST, PARAM_MOST, NAME_MOST = 5000, 6000, 250  # characters that MLflow takes: of a tag, of a param, of names
SQLITE_PATH_MOST = 500  # bytes; sqlite opens no longer paths than 512
LEFT_OUT = "its records cannot be read"
ENDED = ("FINISHED", "FAILED")
T = TypeVar("T")

logger = logging.getLogger(__name__)


def _quiet_mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # not by itself: it would repeat what makes a run, and a lost answer would make two; `_made` looks first
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow.artifacts
    import mlflow.tracking

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints what it raises, 90 lines a time
    return mlflow


# --- what is lost on the way -----------------------------------------------------------------------------------------


class Lost(ConnectionError):
    """An answer that says nothing of what was asked."""


REFUSED = {
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
}


def _refused(error: Exception) -> bool:
    """Whether MLflow has understood a call and does not do it; everything else may be the way to it."""
    return getattr(error, "error_code", None) in REFUSED


def _again(call: Callable[[], T]) -> T:
    """Do what may be done twice, again where the request or its answer was lost."""
    for pause in PAUSES_S:
        begin = time.monotonic()
        try:
            return call()
        except Exception as error:
            if pause is None or _refused(error) or time.monotonic() - begin > QUICK_S:
                raise
            time.sleep(pause)
    raise AssertionError


def _made(make: Callable[[], T], there: Callable[[], T | None]) -> T:
    """Make what must not be there twice. Where the answer was lost, look whether it is there before another try."""
    for pause in PAUSES_S:
        try:
            return make()
        except Exception as error:
            existing = _again(there)
            if existing is not None:
                return existing
            if pause is None or _refused(error):
                raise
            time.sleep(pause)
    raise AssertionError


def _with_id(run: Any) -> Any:
    """Return a run as MLflow answers it. Raises Lost for an answer that names none."""
    if not run.info.run_id:
        raise Lost("MLflow answered without the id of a run")
    return run


# --- where ------------------------------------------------------------------------------------------------------------


def default_uri(home: Path) -> str:
    """Return the store inside a home."""
    return sqlite_url(home.resolve() / STORE)


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


def _make_store(mlflow: Any, uri: str, note: Callable[[str], None], damaged: bool = False) -> None:
    """Make the tables of a new sqlite store whole or not at all: MLflow cannot open one whose making was killed.

    A home's store that cannot be read is kept under another name. damaged: one is known not to be readable.
    """
    store = sqlite_file(uri)
    if store is None or (not damaged and _is_filled(store) and not _damage(store)):
        return
    part = store.with_name(f"{store.name}.part")
    with open(store.with_name(f"{store.name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another sweep may begin in this home
        if store.name == STORE and _is_filled(store) and (damaged or _damage(store)):
            aside = next(p for n in count(1) if not (p := store.with_name(f"{store.name}.damaged-{n}")).exists())
            os.replace(store, aside)
            note(
                f"{store}: {LEFT_OUT}; it is kept as {aside.name}, and a new one has this sweep's; "
                "for those of another: sweep resume ID"
            )
        if not _is_filled(store):
            part.unlink(missing_ok=True)
            _fill(mlflow, part)
            os.replace(part, store)


def _is_filled(store: Path) -> bool:
    return store.exists() and store.stat().st_size > 0


def _damage(store: Path) -> str | None:
    """Return what sqlite says of a file that it cannot read, or that is shorter than it was; None if all is well."""
    try:
        with closing(sqlite3.connect(store, timeout=30)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:  # locked, or not to be opened: nothing is said of what it holds
        return None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def _says_damaged(error: Exception) -> bool:
    return "database disk image is malformed" in str(error) or "file is not a database" in str(error)


def _full(error: Exception, uri: str) -> str | None:
    """Return which file has no room if that is what an error comes from, and what to do; None for other troubles.

    MLflow says so in many ways, so its disk is asked. A server's disk is not this machine's.
    """
    store = sqlite_file(uri)
    if store is not None and not isinstance(error, OSError):
        try:
            write_probe(store.parent)
        except OSError as found:
            error = found
            error.filename = str(store)
        if "database or disk is full" in str(error):
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(store))
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return str(full(error, "continue"))
    return None


def _fill(mlflow: Any, store: Path) -> None:
    """Make the tables of a sqlite store, or copy empty ones: MLflow's migrations take two seconds.

    MLflow's experiment "Default" has its artifacts below the working directory, so each has a copy of its own.
    """
    here = hashlib.sha256(os.getcwd().encode(errors="surrogateescape")).hexdigest()[:16]
    empty = cache.folder("mlflow") / f"{mlflow.version.VERSION}-{here}.db"
    if empty.is_file() and _is_filled(empty) and not _damage(empty):
        with suppress(OSError):
            shutil.copyfile(empty, store)
            return
    mlflow.tracking.MlflowClient(tracking_uri=sqlite_url(store)).search_experiments()
    cache.keep(empty, store.read_bytes())


_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


KNOCKS, KNOCK_AGAIN_S = 6, 0.2


def check_reachable(uri: str, reading: bool = False) -> None:
    """Raise BadInput if a tracking server does not answer or refuses the login, or a store's folder is read-only.

    reading: it may be, if the store is there.
    """
    scheme, colon, _ = uri.partition("://")
    kind, name = scheme.split("+")[0], _source_of(uri)
    instead = f"leave {name} out to record in the home"
    if kind == "sqlite":
        _check_sqlite(uri, name, instead, os.R_OK if reading and _is_there(uri) else os.R_OK | os.W_OK)
    elif not colon or kind not in _PORTS:
        raise BadInput(f"{name}: '{no_secret(uri)}' is no address; write http://HOST:PORT or sqlite:///PATH")
    else:
        for attempt in range(KNOCKS):
            try:
                return _knock(uri, kind, name)
            except BadInput:
                raise
            except (OSError, ValueError, http.client.HTTPException) as error:
                if attempt + 1 < KNOCKS:  # one answer may be lost
                    time.sleep(KNOCK_AGAIN_S)
                    continue
                reason = no_secret(str(getattr(error, "reason", None) or error))
                said = f"{name}: {no_secret(uri)} does not answer ({reason}); start it, or {instead}"
                raise BadInput(said) from error


def _is_there(uri: str) -> bool:
    store = sqlite_file(uri)
    return store is not None and store.is_file()


def _check_sqlite(uri: str, name: str, instead: str, wish: int) -> None:
    """Raise BadInput for a sqlite store that cannot be opened, or written if that is wished for."""
    file = (sqlite_file(uri) or Path(STORE)).absolute()
    if wish & os.W_OK and not os.access(file.parent, os.W_OK):
        raise BadInput(f"{name}: the folder {file.parent} of {uri} cannot be written; {instead}")
    if len(os.fsencode(file)) > SQLITE_PATH_MOST:
        raise BadInput(
            f"{name}: the path of {file.name} has {len(os.fsencode(file)):,} bytes, and sqlite opens none of more than "
            f"{SQLITE_PATH_MOST}; name a home with a shorter path, or an MLflow server: {file}"
        )
    if file.exists() and not file.is_file():
        raise BadInput(f"{name}: {file} is no file; move it away, and the next sweep makes it anew")
    if file.exists() and not os.access(file, wish):
        raise BadInput(f"{name}: {file} cannot be read{' and written' if wish & os.W_OK else ''}; {instead}")
    if file.name != STORE and _is_filled(file) and (damage := _damage(file)):
        raise BadInput(f"{name}: {file} cannot be read ({damage}); {instead}")


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
        on_parent: Callable[[str, str, str], None] = lambda experiment, run, name: None,
        first_wait_s: float = SEND_EVERY_S,
        place: str | None = None,
    ):
        """Begin to record. Raises BadInput for a spool that cannot be opened.

        folder: where the spool lies. on_run: told of each child run (trial, run id).
        on_parent: told of the sweep's own run (experiment id, run id, name of the experiment).
        first_wait_s: how long to gather before the first send, if nobody wakes the recorder before.
        place: the experiment that had the sweep's runs before, by its id, whatever it is called now.
        """
        self.uri, self.sweep, self.experiment, self.place = uri, sweep, experiment, place
        self.notes: list[str] = []  # sentences on what was damaged or lacked, and what was done about it
        self.spool = Spool(folder, self.note)
        self.on_run, self.on_parent = on_run, on_parent
        self.trouble: str | None = None
        self.full: str | None = None  # which file of this machine takes nothing any more, and what to do
        self.lacking: set[int | None] = set()  # trials that MLflow lacked when it was asked last; None: the sweep's run
        self.seconds_sending = 0.0
        self.through: dict[int | None, int] = {}  # trial -> the place behind its last line that has been sent
        self._links: dict[str, str] = {}  # runs that were told of
        self._closing, self._wake = threading.Event(), threading.Event()
        self._busy, self._complete, self._store_damaged = False, False, False
        self._over: Mapping[int, str] = {}
        self._restore: Restore | None = None
        self._advanced = 0.0  # when something was sent last
        self._give_up_s = 0.0
        self._first_wait = first_wait_s
        self._patience = SEND_EVERY_S
        self._sender: _Sender | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sink", daemon=True)
        self._thread.start()

    def note(self, sentence: str) -> None:
        """Keep a sentence that people should read."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def say(self, op: str, **fields: Any) -> None:
        """Record something: sweeps.recording.spool tells what there is, _Sender what it becomes."""
        self.spool.append({"op": op, "time": int(time.time() * 1000), **fields})

    def stories(self, trials: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the stories of trials that have ended: from the spool, else (another machine's) from MLflow.

        Of a trial whose story is in neither there is none.
        """
        return _stories(self.spool, self.uri, self.sweep, trials)

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

    def close(
        self, patience_s: float = 60.0, over: Mapping[int, str] | None = None, restore: "Restore | None" = None
    ) -> bool:
        """Send what waits, ask MLflow for all runs, send again what it lacks, and stop.

        over: trials that have ended, as Optuna knows them. restore: says what is known elsewhere of trials that both
        MLflow and the spool lack. Return whether MLflow has everything; what it has not stays in the spool.
        A server that is away is tried again for CLOSING_S; one that takes what it is sent has `patience_s` for more.
        """
        self._over, self._restore, self._advanced = over or {}, restore, time.monotonic()
        self._give_up_s = min(CLOSING_S, patience_s)
        self._closing.set()
        self._wake.set()
        while self._thread.is_alive() and time.monotonic() - self._advanced < patience_s:
            self._thread.join(0.2)
        self.spool.close()
        lines, _ = self.spool.pending(1)
        refused = self.spool.refusals()
        if refused:
            first = refused[0]
            self.note(
                f"MLflow refuses {len(refused)} part{'s' if len(refused) > 1 else ''} of the records ({first['what']} "
                f"of trial {first['trial']}: {first['why']}); they are listed in {self.spool.refused}"
            )
        elif self.lacking:
            self.note(f"MLflow still lacks records of {_named(self.lacking)}")
        return self._complete and not lines and not refused

    def link(self, key: str, experiment: tuple[str, str], run: str) -> None:
        """Tell of a run, once: of a trial's by its number, of the sweep's own as `parent`."""
        if self._links.get(key) != run:
            self._links[key] = run
            if key == "parent":
                self.place, name = experiment
                self.on_parent(self.place, run, name)
            else:
                self.on_run(int(key), run)

    @property
    def known_runs(self) -> set[str]:
        """The runs that were told of."""
        return set(self._links.values())

    def advance(self) -> None:
        """Note that MLflow has taken something, so that who waits goes on waiting."""
        self._advanced = time.monotonic()

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
                if closing:
                    self._audit()
                self.seconds_sending += time.monotonic() - begin
                self.trouble, self.full, wait = None, None, SEND_EVERY_S
            except Exception as error:  # whatever a server or a network can do: say it, wait, try again
                self._sender = None  # a new one looks up which runs exist: an answer that was lost may have made one
                self._store_damaged = self._store_damaged or _says_damaged(error)
                self.full = _full(error, self.uri)
                self.trouble = no_secret(f"{type(error).__name__}: {error}".splitlines()[0][:300])
                if not self.full:  # the command says so itself
                    logger.warning("recording waits: %s", self.trouble)
                wait = SEND_EVERY_S if closing else min(RETRY_MOST_S, wait * 2)
                if closing and time.monotonic() - self._advanced > self._give_up_s:
                    return
            else:
                if closing:
                    return
            self._busy = False

    def _make_sender(self) -> "_Sender":
        self._sender = _Sender(self, self._store_damaged)
        self._store_damaged = False
        return self._sender

    def _send(self, everything: bool) -> None:
        """Send what is due: everything said so far, or what `_due` tells; of what is said meanwhile the latter.

        After a crash, what was sent before older lines is sent again, which changes nothing.
        """
        asked = self.spool.path.stat().st_size if everything else 0
        lines, place = self.spool.pending()
        while lines:
            fresh = self._unsent(lines)
            due = self._due(fresh, asked)
            if due:
                sender = self._sender
                if sender is None or sender.replaced():
                    sender = self._make_sender()
                begin = time.monotonic()
                sender.send(due)
                took = (time.monotonic() - begin) / len(_trials_of(due) or "-") * len(_trials_of(fresh))
                self._patience = min(SEND_LATEST_S, max(SEND_EVERY_S, took / SENDING_SHARE))
            waiting = [line["at"] for line in self._unsent(fresh)]
            self.spool.done(min(waiting, default=place))
            if waiting:
                return
            lines, place = self.spool.pending()

    def _unsent(self, lines: Sequence[Line]) -> list[Line]:
        return [line for line in lines if line["at"] >= self.through.get(line.get("trial"), 0)]

    def _due(self, lines: list[Line], asked: int) -> list[Line]:
        """Return the lines of trials that have ended, have waited long, or have one before the place that is asked for.

        One call for many lines costs as for one. The sweep's own lines do not wait, nor do others beside them.
        """
        late = time.time() * 1000 - self._patience * 1000
        due = {line.get("trial") for line in lines if line["op"] == "end" or line["time"] < late or line["at"] < asked}
        return lines if any("trial" not in line for line in lines) else [line for line in lines if line["trial"] in due]

    # --- the audit ---------------------------------------------------------------------------------------------------

    def _audit(self) -> None:
        """Ask MLflow for all runs of the sweep. What it lacks is sent again, or restored, and it is asked again."""
        self._complete = False
        if not (self.spool.begun or self.spool.own or self._over):
            self._complete = True
            return
        for mend in (self._send_again, self._restore_lost, None):
            sender = self._make_sender()
            self.lacking = sender.lacking(self._over)
            wanted = self.lacking | {int(entry["trial"]) for entry in self.spool.refusals() if entry["trial"].isdigit()}
            if mend is None or not wanted:
                break
            mend(sender, wanted)
        sender.end_running()
        self._complete = not self.lacking

    def _send_again(self, sender: "_Sender", wanted: set[int | None]) -> None:
        """Send all lines that the spool has of some trials."""
        lines = self.spool.of(wanted)
        if self.lacking and lines:
            self.note(f"MLflow lacked records of {_named(self.lacking)}; they were sent again from {self.spool.path}")
        self.spool.forget_refusals()
        sender.forget(wanted)
        sender.send(lines)

    def _restore_lost(self, sender: "_Sender", wanted: set[int | None]) -> None:
        """Have that said again which is known elsewhere of trials that neither MLflow nor the spool has."""
        if self._restore and self.lacking:
            self._restore(self.lacking)
            sender.send(self._unsent(self.spool.pending(10**9)[0]))
            self.spool.done(self.spool.path.stat().st_size)


Restore = Callable[[Collection[int | None]], None]
"""Says again what is known of trials; None stands for the sweep itself."""


def _named(trials: Collection[int | None]) -> str:
    """Return how trials are called in a sentence.

    >>> _named({3, None}), _named(set(range(2000)))
    ('trial 3 and the sweep itself', 'trials 0, 1, 2 and 1997 more')
    """
    numbers = sorted(t for t in trials if t is not None)
    shown = ", ".join(map(str, numbers[:3])) + (f" and {len(numbers) - 3} more" if len(numbers) > 3 else "")
    parts = ([f"trial{'s' if len(numbers) > 1 else ''} {shown}"] if numbers else []) + ["the sweep itself"] * (
        None in trials
    )
    return " and ".join(parts)


def spooled_stories(spool: Spool, trials: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return the stories of trials that have ended, as far as a spool has them."""
    ends = (line for line in spool.said("end") if line["trial"] in trials and STORY in line["texts"])
    return {line["trial"]: json.loads(line["texts"][STORY]) for line in ends}


def _trials_of(lines: Sequence[Line]) -> set[int]:
    return {line["trial"] for line in lines if "trial" in line}


def stories_of(folder: Path, uri: str, sweep: str, trials: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return the stories of trials that have ended: from a sweep's folder, of those that it lacks from MLflow."""
    if not (folder / "spool.jsonl").is_file():
        return _stories(None, uri, sweep, trials)
    with closing(Spool(folder)) as spool:
        return _stories(spool, uri, sweep, trials)


def _stories(spool: Spool | None, uri: str, sweep: str, trials: Collection[int]) -> dict[int, dict[str, Any]]:
    found = spooled_stories(spool, trials) if spool else {}
    for trial in (t for t in trials if t not in found):
        with suppress(BadInput):
            found[trial] = read_trial(uri, sweep, trial)
    return found


def spooled_story(folder: Path, trial: int) -> dict[str, Any] | None:
    """Return the story of a trial as a sweep's folder has it, None where it does not."""
    if not (folder / "spool.jsonl").is_file():
        return None
    with closing(Spool(folder)) as spool:
        return spooled_stories(spool, [trial]).get(trial)


def experiments_of(client: Any, name: str) -> tuple[list[Any], str]:
    """Return the experiments NAME, NAME-2, ... that can be written, and the first of these names that is free.

    A deleted experiment keeps its name and takes no runs, so its place is taken by NAME-2, and so on.
    """
    active: list[Any] = []
    for number in count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        found = _again(partial(client.get_experiment_by_name, candidate))
        if found is None:
            return active, candidate
        if not found.experiment_id or found.name != candidate:
            raise Lost(f"MLflow answered without the experiment {candidate}")
        if found.lifecycle_stage == "active":
            active.append(found)
    raise AssertionError


def experiment_of(client: Any, name: str, uri: str, note: Callable[[str], None]) -> tuple[str, str]:
    """Return id and name of the experiment for a name, made if it is new; a home's store has its artifacts beside it.

    note: told if the name is that of a deleted experiment, and another one is taken.
    """
    active, free = experiments_of(client, name)
    if (place := active[0].name if active else free) != name:
        note(f"the experiment {name} was deleted in MLflow, which takes no runs there; recorded in experiment {place}")
    if active:
        return active[0].experiment_id, active[0].name
    store = sqlite_file(uri)
    folder = None if store is None else (store.absolute().parent / "mlartifacts" / free).as_uri()

    def make() -> str:
        made = client.create_experiment(free, artifact_location=folder)
        if not made:
            raise Lost("MLflow answered without the id of an experiment")
        return made

    def there() -> str | None:
        found = client.get_experiment_by_name(free)
        return found.experiment_id if found is not None and found.lifecycle_stage == "active" else None

    return _made(make, there), free


def _all_runs(client: Any, experiments: Sequence[str], wanted: str) -> Iterator[Any]:
    """Yield the runs of a filter, page by page."""
    token = None
    while True:
        page = _again(partial(client.search_runs, experiments, wanted, max_results=1000, page_token=token))
        yield from page
        token = page.token
        if not token:
            return


class _Sender:
    """Turns lines into MLflow calls: few, wide, and safe to repeat. It begins by asking which runs there are."""

    def __init__(self, recorder: Recorder, store_damaged: bool = False):
        self.recorder, self.uri, self.sweep = recorder, recorder.uri, recorder.sweep
        with gc_paused():
            self.mlflow = _quiet_mlflow()
            _make_store(self.mlflow, self.uri, recorder.note, store_damaged)
            self.store = _inode(self.uri)
            self.client = _client(self.uri)
        self.experiment = "", ""  # its id and its name
        self.runs: dict[str, str] = {}
        self.folders: dict[str, str] = {}  # run -> where its artifacts lie
        self.made: set[str] = set()  # which of them are new
        self.steps: dict[str, float] = {}
        self.states: dict[str, str] = {}  # as they were when it was asked
        self.parents: dict[str, str] = {}
        self.ended: set[str] = set()  # runs whose last values are there
        self.opened = False
        self.described: set[str] = set()  # trials whose runs have params
        self._find_runs()

    @property
    def experiment_id(self) -> str:
        """The id of the experiment that has the sweep's runs."""
        return self.experiment[0]

    def replaced(self) -> bool:
        """Whether the store is another file than it was."""
        return self.store != _inode(self.uri)

    def _find_runs(self) -> None:
        """Take over the runs that are there, of each trial one.

        A second one was made by a request that was taken for lost and came late, or lies in an experiment that was
        deleted, so that the sweep went on in another, and then restored.
        """
        by_key: dict[str, list[Any]] = {}
        for run in self._runs_of_sweep():
            by_key.setdefault(run.data.tags.get(TRIAL_TAG, "parent"), []).append(run)
        for key, runs in by_key.items():
            runs.sort(
                key=lambda run: (self._is_elsewhere(run), -_step_of(run), -len(run.data.params), run.info.start_time)
            )
            if self._is_elsewhere(runs[0]):  # until there is one here
                continue
            self._take(key, runs[0])
            for double in runs[1:]:
                self._delete(key, double.info.run_id)

    def _is_elsewhere(self, run: Any) -> bool:
        return run.info.experiment_id != self.experiment_id

    def _runs_of_sweep(self) -> list[Any]:
        """Return the sweep's runs in all experiments that it may be in, and settle on the one that has most of them."""
        places = self._places()
        wanted = f"tags.`{SWEEP_TAG}` = '{self.sweep}'"
        runs = list(_all_runs(self.client, [*places], wanted)) if places else []
        if places and not self.recorder.known_runs <= {run.info.run_id for run in runs}:
            runs = list(_all_runs(self.client, [*places], wanted))  # deleted, or the answer was none
        counts = Counter(run.info.experiment_id for run in runs)
        name, before = self.recorder.experiment, self.recorder.place
        if not counts:
            self.experiment = experiment_of(self.client, name, self.uri, self.recorder.note)
            return []
        most = max(counts, key=lambda place: (counts[place], place == before))
        self.experiment = most, (here := places[most])
        if here != name:
            self.recorder.note(f"recorded in experiment {here}, not in {name}: the sweep's runs are there")
        return runs

    def _places(self) -> dict[str, str]:
        """Return the experiments that may have runs of the sweep, id -> name: those of its name, and where it was."""
        found = {e.experiment_id: e.name for e in experiments_of(self.client, self.recorder.experiment)[0]}
        before = self.recorder.place
        if before and before not in found:  # renamed, or deleted, or of another server
            try:
                experiment = _again(partial(self.client.get_experiment, before))
            except self.mlflow.exceptions.MlflowException as error:
                if not _refused(error):
                    raise
            else:
                if experiment.lifecycle_stage == "active":
                    found[before] = experiment.name
        return found

    def _delete(self, key: str, run: str) -> None:
        try:
            _again(partial(self.client.delete_run, run))
        except self.mlflow.exceptions.MlflowException as error:
            if not _refused(error):
                raise
            self.recorder.note(f"trial {key} has a second run {run} in MLflow, which may not be deleted: {error}")

    def _take(self, key: str, run: Any) -> None:
        """Take over a run that is there."""
        name = run.info.run_id
        self.runs[key], self.folders[name] = name, run.info.artifact_uri
        self.steps[key], self.states[key] = _step_of(run), run.info.status
        if key == "parent":
            self.opened = bool(run.data.params)
            if run.data.metrics:
                self.ended.add(key)
        else:
            self.parents[key] = run.data.tags.get(PARENT_TAG, "")
            if run.data.params:
                self.described.add(key)
        self.recorder.link(key, self.experiment, name)  # a trial that goes on after a crash does not start again

    def lacking(self, over: Mapping[int, str]) -> set[int | None]:
        """Return the trials whose runs are not there as the spool and Optuna have them; None: the sweep's own run."""
        spool, parent = self.recorder.spool, self.runs.get("parent", "")
        lost: set[int | None] = set()
        for trial in spool.begun | over.keys():
            key = str(trial)
            ends = trial in over or trial in spool.ended
            if (
                key not in self.runs
                or (ends and self.states[key] not in ENDED)
                or self.steps[key] < spool.reached.get(trial, -1)
                or self.parents[key] != parent
                or (trial in over and key not in self.described)
            ):
                lost.add(trial)
        opens = bool(over) or any(line["op"] == "open" and line["params"] for line in spool.own)
        closes = bool(spool.own) and spool.own[-1]["op"] == "close"
        if not parent or (opens and not self.opened) or (closes and self.states["parent"] not in ENDED):
            lost.add(None)
        return lost

    def forget(self, trials: Collection[int | None]) -> None:
        """Take nothing for recorded of some trials."""
        for trial in trials:
            self.steps.pop("parent" if trial is None else str(trial), None)

    def end_running(self) -> None:
        """Leave no run RUNNING when nobody is there to go on with it."""
        for key, run in self.runs.items():
            if self.states.get(key) == "RUNNING":
                _again(partial(self.client.set_terminated, run, "KILLED"))

    def send(self, lines: Sequence[Line]) -> None:
        """Carry out lines: the sweep's own in their order, and between two of them all of a trial's at once."""
        gathered: dict[str, list[Line]] = {}
        for line in lines:
            if "trial" in line:
                gathered.setdefault(str(line["trial"]), []).append(line)
            else:
                self._trials(gathered)
                getattr(self, f"_do_{line['op']}")(line)
                self._sent(None, line)
        self._trials(gathered)

    def _sent(self, trial: int | None, line: Line) -> None:
        self.recorder.through[trial] = max(line["at"] + 1, self.recorder.through.get(trial, 0))
        self.recorder.advance()

    def _trials(self, gathered: dict[str, list[Line]]) -> None:
        """Carry out what was gathered: first the runs of all trials that began, since others wait for their names.

        A trial whose records cannot be sent does not hold up the others.
        """
        begun, spool = (
            {key: lines[0]["at"] for key, lines in gathered.items() if key not in self.runs},
            self.recorder.spool,
        )
        if gone := {int(key) for key, place in begun.items() if spool.first.get(int(key), place) < place}:
            for key in map(str, gone):  # somebody deleted the run that had the first lines: the new one gets all
                gathered[key] = []
            for line in spool.of(gone):
                gathered[str(line["trial"])].append(line)
        failures: list[Exception] = []
        work = [(key, lines, True) for key, lines in gathered.items()]
        work += [(key, lines, False) for key, lines in gathered.items()]
        for key, lines, begins in work:
            try:
                if begins:
                    self._begin(key, lines)
                else:
                    if key in self.runs:  # else nothing says that it began, but that would be in a line that was lost
                        self._trial(key, lines)
                    self._sent(int(key), lines[-1])
            except Exception as error:
                failures.append(error)
                if len(failures) == FAILING:
                    break
        gathered.clear()
        if failures:
            raise failures[0]

    # --- a sweep -----------------------------------------------------------------------------------------------------

    def _do_open(self, line: Line) -> None:
        """The sweep begins, or goes on: tags, params and text artifacts of the parent run."""
        run = self._run_of("parent", line["name"], line["tags"], line["time"])
        if "parent" not in self.made:
            _again(partial(self.client.update_run, run, status="RUNNING"))
        self._log("parent", params=line["params"], tags=line["tags"])
        self._texts(run, line["texts"])

    def _do_pause(self, line: Line) -> None:
        """The sweep is interrupted: none of its runs stays RUNNING."""
        running = f"tags.`{SWEEP_TAG}` = '{self.sweep}' and attributes.status = 'RUNNING'"
        for run in list(_all_runs(self.client, [self.experiment_id], running)):
            _again(partial(self.client.set_terminated, run.info.run_id, "KILLED", line["time"]))

    def _do_close(self, line: Line) -> None:
        """The sweep ends: the parent's last values, artifacts (texts, and files by path) and status."""
        run = self._run_of("parent", self.sweep, {}, line["time"])
        self._log("parent", self._last_points("parent", line), tags=line["tags"])
        self._texts(run, line["texts"])
        for path in line["files"]:
            if Path(path).exists():
                _again(partial(self.client.log_artifact, run, path, "figures"))
        _again(partial(self.client.set_terminated, run, line["status"], line["time"]))

    # --- a trial: its start, tags, reports, end ----------------------------------------------------------------------

    def _begin(self, key: str, lines: Sequence[Line]) -> None:
        begins = ("start",) if key in self.runs else ("start", "end")
        line = next((line for line in lines if line["op"] in begins), None)
        if line is None:
            return
        parent = self._run_of("parent", self.sweep, {}, line["time"])
        tags = {TRIAL_TAG: key, PARENT_TAG: parent} | (line["tags"] if line["op"] == "start" else {})
        self._run_of(key, line["name"], tags, line["time"])

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
                texts, state = line["texts"], line
        if step > self.steps.get(key, -1):
            tags[STEP_TAG] = str(step)
        if (parent := self.runs.get("parent", "")) != self.parents.get(key, parent):
            tags[PARENT_TAG] = parent  # somebody deleted the run below which it was
        self._log(key, points, params, tags)
        self.steps[key] = step
        self._texts(run, texts)
        if state and state["op"] == "end":
            _again(partial(self.client.set_terminated, run, state["status"], state["time"]))
        elif state and key not in self.made:
            _again(partial(self.client.update_run, run, status="RUNNING"))

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
                with naming(file):
                    file.write_text(text, encoding="utf-8")
            else:
                _again(partial(self.client.log_text, run, text, name))

    def _run_of(self, key: str, name: str, tags: Mapping[str, str], time_ms: int) -> str:
        if key not in self.runs:
            own = {TRIAL_TAG: key} if key != "parent" else {KIND_TAG: "sweep"}
            tagged = {SWEEP_TAG: self.sweep, **own, **{k: str(v)[:TEXT_MOST] for k, v in tags.items()}}
            identity = " and ".join(f"tags.`{k}` = '{v}'" for k, v in ({SWEEP_TAG: self.sweep} | own).items())
            run = _made(
                lambda: _with_id(self.client.create_run(self.experiment_id, time_ms, tagged, name)),
                lambda: next(iter(self.client.search_runs([self.experiment_id], identity, max_results=1)), None),
            )
            self.runs[key] = run.info.run_id
            self.folders[run.info.run_id] = run.info.artifact_uri
            self.made.add(key)
            self.recorder.link(key, self.experiment, run.info.run_id)
        return self.runs[key]

    def _log(
        self, key: str, points: Sequence[Any] = (), params: Mapping[str, Any] | None = None, tags: Any = None
    ) -> None:
        """Log values in as few batches as MLflow's limits allow, tags with the last: it writes metrics before tags.

        A point that is there already is there once, so a crash in between loses nothing. Of a batch that is refused
        for one of its parts the others are logged one by one, and that part is noted as refused.
        """
        entities = self.mlflow.entities
        texts = {k[:NAME_MOST]: v if isinstance(v, str) else json.dumps(v) for k, v in (params or {}).items()}
        some = [entities.Param(k, v[:PARAM_MOST]) for k, v in texts.items()]
        tagged = [entities.RunTag(k, str(v)[:TEXT_MOST]) for k, v in (tags or {}).items()]
        batches = list(
            zip_longest(
                (points[i : i + METRICS_A_BATCH] for i in range(0, len(points), METRICS_A_BATCH)),
                (some[i : i + PARAMS_A_BATCH] for i in range(0, len(some), PARAMS_A_BATCH)),
                fillvalue=(),
            )
        ) or [((), ())] * bool(tagged)
        for number, (metrics, values) in enumerate(batches, 1):
            last = tagged if number == len(batches) else []
            try:
                _again(partial(self.client.log_batch, self.runs[key], metrics, values, last))
            except self.mlflow.exceptions.MlflowException as error:
                if not _refused(error) or not self._is_active(self.runs[key]):
                    raise
                self._log_apart(key, metrics, values, last)

    def _is_active(self, run: str) -> bool:
        """Whether a run is there, and not deleted: then a refusal is one of what it was to be given."""
        return _again(partial(self.client.get_run, run)).info.lifecycle_stage == "active"

    def _log_apart(self, key: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        """Log the parts of a refused batch one by one; what is refused again is noted as such."""
        names = sorted({metric.key for metric in metrics})
        parts = [(f"metric {name}", {"metrics": [m for m in metrics if m.key == name]}) for name in names]
        parts += [(f"param {param.key}", {"params": [param]}) for param in params]
        parts += [(f"tag {tag.key}", {"tags": [tag]}) for tag in tags]
        for what, part in parts:
            try:
                _again(partial(self.client.log_batch, self.runs[key], **part))
            except self.mlflow.exceptions.MlflowException as error:
                if not _refused(error):
                    raise
                self.recorder.spool.refuse(key, what[:100], str(error).split("\n")[0][:300])


def _step_of(run: Any) -> float:
    return float(run.data.tags.get(STEP_TAG, -1))


# --- reading ----------------------------------------------------------------------------------------------------------


def read_trial(uri: str, sweep: str, trial: int) -> dict[str, Any]:
    """Return the story of a trial from its run. Raises BadInput if MLflow does not have it."""
    run = run_of(uri, sweep, trial)
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = _again(partial(_client(uri).get_run, run)).info.artifact_uri
            file = _download_file(uri, f"{place}/{STORY}", folder)
            return json.loads(Path(file).read_text())
        except Exception as error:
            said = str(error).split("\n")[0]
            raise BadInput(f"trial {trial} of {sweep} has no artifact {STORY} in {no_secret(uri)}: {said}") from error


def run_of(uri: str, sweep: str, trial: int) -> str:
    """Return the id of a trial's run. Raises BadInput if MLflow does not have it."""
    store = sqlite_file(uri)
    if store is not None and not _is_filled(store):
        raise BadInput(f"{store} is not there; record the sweep again: sweep resume {sweep}")
    with _understood(uri):
        client = _client(uri)
        tags = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{TRIAL_TAG}` = '{trial}'"
        runs = _again(lambda: client.search_runs(_experiments(client), tags, max_results=1))
    if not runs:
        raise BadInput(
            f"trial {trial} of {sweep} has no run in {no_secret(uri)}; record it again: sweep resume {sweep}"
        )
    return runs[0].info.run_id


def _experiments(client: Any) -> list[str]:
    """Return the ids of all experiments that are not deleted."""
    found, token = [], None
    while True:
        page = _again(partial(client.search_experiments, page_token=token))
        found += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return found


_inodes: dict[str, tuple[int, int]] = {}  # of each store: its file when it was opened last, and how often that changed


def _inode(uri: str) -> int:
    """Return which file a store is now; 0 where there is none, or no file."""
    store = sqlite_file(uri)
    return store.stat().st_ino if store is not None and store.exists() else 0


def _client(uri: str) -> Any:
    """Return a client. MLflow keeps connections by address, and those of a deleted file go on writing to it: so a file
    that came in the place of another has the same address with one slash more.
    """
    now = _inode(uri)
    before, changes = _inodes.get(uri, (now, 0))
    changes += before != now
    _inodes[uri] = now, changes
    if changes:
        scheme, _, rest = uri.partition(":///")
        uri = f"{scheme}:///{('/' if rest.startswith('/') else './') * changes}{rest}"
    return _quiet_mlflow().tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _understood(uri: str, what: str = "the record") -> Iterator[None]:
    """Turn what MLflow or the way to it says into BadInput."""
    from sqlalchemy.exc import SQLAlchemyError

    exceptions = _quiet_mlflow().exceptions
    try:
        yield
    except (exceptions.MlflowException, OSError, SQLAlchemyError) as error:
        said = str(error).split("\n")[0]
        hint = "; sweep resume ID sets the file aside and records that sweep again" if _says_damaged(error) else ""
        raise BadInput(f"{_source_of(uri)}: {no_secret(uri)} refuses {what}: {no_secret(said)}{hint}") from error


# --- models ----------------------------------------------------------------------------------------------------------


def register(uri: str, name: str, sweep: str, trial: int, folder: Path, tags: Mapping[str, Any]) -> str:
    """Log the files of a folder to a trial's run, register them as a model, call it champion; return its version.

    A trial that is a version already keeps it: its files are the same to the last bit.
    Raises BadInput if MLflow refuses, or does not have the trial.
    """
    run = run_of(uri, sweep, trial)
    with _understood(uri, f"the model {name}"):
        client = _client(uri)

        def model() -> Any:
            return next(iter(client.search_registered_models(f"name = '{name}'")), None)

        def version() -> str | None:
            found = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run]
            found.sort(key=lambda v: int(v.version))
            for double in (v for v in found[1:] if v.source == found[0].source):  # of a late request, taken for lost
                client.delete_model_version(name, str(double.version))
            return str(found[0].version) if found else None

        def make_version() -> str:
            source = f"{_again(partial(client.get_run, run)).info.artifact_uri}/{CHAMPION}"
            told = {k: str(v) for k, v in ({SWEEP_TAG: sweep, TRIAL_TAG: trial} | dict(tags)).items()}
            made = client.create_model_version(name, source, run, told)
            if not made.version:
                raise Lost("MLflow answered without the version of a model")
            return str(made.version)

        if _again(model) is None:
            _made(lambda: client.create_registered_model(name), model)
        number = _again(version)
        if number is None:
            for file in sorted(folder.iterdir()):
                _again(partial(client.log_artifact, run, str(file), CHAMPION))
            number = _made(make_version, version)
            number = _again(version) or number  # another may have come late meanwhile
        _again(lambda: client.set_registered_model_alias(name, CHAMPION, number))
        return number


def fetch_model(uri: str, name: str, alias: str, folder: Path) -> dict[str, str]:
    """Download the files of a registered model into a folder; return its version, sweep and trial.

    Raises BadInput if there is no model of this name with this alias, naming those there are.
    """
    check_reachable(uri)
    with _understood(uri, f"the model {name}"):
        client = _client(uri)
        found = _again(lambda: client.search_registered_models(f"name = '{name}'"))
        if not found:
            known = [model.name for model in _again(client.search_registered_models)]
            raise BadInput(f"unknown model '{name}' in {no_secret(uri)}; {nearest(name, known)}")
        if alias not in found[0].aliases:
            raise BadInput(f"model {name} has no alias '{alias}'; {nearest(alias, found[0].aliases)}")
        version = _again(lambda: client.get_model_version_by_alias(name, alias))
        root = f"{_again(lambda: client.get_run(version.run_id)).info.artifact_uri}/" if version.run_id else ""
        if not root or not version.source.startswith(root) or ".." in version.source.split("/"):
            raise BadInput(f"model {name}, version {version.version}: its files are not those of a run")
        _download(uri, version.source, folder)
        told = {name: version.tags.get(tag, "unknown") for name, tag in (("sweep", SWEEP_TAG), ("trial", TRIAL_TAG))}
        return {"version": str(version.version), **told}


def _download(uri: str, place: str, folder: Path | str) -> None:
    """Download a folder of a run's artifacts file by file: what is lost on the way is one file."""
    artifacts = _quiet_mlflow().artifacts

    def files() -> list[Any]:
        found = artifacts.list_artifacts(artifact_uri=place, tracking_uri=uri)
        if not found:
            raise Lost(f"MLflow answered without the files of {place}")
        return found

    for item in _again(files):
        inside = f"{place}/{item.path.rpartition('/')[2]}"
        if item.is_dir:
            _download(uri, inside, folder)
        else:
            _download_file(uri, inside, folder)


def _download_file(uri: str, place: str, folder: Path | str) -> str:
    """Download an artifact by its address: by its run, MLflow takes a lost answer for no artifact. Return its path."""
    download = _quiet_mlflow().artifacts.download_artifacts
    return _again(lambda: download(artifact_uri=place, dst_path=str(folder), tracking_uri=uri))


# --- once ------------------------------------------------------------------------------------------------------------


def run_states(uri: str, sweep: str) -> dict[int, list[str]]:
    """Return the states of each trial's runs: one run each, where all is well. Raises BadInput."""
    check_reachable(uri)
    states: dict[int, list[str]] = {}
    with _understood(uri):
        client = _client(uri)
        for run in _all_runs(client, _experiments(client), f"tags.`{SWEEP_TAG}` = '{sweep}'"):
            if TRIAL_TAG in run.data.tags:
                states.setdefault(int(run.data.tags[TRIAL_TAG]), []).append(run.info.status)
    return states


def checks_of(name: str) -> str:
    """Return the experiment of what is no sweep of a name: checks and range tests.

    >>> checks_of("names")
    'names-checks'
    """
    return f"{name}-checks"


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
        _make_store(mlflow, uri, logger.warning)
        client = _client(uri)
        place, _ = experiment_of(client, experiment, uri, logger.warning)
        tagged = {ONCE_TAG: uuid.uuid4().hex, **{k: str(v) for k, v in tags.items()}}  # by which a lost answer is found
        identity = f"tags.`{ONCE_TAG}` = '{tagged[ONCE_TAG]}'"
        made = _made(
            lambda: _with_id(client.create_run(place, tags=tagged, run_name=name)),
            lambda: next(iter(client.search_runs([place], identity, max_results=1)), None),
        )
        run, now = made.info.run_id, int(time.time() * 1000)
        points = [
            mlflow.entities.Metric(_metric_name(metric), value, now, step)
            for metric, values in series.items()
            for step, value in values
            if math.isfinite(value)
        ]
        for start in range(0, len(points), METRICS_A_BATCH):
            _again(partial(client.log_batch, run, points[start : start + METRICS_A_BATCH]))
        for file, text in texts.items():
            _again(partial(client.log_text, run, text, file))
        for path in files:
            _again(partial(client.log_artifact, run, str(path), "figures"))
        _again(partial(client.set_terminated, run))
        return run
