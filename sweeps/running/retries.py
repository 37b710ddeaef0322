"""Retries of a cohort whose worker has died: which trial caused it, and how the others continue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espalier.sweeps.running.watchdog import Death

TRIES = 4  # consecutive deaths of a cohort without a checkpoint or a culprit in between
CERTAIN, UNCERTAIN = 2, 3  # deaths at one place that count as caused by a trial: by its own code; by a bare kill
NEAR = 64  # steps that count as one place, since a program may make so many in one call


@dataclass(frozen=True)
class Decision:
    """What to do with a cohort whose worker died.

    guilty: replicates that caused it, with their steps: their trials fail. suspects: replicates one of which may have
    caused it, each with the step it has to pass; until then they train one at a time. give_up: all trials of the
    cohort fail.
    """

    guilty: Mapping[str, int] = field(default_factory=dict[str, int])
    suspects: Mapping[str, int] = field(default_factory=dict[str, int])
    give_up: bool = False


def decide(deaths: Sequence[Death]) -> Decision:
    """Decide after the latest of a cohort's deaths without progress in between.

    A trial is guilty if the worker died twice at the same place of it, the last time while it trained alone.

    >>> both = Death("killed", [{"0/0": 137}, {"1/0": 130}])
    >>> decide([both]), decide([both, both]).suspects
    (Decision(guilty={}, suspects={}, give_up=False), {'0/0': 201, '1/0': 194})
    >>> decide([both, both, Death("killed", [{"1/0": 137}])]).guilty
    {'1/0': 137}
    """
    last = deaths[-1]
    if len(last.lanes) == 1:
        alike = [death for death in deaths if _same_place(death, last)]
        if len(alike) >= (CERTAIN if last.certain else UNCERTAIN):
            return Decision(guilty=last.replicates)
    if len(deaths) >= TRIES or (last.hung and len(deaths) > 1 and not last.lanes):
        return Decision(give_up=True)
    if len(last.lanes) > 1 and (last.hung or len(deaths) > 1):
        return Decision(suspects={replicate: step + NEAR for replicate, step in last.replicates.items()})
    return Decision(suspects=_suspected(deaths))


def _same_place(death: Death, last: Death) -> bool:
    return any(
        abs(death.replicates.get(replicate, step + 2 * NEAR) - step) <= NEAR
        for replicate, step in last.replicates.items()
    )


def _suspected(deaths: Sequence[Death]) -> Mapping[str, int]:
    """Return the suspects of earlier deaths, if the last one does not identify the trial."""
    many = [death for death in deaths if len(death.lanes) > 1]
    return {m: step + NEAR for m, step in many[-1].replicates.items()} if len(many) and len(deaths) > 1 else {}
