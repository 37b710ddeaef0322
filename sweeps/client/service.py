"""HTTP requests to a sweep service: the only file that sends them.

Its address and token come from an option, else from $SWEEP_SERVER and $SWEEP_TOKEN, else from `server` and `token` in
$SWEEP_CONFIG (default: ~/.config/espalier/config.yaml).
"""

import json
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from espalier.core.errors import BadInput, brief
from espalier.sweeps.client.answers import EnqueuedAnswer, SubmittedAnswer, SweepAnswer, TracesAnswer, TrialAnswer
from espalier.sweeps.spec import yaml12

TIMEOUT_S = 30.0
EXPORT_TIMEOUT_S = 330.0  # the service may take 300 to write it
STREAM_TIMEOUT = httpx.Timeout(TIMEOUT_S, read=60.0)  # the service sends something every 15 seconds
BUSY = (429, 502, 503, 504)  # statuses of temporary failures
RETRIES = 5  # retries of requests that may be repeated: reads, and submissions with an idempotency key
AWAY_S = 180.0  # how long a stream waits for a service that has answered before, as while it is redeployed


def config_path() -> Path:
    """Return the path of the config file, which need not exist."""
    return Path(os.environ.get("SWEEP_CONFIG") or "~/.config/espalier/config.yaml").expanduser()


def config() -> dict[str, str]:
    """Return the fields of the config file. Raises BadInput if it cannot be read."""
    place = config_path()
    if not place.exists():
        return {}
    try:
        fields = yaml12.read(place.read_text(encoding="utf-8"), str(place)) or {}
    except BadInput:
        raise
    except (OSError, ValueError) as error:
        raise BadInput(f"{place}: cannot be read: {error}") from error
    if not isinstance(fields, dict) or set(fields) - {"server", "token"}:
        raise BadInput(f"{place}: it has two fields, server and token")
    for name, value in fields.items():
        if not isinstance(value, str):
            raise BadInput(f"{place}: {name}: {brief(value)} is no text; put it in quotes")
    return fields


def server_of(option: str | None) -> str | None:
    """Return the service's address, if there is one."""
    return option or os.environ.get("SWEEP_SERVER") or config().get("server")


