"""The one error a person is meant to read: what was wrong, what arrived, what would work."""

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Input that cannot be used. The command line prints it as one line and exits with code 2."""


def briefly(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says, on one line.

    >>> briefly(ValueError()), briefly(KeyError("a"))
    ('ValueError', "KeyError: 'a'")
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__


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
