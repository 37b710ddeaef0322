"""How parked trials would end, as files beside their states: if they never go on, a later driver has to end them.

`3-0-500.json` is the end of trial 3, replicate 0, parked after step 500: its values, curve and ratios.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from espalier.core.training.events import Ended, Event, Parked, TrialId
from espalier.sweeps.home import naming


class ParkedEnds:
    """The files of one sweep. folder: that of its trials' states."""

    def __init__(self, folder: Path):
        self.folder = folder

    def keep(self, events: Iterable[Event]) -> None:
        """Write how the trials would end that these events park. Raises OSError that names the file."""
        for event in events:
            if isinstance(event, Parked) and event.so_far:
                file = self._file(event.trial_id, event.step)
                with naming(file):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    file.write_text(json.dumps(event.so_far.to_json()), encoding="utf-8")

    def find(self, trial: int, step: int, replicates: int) -> Sequence[Ended]:
        """Return how the replicates of a trial would end that is parked at a step; empty if a file is missing."""
        with suppress(OSError, ValueError, KeyError, TypeError):  # torn, or of another version
            texts = [self._file(TrialId(trial, r), step).read_text(encoding="utf-8") for r in range(replicates)]
            ends = [Event.from_json(json.loads(text)) for text in texts]
            return [end for end in ends if isinstance(end, Ended)]
        return []

    def _file(self, replicate: TrialId, step: int) -> Path:
        return self.folder / f"{replicate.number}-{replicate.replicate}-{step}.json"
