"""One thread for small matrices: two threads of BLAS cost more than they give, on busy cores many times more."""

from collections.abc import Generator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]


@contextmanager
def one_thread() -> Generator[None]:
    """Have numpy use one thread while a block, or a function that this decorates, runs."""
    with threadpool_limits(1, user_api="blas"):
        yield
