"""The owner of runs in MLflow: a sweep, by its id and its birth.

An id may be used again: after a deletion, or in another home. The birth is a random value that a sweep gets at its
start, and all its runs have it as a tag. So a sweep never takes runs of another one with the same id for its own. A
sweep that an earlier version began has no birth, nor have its runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.sweeps.recording.experiments import search_runs
from espalier.sweeps.recording.names import BIRTH_TAG, SWEEP_TAG

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import MlflowClient, Run


@dataclass(frozen=True)
class Owner:
    """A sweep as the owner of runs. birth: "" where it has none; None where it is unknown, for any with this id."""

    sweep: str
    birth: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its runs."""
        return {SWEEP_TAG: self.sweep} | ({BIRTH_TAG: self.birth} if self.birth else {})

    def owns(self, run: "Run") -> bool:
        """Whether a run with its id is its own."""
        return self.birth is None or run.data.tags.get(BIRTH_TAG, "") == self.birth

    def runs(self, client: "MlflowClient", experiments: Sequence[str], more: str = "") -> "Iterator[Run]":
        """Yield its runs in some experiments. more: another condition of MLflow's filter."""
        condition = " and ".join(filter(None, [where(self.tags), more]))
        return (run for run in search_runs(client, experiments, condition) if self.owns(run))

    def first_run(self, client: "MlflowClient", experiments: Sequence[str], more: str = "") -> "Run | None":
        """Return one of its runs, None if there is none. One call, which is not retried. more: see `runs`."""
        condition = " and ".join(filter(None, [where(self.tags), more]))
        page = client.search_runs(list(experiments), condition, max_results=1000 if self.birth == "" else 1)
        return next((run for run in page if self.owns(run)), None)


def where(tags: dict[str, str]) -> str:
    """Return a filter of MLflow for runs with these tags.

    >>> where({"a": "1", "b": "2"})
    "tags.`a` = '1' and tags.`b` = '2'"
    """
    return " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
