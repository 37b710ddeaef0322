"""The one error a person is meant to read: what was wrong, what arrived, what would work."""

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_OWN = (_HERE, _HERE / "native", _HERE.parent / "sweeps")  # where nobody's own code is


class BadInput(ValueError):
    """Input that cannot be used. The command line prints it as one line and exits with code 2."""


def briefly(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says, on one line.

    >>> briefly(ValueError()), briefly(KeyError("a"))
    ('ValueError', "KeyError: 'a'")
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__


def located(error: Exception) -> str:
    """Return an error on one line, with the last place in a person's own code that it came through."""
    places = [
        f" ({Path(frame.filename).name}, line {frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and Path(frame.filename).parent not in _OWN
    ]
    return briefly(error) + (places[-1] if places else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or all of them.

    >>> nearest("bugdet", ["budget", "space"])
    "did you mean 'budget'?"
    >>> nearest("zzz", ["budget", "space"])
    'known here: budget, space'
    """
    names = sorted(known)
    if not names:
        return "there is none here"
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(names)}"