class Remote:
    """The service, with a method for each request. All raise BadInput with the service's own reason."""

    def __init__(self, server: str):
        if not server.startswith(("http://", "https://")):
            raise BadInput(f"--server {server}: write http://HOST:PORT, or https://HOST")
        self.server = server.rstrip("/")
        token = os.environ.get("SWEEP_TOKEN") or config().get("token", "")
        if not token.isascii() or any(c.isspace() for c in token):
            raise BadInput(
                "SWEEP_TOKEN: a token has neither spaces nor foreign letters; `sweep token create` makes one"
            )
        sent = "; SWEEP_TOKEN has it" if os.environ.get("SWEEP_TOKEN") else f"; {config_path()} has it"
        self._token_hint = sent if token else "; set SWEEP_TOKEN"
        self.client = httpx.Client(
            base_url=self.server,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_S,
            trust_env=True,
        )
        weakref.finalize(self, self.client.close)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, retries: int = RETRIES, passing: tuple[int, ...] = (), **more: Any
    ) -> httpx.Response:
        for attempt in range(retries + 1):
            answer = None
            try:
                answer = self.client.request(method, path, **more)
            except httpx.HTTPError as error:
                if attempt == retries:
                    raise self._silent(error) from error
            else:
                if answer.status_code in passing:
                    return answer
                if answer.status_code not in BUSY or attempt == retries:
                    return self._checked(answer)
            time.sleep(_pause_s(attempt, answer))
        raise AssertionError("unreachable")

    def _silent(self, error: Exception) -> BadInput:
        reason = str(error) or type(error).__name__
        return BadInput(f"--server {self.server}: no service answers there ({reason}); `sweep serve` starts one")

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = f"it answered {answer.status_code} {answer.reason_phrase}; is it a sweep service?"
        hint = self._token_hint if answer.status_code == 401 else ""
        raise BadInput(f"{self.server}: {detail}{hint}")

    def _json(self, method: str, path: str, **more: Any) -> Any:
        answer = self._ask(method, path, **more)
        try:
            return answer.json()
        except ValueError as error:
            raise BadInput(f"--server {self.server}: the answer is no JSON; is it a sweep service?") from error

    # --- sweeps -----------------------------------------------------------------------------------------------------

    def submit(
        self, spec: Mapping[str, object], archive: bytes | None, hours: float | None, key: str
    ) -> SubmittedAnswer:
        """Submit a sweep. Submissions with the same key are idempotent, so that a lost answer can be retried."""
        files: dict[str, tuple[str, str | bytes, str]]
        files = {"spec": ("spec.json", json.dumps(dict(spec)), "application/json")}
        if archive is not None:
            files["archive"] = ("code.zip", archive, "application/zip")
        data = {} if hours is None else {"hours": f"{hours!r}"}
        return self._json("POST", "/v1/sweeps", files=files, data=data, headers={"Idempotency-Key": key})

    def sweeps(self, state: str | None = None) -> Iterator[SweepAnswer]:
        """Yield all sweeps visible to this token, the newest first."""
        before: dict[str, int] = {}
        while True:
            page = self._json("GET", "/v1/sweeps", params=({"state": state} if state else {}) | before | {"limit": 200})
            yield from page["sweeps"]
            if page["next"] is None:
                return
            before = {"before": page["next"]}

    def find(self, wanted: str) -> str:
        """Return the id of a sweep: the id itself, or the newest whose spec has that name."""
        answer = self._ask("GET", f"/v1/sweeps/{self._name(wanted)}", passing=(404,))
        if answer.is_success:
            return wanted
        named = self._json("GET", "/v1/sweeps", params={"name": wanted, "limit": 1})["sweeps"]
        return named[0]["id"] if named else wanted

    def sweep(self, sweep: str) -> SweepAnswer:
        """Return one sweep."""
        return self._json("GET", f"/v1/sweeps/{self._name(sweep)}")

    def page(self, sweep: str) -> str:
        """Return the address at which a browser shows one sweep."""
        return f"{self.server}/#/sweeps/{sweep}"

    def spec(self, sweep: str) -> dict[str, object]:
        """Return the spec of a sweep, as submitted."""
        return self._json("GET", f"/v1/sweeps/{self._name(sweep)}/spec")

    def curves(self, sweep: str, metric: str) -> list[tuple[int, int, float]]:
        """Return (trial, step, value) of every report of a metric."""
        answer = self._json("GET", f"/v1/sweeps/{self._name(sweep)}/curves", params={"metric": metric})
        return [(point["trial"], point["step"], point["value"]) for point in answer["points"]]

    def traces(self, sweep: str) -> TracesAnswer | None:
        """Return what was recorded of each trial's training; None of a sweep that has not begun.

        None also from a service of an earlier version.
        """
        answer = self._ask("GET", f"/v1/sweeps/{self._name(sweep)}/traces", passing=(404, 409))
        return answer.json() if answer.is_success else None

    def trials(self, sweep: str) -> list[TrialAnswer]:
        """Return all trials of a sweep."""
        trials: list[TrialAnswer] = []
        while True:
            page = self._json(
                "GET", f"/v1/sweeps/{self._name(sweep)}/trials", params={"limit": 1000, "offset": len(trials)}
            )
            trials += page["trials"]
            if len(trials) >= page["total"] or not page["trials"]:
                return trials

    def best(self, sweep: str, trial: int | None) -> str:
        """Return the best configuration as the text of a best file."""
        params = {} if trial is None else {"trial": trial}
        return self._ask("GET", f"/v1/sweeps/{self._name(sweep)}/best", params=params).text

    def stop(self, sweep: str) -> SweepAnswer:
        """Ask a sweep to stop."""
        return self._json("POST", f"/v1/sweeps/{self._name(sweep)}/stop")

    def resume(self, sweep: str, changed: bool = False) -> SweepAnswer:
        """Resume a stopped or failed sweep. changed: also if its data have changed since it last ran."""
        path = f"/v1/sweeps/{self._name(sweep)}/resume"
        return self._json("POST", f"{path}?changed=true" if changed else path, retries=0)

    def extend(self, sweep: str, amount: tuple[str, float], changed: bool) -> SweepAnswer:
        """Give an ended sweep more to train. amount: its unit, and how much. Asked once: it would be added twice."""
        path = f"/v1/sweeps/{self._name(sweep)}/extend"
        unit, more = amount
        return self._json("POST", f"{path}?changed=true" if changed else path, retries=0, json={unit: more})

    def export(self, sweep: str) -> bytes:
        """Return an ended sweep as the zip of `sweep export`."""
        return self._ask("GET", f"/v1/sweeps/{self._name(sweep)}/export", timeout=EXPORT_TIMEOUT_S).content

    def enqueue(self, sweep: str, points: Sequence[Mapping[str, Any]], other: str | None, top: int) -> EnqueuedAnswer:
        """Add points to a sweep, and then the best ones of another. It is asked once: points would be added twice."""
        body = {"points": list(points), "top": top} | ({"from": other} if other else {})
        return self._json("POST", f"/v1/sweeps/{self._name(sweep)}/enqueue", retries=0, json=body)

    def logs(self, sweep: str) -> str:
        """Return the driver's log so far."""
        return self._ask("GET", f"/v1/sweeps/{self._name(sweep)}/logs", headers={"Accept": "text/plain"}).text

    def follow(self, sweep: str, what: str) -> Iterator[tuple[str, Any]]:
        """Yield (kind, data) of a stream, `events` or `logs`, until it ends; reconnect after a lost connection."""
        last, failures, broken = "", 0, None
        path = f"/v1/sweeps/{self._name(sweep)}/{what}"
        while True:
            answer, following = None, False
            hopeful = failures < RETRIES or (broken is not None and time.monotonic() - broken < AWAY_S)
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                with self.client.stream("GET", path, headers=headers, timeout=STREAM_TIMEOUT) as answer:
                    if answer.status_code in BUSY and hopeful:
                        answer.raise_for_status()
                    if not answer.is_success:
                        answer.read()
                        self._checked(answer)
                    following = True
                    for kind, number, data in _events(answer.iter_lines()):
                        last, failures = number or last, 0
                        yield kind, data
                        if kind == "end":
                            return
            except httpx.HTTPError as error:
                if not hopeful:
                    raise self._silent(error) from error
                failures += 1
            if following:
                broken = time.monotonic()
            time.sleep(_pause_s(failures, answer))

    def _name(self, sweep: str) -> str:
        if not sweep or not all(c.isascii() and (c.isalnum() or c in "-_") for c in sweep):
            raise BadInput(f"unknown sweep '{sweep}'; ids and names have letters, digits, - and _")
        return sweep


def _pause_s(attempt: int, answer: httpx.Response | None) -> float:
    """Return the seconds to wait before a retry: exponential backoff, or the service's Retry-After."""
    wish = answer.headers.get("Retry-After", "") if answer is not None and not answer.is_success else ""
    return min(float(wish), 60.0) if wish.isdecimal() else min(0.2 * 2**attempt, 5.0)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """Read server-sent events: (kind, id, data).

    >>> list(_events(iter(["id: 3", "event: trial", 'data: {"number": 2}', "", ": still here", ""])))
    [('trial', '3', {'number': 2})]
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])
            fields = {}
        else:
            fields = {}
