"""The states of the random generators that all code of a process shares: Python's, numpy's, torch's of every device.

A validation draws from them too: every pass over a DataLoader does. An adapter sets them back after it, so that a
trial's numbers do not depend on how often it is validated.
"""

import random
from typing import Any

import numpy as np
import torch


def shared_states() -> dict[str, Any]:
    """Return the states of all shared generators, as `torch.load` reads them with weights_only."""
    kind, key, *rest = np.random.get_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.tensor(np.array(key, np.int64).tolist(), dtype=torch.int64), *rest),
        "torch": torch.get_rng_state(),
        "cuda": devices,
    }


def set_shared_states(states: dict[str, Any]) -> None:
    """Set all shared generators to states that `shared_states` returned.

    >>> before = shared_states()
    >>> first = random.random(), np.random.rand(), torch.rand(()).item()
    >>> set_shared_states(before)
    >>> first == (random.random(), np.random.rand(), torch.rand(()).item())
    True
    """
    random.setstate(states["python"])
    kind, key, *rest = states["numpy"]
    np.random.set_state((kind, key.numpy(), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
