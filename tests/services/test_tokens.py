"""Tokens: only the one that was made opens, until it expires or is revoked; the database holds no secret."""

import math
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.services import tokens
from espalier.services.database.store import Store
from espalier.services.database.tables import Token
from espalier.services.quota import set_quota
from espalier.services.settings import Settings, read_settings

NOW = 1_800_000_000.0


def made(store: Store, owner: str = "ada", role: str = "submit", days: float | None = None) -> str:
    with store.session() as session:
        return tokens.create(session, owner, role, NOW, days)


def found(store: Store, text: str, now: float = NOW) -> tokens.Caller | None:
    with store.reading() as session:
        return tokens.find(session, text, now)


def test_a_token_opens_for_its_owner_in_its_role(store: Store) -> None:
    caller = found(store, made(store, "ada", "read"))
    assert caller is not None
    assert (caller.owner, caller.role) == ("ada", "read")
    assert caller.may("read") and not caller.may("submit") and not caller.admin


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t + "A",
        lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
        lambda t: t.replace("sweep_", "sweep-"),
        lambda t: "",
        lambda t: t.upper(),
        lambda t: t + "\n",
    ],
)
def test_anything_else_does_not_open(store: Store, change) -> None:
    assert found(store, change(made(store))) is None


@given(text=st.text())
def test_no_text_breaks_the_comparison(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert tokens.TOKEN_PATTERN.fullmatch(text) is None or len(text) == 62


def test_the_secret_of_one_token_does_not_open_another(store: Store) -> None:
    one, other = made(store), made(store)
    mixed = "_".join([*one.split("_")[:2], other.split("_", 2)[2]])
    assert found(store, mixed) is None


def test_a_token_expires_to_the_second(store: Store) -> None:
    text = made(store, days=2)
    assert found(store, text, NOW + 2 * 86_400 - 1)
    assert found(store, text, NOW + 2 * 86_400) is None


def test_a_revoked_token_opens_no_more_and_the_others_do(store: Store) -> None:
    one, other = made(store), made(store)
    with store.session() as session:
        tokens.revoke(session, one.split("_")[1], NOW)
    assert found(store, one) is None
    assert found(store, other)


def test_the_database_holds_no_secret(store: Store, settings: Settings) -> None:
    text = made(store)
    secret = text.split("_", 2)[2].encode()
    with sqlite3.connect(settings.home / "service.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert all(secret not in path.read_bytes() for path in Path(settings.home).glob("service.db*"))


def test_secrets_are_256_random_bits(store: Store) -> None:
    secrets = {made(store).split("_", 2)[2] for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(secret) * math.log2(64) >= 256 for secret in secrets)


@pytest.mark.parametrize(
    ("owner", "role", "days", "named"),
    [
        ("", "read", None, "owner"),
        ("a b", "read", None, "owner"),
        ("x" * 65, "read", None, "owner"),
        ("ada", "root", None, "--role"),
        ("ada", "read", 0, "--days"),
        ("ada", "read", -1, "--days"),
    ],
)
def test_a_wrong_wish_is_named(store: Store, owner: str, role: str, days: float | None, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        made(store, owner, role, days)


def test_an_unknown_token_to_revoke_is_named(store: Store) -> None:
    with store.session() as session, pytest.raises(BadInput, match="0123456789ab: unknown"):
        tokens.revoke(session, "0123456789ab", time.time())


@pytest.mark.parametrize("days", [36_500 * 1.001, 1e8, 1e300, math.inf, math.nan, 0.0, -1.0])
def test_a_token_is_valid_for_a_hundred_years_at_most(store: Store, days: float) -> None:
    with pytest.raises(BadInput, match=r"^--days \S+: give a number above 0, at most 36500, or leave it out"):
        made(store, days=days)
    assert found(store, made(store, days=36_500))


@pytest.mark.parametrize("expires", [NOW + 1e8 * 86_400, 1e300, math.inf])
def test_a_token_that_outlives_the_calendar_is_listed(store: Store, expires: float) -> None:
    text = made(store)
    with store.session() as session:
        stored = session.get(Token, text.split("_")[1])
        assert stored is not None
        stored.expires = expires
    with store.reading() as session:
        (row,) = tokens.listed(session, NOW)
    assert (row["expires"], row["state"]) == ("9999-12-31T23:59:59.000+00:00", "valid")


@pytest.mark.parametrize(
    ("trials", "gpu_hours", "words"),
    [
        (2**31, None, "--trials 2147483648: give a whole number from 0 to 2147483647"),
        (10**30, None, "--trials 1000000000000000000000000000000: "),
        (None, 1e10, "--gpu-hours 1e\\+10: give a number from 0 to 1e\\+09"),
        (None, math.inf, "--gpu-hours inf"),
        (None, math.nan, "--gpu-hours nan"),
    ],
)
def test_a_quota_is_a_number_that_can_be_stored(
    store: Store, trials: int | None, gpu_hours: float | None, words: str
) -> None:
    made(store)
    with store.session() as session, pytest.raises(BadInput, match=f"^{words}"):
        set_quota(session, "ada", trials, gpu_hours, False, NOW)


@pytest.mark.parametrize("variable", ["SWEEP_HOURS", "SWEEP_SPEC_KIB", "SWEEP_TICK_S"])
@pytest.mark.parametrize("text", ["inf", "nan"])
def test_a_setting_is_a_finite_number(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(BadInput, match=f"^{variable}: input should be a finite number; '{text}' arrived"):
        read_settings()
