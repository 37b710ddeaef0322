"""Authentication, authorisation and rate limits: the first dependency of every route."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from espalier.services import tokens
from espalier.services.database.store import Store
from espalier.services.database.tables import Owner
from espalier.services.http.problems import Problem
from espalier.services.tokens import Caller

LOCAL = "local"  # the owner for requests without a token, which only this machine may send
bearer = HTTPBearer(auto_error=False, description="a token from `sweep token create`")


class RateLimit:
    """A token bucket for each caller: a number of requests a minute, at most a quarter of them at once.

    Each process of the service counts for itself.
    """

    def __init__(self, per_minute: int, most: int = 10_000):
        self.rate, self.burst, self.most = per_minute / 60, max(1.0, per_minute / 4), most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, caller: str, now: float) -> float:
        """Count a request and return 0, or return the seconds to wait."""
        with self._lock:
            level, then = self._buckets.pop(caller, (self.burst, now))
            level = min(self.burst, level + (now - then) * self.rate)
            allowed = level >= 1
            self._buckets[caller] = (level - allowed, now)
            if len(self._buckets) > self.most:
                self._buckets.popitem(last=False)
            return 0.0 if allowed else (1 - level) / self.rate


def is_loopback(host: str) -> bool:
    """Whether a host name or address is loopback.

    >>> is_loopback("localhost"), is_loopback("127.0.0.3"), is_loopback("[::1]"), is_loopback("example.org")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


BEARER = {"WWW-Authenticate": "Bearer"}
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


def _is_local(request: Request) -> bool:
    """Whether a request comes from a program on this machine: not through a proxy, not from another's web page.

    A proxy that adds no header cannot be distinguished: behind a proxy, make a token.
    """
    headers = request.headers
    direct = request.client is not None and is_loopback(request.client.host)
    own_page = f"{request.url.scheme}://{headers.get('host', '')}"
    foreign = headers.get("origin", own_page) != own_page or headers.get("sec-fetch-site") == "cross-site"
    passed_on = any(name in headers for name in FORWARDED)
    return direct and is_loopback(_host_of(request)) and not foreign and not passed_on


def _network(address: str) -> str:
    """Return the key of an unauthenticated caller's rate limit: the IPv4 address, or the IPv6 /64 network.

    >>> _network("2001:db8::1"), _network("192.0.2.7"), _network("a/b")
    ('2001:db8::/64', '192.0.2.7', 'a/b')
    """
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address[:64]
    if parsed.version == 6:
        parsed = parsed.ipv4_mapped or parsed
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def _host_of(request: Request) -> str:
    """Return the Host name of a request: a request by another name may be DNS rebinding by a web page."""
    host = request.headers.get("host", "")
    return host if host.endswith("]") else host.rsplit(":", 1)[0]


class Access:
    """Accepts callers with a valid token, and callers on this machine as long as no token was ever made."""

    def __init__(self, store: Store, limit: RateLimit, loopback: bool):
        self.store, self.limit, self.loopback = store, limit, loopback

    def caller(self, request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
        """Return the caller of a request. Raises Problem 401 or 429."""
        stranger = f"address {_network(request.client.host) if request.client else '?'}"
        caller = self._known(request, credentials)
        self._count(caller.token if caller else stranger)
        if caller is None:
            wrong = "the token that was sent is not valid: it is unknown, has expired or was revoked"
            what = "a valid bearer token is needed" if credentials is None else wrong
            makes = "`sweep token create --owner NAME` makes one"
            raise Problem(401, f"{what}: {makes}" if credentials is None else f"{what}; {makes}", headers=BEARER)
        return caller

    def ended(self, caller: Caller) -> bool:
        """Whether a caller's token has expired, or was revoked or deleted, since it was accepted."""
        with self.store.reading() as session:
            if caller.token == LOCAL:
                return tokens.ever_made(session)
            return not tokens.holds(session, caller.token, time.time())

    def _known(self, request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller | None:
        now = time.time()
        with self.store.reading() as session:
            if credentials is not None:
                return tokens.find(session, credentials.credentials, now)
            if not self.loopback or tokens.ever_made(session):
                return None
        if not _is_local(request):
            return None
        with self.store.session() as session:
            if session.get(Owner, LOCAL) is None:
                session.add(Owner(name=LOCAL, created=now))
        return Caller(LOCAL, "admin", LOCAL)

    def _count(self, who: str) -> None:
        wait_s = self.limit.wait_s(who, time.monotonic())
        if wait_s:
            raise Problem(429, f"wait {wait_s:.1f} seconds", headers={"Retry-After": str(int(wait_s) + 1)})


def _role(role: str) -> Callable[..., Caller]:
    def allowed(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Caller:
        caller: Caller = request.app.state.access.caller(request, credentials)
        if not caller.may(role):
            raise Problem(403, f"this needs a token with the role '{role}'; this one has '{caller.role}'")
        return caller

    return allowed


Reader = Annotated[Caller, Depends(_role("read"))]
Submitter = Annotated[Caller, Depends(_role("submit"))]
