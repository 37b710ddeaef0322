"""What all processes of a run of pytest share: xdist's workers would each make their own."""

import fcntl
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """Return what `make` returns of a new folder. The process that asks first calls it; others wait and unpickle."""
    result = _folder(factory) / f"{name}.pickle"
    with one_at_a_time(factory, name):
        if not result.exists():
            result.write_bytes(pickle.dumps(make(factory.mktemp(name))))
    return pickle.loads(result.read_bytes())


@contextmanager
def shared_by_all(
    factory: pytest.TempPathFactory, name: str, start: Callable[[Path], AbstractContextManager[T]]
) -> Iterator[T]:
    """Yield what the context of a new folder yields, for example a server's address.

    The process that asks first enters the context, and leaves it when all others that use it have left.
    """
    result = _folder(factory) / f"{name}.pickle"
    with open(_folder(factory) / f"{name}.users", "wb") as users, ExitStack() as context:
        with one_at_a_time(factory, name):
            ours = not result.exists()
            if ours:
                result.write_bytes(pickle.dumps(context.enter_context(start(factory.mktemp(name)))))
            value = pickle.loads(result.read_bytes())
            fcntl.flock(users, fcntl.LOCK_SH)
        yield value
        if ours:
            with one_at_a_time(factory, name):
                result.unlink()  # who asks now starts another
            fcntl.flock(users, fcntl.LOCK_EX)


@contextmanager
def one_at_a_time(factory: pytest.TempPathFactory, name: str) -> Iterator[None]:
    """Wait until no other process is inside a block of this name."""
    with open(_folder(factory) / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder(factory: pytest.TempPathFactory) -> Path:
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
