"""Errors as one line and an exit code."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from espalier.core.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")

BAD_INPUT, CTRL_C = 2, 130  # exit codes


@contextmanager
def handle_errors() -> Iterator[None]:
    """Print bad input and a full disk as one line and exit with code 2; exit with code 130 on Ctrl-C."""
    try:
        yield
    except BadInput as error:
        click.echo(f"sweep: {error}", err=True)
        sys.exit(BAD_INPUT)
    except OSError as error:
        from espalier.sweeps.home import NO_ROOM, full

        if error.errno not in NO_ROOM:
            raise
        click.echo(f"sweep: {full(error, 'give the command again')}", err=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        click.echo("sweep: stopped", err=True)
        sys.exit(CTRL_C)
    except EOFError as error:  # click would only print "Aborted!"
        raise RuntimeError("a file or a stream ended too early") from error


def ends_on_ctrl_c(command: Callable[P, R]) -> Callable[P, R]:
    """Start a guard process that ends this one after Ctrl-C, even if a task's code blocks."""

    @wraps(command)
    def with_guard(*args: P.args, **kwargs: P.kwargs) -> R:
        from espalier.sweeps import guard

        with guard.guarded():
            return command(*args, **kwargs)

    return with_guard
