"""Retries of calls whose request or answer may be lost: after a lookup where a repetition is not idempotent."""

import time
from collections.abc import Callable
from typing import TypeVar

PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, None)  # before each repetition; None: give up
QUICK_S = 2.0  # a slower call is not retried at once: other records wait
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
    """An answer without the requested content."""


def is_refusal(error: Exception) -> bool:
    """Whether MLflow rejects a call. Any other error may come from the network."""
    return getattr(error, "error_code", None) in REFUSALS


def retry(call: Callable[[], T]) -> T:
    """Make an idempotent call; retry if its request or its answer was lost. Raises the error of the last attempt."""
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
    """Create something exactly once. After each lost answer `find` looks for it before a retry."""
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
