"""Where the results of a process are found, if it does not write them into its trial's folder itself."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from espalier.core.foreign.folder import Assignment, Line

NOTHING = "it ended without a report"


class ResultReader(Protocol):
    """Finds the reports of one process.

    nothing: how a process has ended that has none, as a part of a sentence. notes: for the user, once it has ended.
    """

    nothing: str
    notes: list[str]

    def read(self, lines: Sequence[str]) -> Sequence[Line]:
        """Return the reports that are new. lines: what the process has printed since the last call."""
        ...

    def rest(self) -> Sequence[Line]:
        """Return the last reports, after the process has ended.

        A line with `end` "failed" says that they cannot be found, and why.
        """
        ...


class Attached(ResultReader, Protocol):
    """A place outside the trial's folder, to which the process writes its results."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that name the place to the process. They are written into its folder: no secrets."""
        ...


class Places(Protocol):
    """Gives each process such a place."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables for all processes. No file gets them."""
        ...

    def attach(self, assignment: Assignment) -> Attached:
        """Return the place of a process. Raises NotYet."""
        ...


class NotYet(Exception):
    """The place cannot be had now: the process is to be started later."""
