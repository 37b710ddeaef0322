"""Send JSON to a webhook: within one deadline for the whole request, and with no word of its address but the host.

A thread sends it, since a name may take long to resolve. At the deadline its sockets are shut down, and so it ends.
"""

import base64
import html
import os
import socket
import ssl
import threading
import time
import urllib.request
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urljoin, urlsplit

from espalier.core.errors import brief

ANSWER_S = 5.0  # that a webhook may take in all
WORDS_MOST = 200  # characters of its answer that are shown
REDIRECTS_MOST = 3
SECRET_LEAST = 4  # characters: a shorter part of an address may stand in any text
SAME_REQUEST = (307, 308)  # redirects that keep method and body; the others make a GET of a POST (RFC 9110, 15.4)


def post(address: str, body: bytes) -> tuple[str, bool]:
    """Send JSON to an address; return what went wrong, "" for nothing, and whether another try may help."""
    request = _Request(address, body, time.monotonic() + ANSWER_S)
    request.start()
    request.join(ANSWER_S)
    if request.is_alive():
        request.end()
        return f"has not answered in full within {ANSWER_S:g} s", True
    return request.outcome


class _Request(threading.Thread):
    """One request with its redirects. outcome: what went wrong, and whether another try may help."""

    def __init__(self, address: str, body: bytes, deadline: float):
        super().__init__(daemon=True)
        self.address, self.body, self.deadline = address, body, deadline
        self.outcome = ("", False)
        self.connections: list[_Plain] = []
        self.opener = urllib.request.build_opener(_Open(self), _NoRedirects())

    def run(self) -> None:
        """Send it."""
        try:
            self.outcome = self._outcome()
        except Exception as error:  # also what the end of a socket under way brings about: the sweep goes on
            self.outcome = f"cannot be reached ({_reason(error)})", True

    def end(self) -> None:
        """Have it fail, whatever it waits for."""
        self.deadline = 0.0
        for connection in list(self.connections):
            for opened in filter(None, (connection.sock, connection.opened)):
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)

    def _outcome(self) -> tuple[str, bool]:
        address = self.address
        for _ in range(REDIRECTS_MOST + 1):
            try:
                with self._open(address):
                    return "", False
            except HTTPError as error:
                with error:
                    if not 300 <= error.code < 400:
                        return self._refused(error)
                    place = error.headers.get("Location")
                    if not place:
                        return f"answered {error.code}, a redirect without a place", False
                    target = urljoin(address, place)
                    if error.code not in SAME_REQUEST or not _same_server(address, target):
                        return _redirected(error.code, target), False
                    address = target
        return f"redirects more than {REDIRECTS_MOST} times", False

    def _open(self, address: str) -> HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if login := _login(self.address):
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        remaining_s = self.deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        request = urllib.request.Request(_without_login(address), self.body, headers)
        return self.opener.open(request, timeout=remaining_s)

    def _refused(self, error: HTTPError) -> tuple[str, bool]:
        answer = error.read(WORDS_MOST).decode(errors="replace").strip()
        words = brief(_without_parts(answer, self.address), WORDS_MOST)
        refused = error.code < 500 and error.code not in (408, 429)
        return f"answered {error.code}{f' ({words})' if words else ''}", not refused


# --- addresses -------------------------------------------------------------------------------------------------------


def _login(address: str) -> str:
    return unquote(urlsplit(address).netloc.rpartition("@")[0])


def _without_login(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _same_server(address: str, target: str) -> bool:
    """Whether a redirect leads to the same server, and not from TLS to none.

    >>> _same_server("http://a/x", "https://a/x"), _same_server("https://a/x", "http://a/x")
    (True, False)
    """
    begin, end = urlsplit(address), urlsplit(target)
    if begin.hostname != end.hostname or "@" in end.netloc:
        return False
    return begin.port == end.port if begin.scheme == end.scheme else (begin.scheme, end.scheme) == ("http", "https")


def _redirected(code: int, target: str) -> str:
    parts = urlsplit(target)
    place = brief(f"{parts.scheme}://{parts.hostname}", WORDS_MOST) if parts.hostname else "another place"
    return f"answered {code}, a redirect to {place} that would lose the message; write the address it leads to"


def _without_parts(text: str, address: str) -> str:
    """Return a text with what it repeats of an address masked, apart from the host.

    >>> _without_parts("Cannot POST /services/T0/B1/x9y8z7", "https://host/services/T0/B1/x9y8z7")
    'Cannot POST ***'
    """
    parts = urlsplit(address)
    login = parts.netloc.rpartition("@")[0]
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    pieces = [*parts.path.split("/"), *login.split(":"), *values]
    wholes = [f"{parts.path}?{parts.query}", parts.path.rstrip("/"), parts.query, parts.fragment]
    secrets = [part for part in (*wholes, *pieces) if len(part) >= SECRET_LEAST]
    spellings = {spelling(part) for part in secrets for spelling in (str, unquote, html.escape)}
    for part in sorted(spellings, key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def _reason(error: Exception) -> str:
    """Return why there is no answer: not in the words of a library, which may hold a part of the address."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {ANSWER_S:g} s"
    if isinstance(reason, socket.gaierror):
        return "its name is unknown"
    if isinstance(reason, ssl.SSLError):
        return str(reason.reason or "TLS").lower().replace("_", " ")
    if isinstance(reason, OSError) and reason.errno:
        return os.strerror(reason.errno)
    return type(reason).__name__


# --- urllib: it knows of proxies, and has a connection made where it is told how --------------------------------------


class _Plain(HTTPConnection):
    """A connection whose socket its request can shut down. opened: the socket, also when the answer has it."""

    def __init__(self, request: _Request, host: str, **options: Any):
        super().__init__(host, **options)
        self.opened: socket.socket | None = None
        request.connections.append(self)

    def connect(self) -> None:
        super().connect()
        self.opened = self.sock


class _Encrypted(_Plain, HTTPSConnection):
    """The same with TLS."""


class _Open(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, request: _Request):
        super().__init__()
        self.request = request

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(partial(_Plain, self.request), req)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(partial(_Encrypted, self.request), req)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Follow none: a redirect is an HTTPError then. Those that keep the message are followed above."""
