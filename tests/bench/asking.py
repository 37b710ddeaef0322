"""Suggestions a second when 10,000 trials have finished: a search over a journal on disk, asked for cohorts of trials.

usage: python -m tests.bench.asking [FINISHED]  (prints one JSON document)
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec, make_spec

SAMPLERS = ("tpe", "random", "qmc")
COHORT = 64


def spec_of(sampler: str, branches: int) -> SweepSpec:
    """Return the names sweep with so many decay points an exponent."""
    return make_spec(
        {
            "name": "asking",
            "task": "espalier.core.tasks.names:Names",
            "space": {
                "lr_exponent": {"low": -2.5, "high": 0.5},
                "decay_points": {"low": 0.4, "high": 0.9, "branches": branches},
            },
            "trials": 10**6,
            "search": {"sampler": sampler},
        }
    )


def finished(search: Search, number: int) -> list[FrozenTrial]:
    """Return so many trials that have ended, with losses like those of the names network."""
    draw = random.Random(0)
    made = []
    for _ in range(number):
        params = {name: draw.uniform(domain.low, domain.high) for name, domain in search.asker.domains.items()}  # pyright: ignore[reportAttributeAccessIssue]
        value = 2.3 + abs(params["lr_exponent"] + 0.8) / 3 + draw.gauss(0, 0.01)
        made.append(
            create_trial(
                state=TrialState.COMPLETE, value=value, params=params, distributions=dict(search.asker.domains)
            )
        )
    return made


def per_second(sampler: str, branches: int, trials: int) -> float:
    """Return how many trials a second a search gives out after `trials` have finished."""
    with tempfile.TemporaryDirectory() as folder:
        store = SweepStore.open(str(Path(folder) / "optuna.journal"))
        spec = spec_of(sampler, branches)
        record = store.create("asking", spec, {"created": "now"})
        record.study.add_trials(finished(Search(record, 100, COHORT), trials))
        search = Search(record, 100, COHORT)
        search.next_cohort()  # the first builds what a sampler keeps
        begin = time.perf_counter()
        given = sum(len(plan.trials) for _ in range(2) if (plan := search.next_cohort()))
        return given / (time.perf_counter() - begin)


def main(trials: int = 10_000) -> dict[str, Any]:
    """Return the rate of each sampler, without and with four branches a trunk."""
    rates = {f"{s}, {b}": per_second(s, b, trials) for s in SAMPLERS for b in (1, 4)}
    return {"finished": trials, "cohort": COHORT, "per_second": rates}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
