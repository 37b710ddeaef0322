"""What a file does while it is imported: it runs as a script that nobody answers, with its output held back."""

import io
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO

_SHOWN = 200  # characters of what a file printed before it ended the program


class HeldOutput(io.TextIOBase):
    """Keeps what is printed until it is let go, then passes everything on: a logger may hold on to it."""

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
        """Hold nothing any more; show what was kept, or drop it."""
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
    """A file that ends the program while it is imported, as a script without a main guard does."""


@contextmanager
def as_a_script(path: str) -> Generator[None]:
    """Import a file as `python FILE < /dev/null` would run it: without our arguments, and nobody to ask.

    What it prints is shown on stderr if it comes through. Raises ScriptEnded for one that ends the program.
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
