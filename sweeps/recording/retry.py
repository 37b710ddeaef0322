"""Calls whose request or answer may be lost: repeated where that is safe, looked up first where it is not."""

import time
from collections.abc import Callable
from typing import TypeVar

PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, None)  # before each repetition; None: give up
QUICK_S = 2.0  # a call that took longer is not repeated at once: other records wait
REFUSALS = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "CUSTOMER_UNAUTHORIZED",
    }
)
T = TypeVar("T")


class LostAnswer(ConnectionError):
    """An answer that does not contain what was asked for."""


def is_refusal(error: Exception) -> bool:
    """Whether MLflow has understood a call and refuses it. Every other error may come from the network."""
    return getattr(error, "error_code", None) in REFUSALS


def retry(call: Callable[[], T]) -> T:
    """Make an idempotent call, again where its request or its answer was lost. Raises what the last try raises."""
    for pause in PAUSES_S:
        begin = time.monotonic()
        try:
            return call()
        except Exception as error:
            if pause is None or is_refusal(error) or time.monotonic() - begin > QUICK_S:
                raise
            time.sleep(pause)
    raise AssertionError


def create_once(create: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Create something that must not be there twice. After each lost answer `find` looks for it before another try."""
    for pause in PAUSES_S:
        try:
            return create()
        except Exception as error:
            existing = retry(find)
            if existing is not None:
                return existing
            if pause is None or is_refusal(error):
                raise
            time.sleep(pause)
    raise AssertionError
