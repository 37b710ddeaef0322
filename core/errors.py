"""The one error a person is meant to read: what was wrong, what arrived, what would work."""

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Input that cannot be used. The command line prints it as one line and exits with code 2."""


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
