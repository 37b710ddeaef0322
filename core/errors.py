"""BadInput, the error for users: what was wrong, what arrived, what would work; and helpers for its one line."""

import difflib
import traceback
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from espalier.core.own import is_own_or_library

MESSAGE_MOST = 2000  # characters of a message, which is one line
SHOWN_MOST = 80  # characters of a value shown in it
SIMILAR_MOST = 60  # characters: longer words are not compared with known names
FAULT_MOST = 600  # characters of the message of an exception from user code


class BadInput(ValueError):
    """Input that cannot be used. The command line prints it as one line and exits with code 2."""

    def __init__(self, message: str = ""):
        super().__init__(brief(message, MESSAGE_MOST))


def brief(text: object, most: int = SHOWN_MOST) -> str:
    """Return a text as one printable line, with its middle left out where it is long.

    >>> brief("a\\nb"), brief("x" * 1000, 20)
    ('a b', 'xxxxxxx ... xxxxxxxx')
    """
    words = str(text)
    if len(words) > most:
        head = (most - 5) // 2
        words = f"{words[:head]} ... {words[head + 5 - most :]}"
    if words.isprintable():
        return words
    line = " ".join(part.strip() for part in words.splitlines()) if "\n" in words or "\r" in words else words
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def within(sentence: str) -> str:
    """Return a sentence as a part of another: its first letter is small, the rest stays as it is.

    >>> within("String should match pattern '^[A-Z]$'")
    "string should match pattern '^[A-Z]$'"
    """
    return sentence[:1].lower() + sentence[1:]


def shown(value: object, most: int = SHOWN_MOST) -> str:
    """Return repr(value), shortened. It never raises, even where repr() does.

    >>> shown("x"), shown([1] * 1000, 20), shown(16**5000)
    ("'x'", '[1, 1,  ... 1, 1, 1]', 'a number of 20001 bits')
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > 2 * most:
        return brief(repr(value[:most] + value[-most:]), most)
    try:
        return brief(repr(value), most)
    except (ValueError, RecursionError):  # a very long integer inside it; nesting too deep for repr
        return f"a {type(value).__name__}"


def gib(size: float) -> str:
    """Return a number of bytes for people.

    >>> gib(5 << 30), gib(300 << 20), gib(2048), gib(123 << 30)
    ('5.0 GiB', '300 MiB', '2 KiB', '123 GiB')
    """
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= bytes_:
            return f"{size / bytes_:.{1 if size < 10 * bytes_ else 0}f} {unit}"
    return f"{size / 1024:.0f} KiB"


def counted(number: int, noun: str) -> str:
    """Return how many of something there are.

    >>> counted(1, "trial"), counted(0, "trial"), counted(12000, "step")
    ('1 trial', '0 trials', '12,000 steps')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Differs(Exception):
    """A program's step is not the one that PyTorch takes: the trials must continue with the plain program."""


class UserFault(Exception):
    """An object of the user's raised, or returned what it must not. The message names it; no type need be added."""


class Exited(Exception):
    """A task's code called sys.exit() or the like. It is handled as any other error of the task."""


def briefly(error: BaseException) -> str:
    """Return the type of an error and the first line of its message, on one line.

    >>> briefly(ValueError()), briefly(KeyError("a"))
    ('ValueError', "KeyError: 'a'")
    """
    if isinstance(error, UserFault):
        return brief(error, FAULT_MOST)
    try:
        lines = [line for line in str(error).splitlines() if line.strip()]
    except Exception:  # this, too, is user code
        lines = []
    return brief(f"{type(error).__name__}: {lines[0]}", 200) if lines else type(error).__name__


@contextmanager
def as_bad_input(what: str, passing: tuple[type[BaseException], ...] = ()) -> Generator[None]:
    """Turn whatever user code raises, SystemExit included, into BadInput of one line that begins with `what`.

    The line ends with the file and the line of the user's code that raised it, if it was there.
    BadInput, KeyboardInterrupt and the types in `passing` are raised unchanged.
    """
    try:
        yield
    except (BadInput, KeyboardInterrupt, *passing):
        raise
    except BaseException as error:
        try:
            text = " ".join(str(error).split())
        except Exception:  # this, too, is user code
            text = ""
        text = brief(text, FAULT_MOST)
        raise BadInput(f"{what}: {type(error).__name__}{': ' if text else ''}{text}{_place(error)}") from error


def located(error: BaseException) -> str:
    """Return an error on one line, with the innermost line of the task's code in its traceback."""
    return briefly(error) + _place(error)


def _place(error: BaseException) -> str:
    """Return the innermost line of a user's code in a traceback; "" if there is none, or the error names it itself."""
    if isinstance(error, SyntaxError):
        return ""
    places = [
        f" ({Path(frame.filename).name}, line {frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_own_or_library(frame.filename)
    ]
    return places[-1] if places else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the nearest known word, or with all of them.

    >>> nearest("bugdet", ["budget", "space"])
    "did you mean 'budget'?"
    >>> nearest("zzz", ["budget", "space"])
    'known here: budget, space'
    """
    names = sorted(known)
    if not names:
        return "there is none here"
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6) if len(word) <= SIMILAR_MOST else []
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(names)}"
