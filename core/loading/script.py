"""Importing a user's file as a script: without arguments or input, and with its output held back."""

import io
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO

_SHOWN = 200  # characters of what a file printed before it ended the program


class HeldOutput(io.TextIOBase):
    """A stream that holds output back until it is released. Then it passes all on: a logger may still use it."""

    def __init__(self, stream: TextIO):
        self.stream, self.text, self.holding = stream, "", True

    def write(self, text: str) -> int:
        if not self.holding:
            return self.stream.write(text)
        self.text += text
        return len(text)

    def flush(self) -> None:
        if not self.holding:
            self.stream.flush()

    def release(self, show: bool) -> None:
        """Pass output on from now on; show what was held back, or drop it."""
        self.holding = False
        if show and self.text:
            self.stream.write(self.text)
            self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class ScriptEnded(Exception):
    """A file ended the program while it was imported, as a script without a main guard does."""


@contextmanager
def as_a_script(path: str) -> Generator[None]:
    """Import a file as `python FILE < /dev/null` would run it: without our arguments or input.

    Its output is shown on stderr if it succeeds. Raises ScriptEnded for a file that ends the program.
    """
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr
    held = HeldOutput(sys.stderr)
    sys.argv, sys.stdin, sys.stdout, sys.stderr = [path], io.StringIO(), held, held
    ended = None
    try:
        yield
    except SystemExit as error:
        ended = error
        printed = " ".join(held.text.strip().splitlines()[-1:])[:_SHOWN]
        code = "" if error.code is None else f" with {' '.join(str(error.code).split())[:_SHOWN]}"
        raise ScriptEnded(f"it ends the program{code}{f' ({printed})' if printed else ''}") from error
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before
        held.release(show=ended is None)
