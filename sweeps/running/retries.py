"""What becomes of a cohort whose worker has died: whom of its trials it was for, and how the rest goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espalier.sweeps.running.watchdog import Death

TRIES = 4  # deaths in a row, without a checkpoint or a culprit between them, that a cohort may have
CERTAIN, UNCERTAIN = 2, 3  # deaths at one place that are laid to a trial: by its own code; by a bare kill
NEAR = 64  # steps: one place, since a program may make so many by one call


@dataclass(frozen=True)
class Decision:
    """guilty: the replicates at which the worker died, with their steps: their trials have failed.

    suspects: the replicates of which one may be, each with the step it has to pass, trained one at a time until then.
    give_up: all trials of the cohort have failed.
    """

    guilty: Mapping[str, int] = field(default_factory=dict[str, int])
    suspects: Mapping[str, int] = field(default_factory=dict[str, int])
    give_up: bool = False


def decide(deaths: Sequence[Death]) -> Decision:
    """Decide after the last of these deaths of one cohort, between which it has got no further.

    A trial is guilty if the worker has died twice at the same place of it, the last time while it alone trained.

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
    """Return whom earlier deaths have made suspects, if the last one has not told."""
    many = [death for death in deaths if len(death.lanes) > 1]
    return {m: step + NEAR for m, step in many[-1].replicates.items()} if len(many) and len(deaths) > 1 else {}
