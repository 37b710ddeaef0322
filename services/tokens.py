"""Bearer tokens: create, verify in constant time, revoke. Only hashes are stored."""

import hashlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from espalier.core.errors import BadInput, nearest
from espalier.services.database.tables import Counter, Owner, Token, timestamp

Role = Literal["read", "submit", "admin"]
ROLES: tuple[str, ...] = get_args(Role)  # each role includes the earlier ones
OWNER_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
DAYS_MOST = 36_500  # a hundred years: a calendar ends with the year 9999
TOKEN_PATTERN = re.compile(r"sweep_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Caller:
    """The caller of a request: an owner with a role. token: the id of the token."""

    owner: str
    role: str
    token: str

    def may(self, role: str) -> bool:
        """Whether this role includes another one."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def admin(self) -> bool:
        """Whether the caller may see and stop other owners' sweeps."""
        return self.may("admin")


def _hash(secret: str) -> str:
    """Hash a secret. SHA-256 is enough: 256 random bits cannot be guessed, however fast the hash is."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(session: Session, owner: str, role: str, now: float, days: float | None) -> str:
    """Create a token, and its owner if new; return the secret, which is not stored.

    days: how long it is valid; None: until it is revoked. Raises BadInput.
    """
    if not re.fullmatch(OWNER_PATTERN, owner):
        raise BadInput(f"owner: '{owner}'; letters, digits, '.', '_', '@' and '-', at most 64")
    if role not in ROLES:
        raise BadInput(f"--role {role}: unknown role; {nearest(role, ROLES)}")
    if days is not None and not 0 < days <= DAYS_MOST:
        wanted = f"a number above 0, at most {DAYS_MOST}"
        raise BadInput(f"--days {days:g}: give {wanted}, or leave it out for a token that does not expire")
    if session.get(Owner, owner) is None:
        session.add(Owner(name=owner, created=now))
        session.flush()
    id_, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    expires = None if days is None else now + days * 86_400
    _count(session)
    session.add(Token(id=id_, owner=owner, role=role, hash=_hash(secret), created=now, expires=expires))
    return f"sweep_{id_}_{secret}"


def find(session: Session, text: str, now: float) -> Caller | None:
    """Return the caller of a token; None if it is malformed, unknown, expired or revoked."""
    form = TOKEN_PATTERN.fullmatch(text)
    token = session.get(Token, form[1]) if form else None
    right = hmac.compare_digest(token.hash if token else _hash(""), _hash(form[2] if form else "-"))
    if token is None or not right or not _is_valid(token, now):
        return None
    return Caller(token.owner, token.role, token.id)


def _is_valid(token: Token, now: float) -> bool:
    return token.revoked is None and (token.expires is None or token.expires > now)


def holds(session: Session, id_: str, now: float) -> bool:
    """Whether a token is still valid."""
    token = session.get(Token, id_)
    return token is not None and _is_valid(token, now)


def listed(session: Session, now: float) -> list[dict[str, str | None]]:
    """Return every token without its hash, the oldest first."""
    return [
        {
            "id": token.id,
            "owner": token.owner,
            "role": token.role,
            "created": timestamp(token.created),
            "expires": timestamp(token.expires),
            "state": "revoked" if token.revoked else "expired" if (token.expires or math.inf) <= now else "valid",
        }
        for token in session.scalars(select(Token).order_by(Token.created))
    ]


def revoke(session: Session, id_: str, now: float) -> None:
    """End a token at once. Raises BadInput for one that is unknown."""
    token = session.get(Token, id_)
    if token is None:
        known = list(session.scalars(select(Token.id)))
        raise BadInput(f"token {id_}: unknown; {nearest(id_, known) if known else 'there is none'}")
    token.revoked = token.revoked or now


def any_valid(session: Session, now: float) -> bool:
    """Whether there is a valid token."""
    valid = select(func.count()).select_from(Token).where(Token.revoked.is_(None))
    return bool(session.scalar(valid.where(Token.expires.is_(None) | (Token.expires > now))))


def _count(session: Session) -> None:
    counter = session.get(Counter, "tokens", with_for_update=True)
    if counter is None:
        session.add(Counter(name="tokens", count=1))
    else:
        counter.count += 1


def ever_made(session: Session) -> bool:
    """Whether a token was ever made: then the service always requires one, even if all have expired or were deleted."""
    counter = session.get(Counter, "tokens")
    return (counter is not None and counter.count > 0) or session.scalar(select(Token.id).limit(1)) is not None
