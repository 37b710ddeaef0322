"""A replay of Optuna by its public interface: its samplers and pruners, and trials that share nothing.

Trials are asked for one by one, as each worker falls free. Pruners see the plain validation loss ten times a trial.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from tests.bench.search import clock
from tests.bench.search.clock import Account, Finish, Work
from tests.bench.search.table import Table

REPORTS = 10
DEAR, DEARER = 4, 8

SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "TPE": lambda seed, workers: TPESampler(seed=seed, constant_liar=workers > 1),
    "GP": lambda seed, workers: GPSampler(seed=seed, n_startup_trials=4),
    "random": lambda seed, workers: RandomSampler(seed=seed),
}
"""By name, from a seed and the number of workers."""
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "": NopPruner,
    "successive halving": SuccessiveHalvingPruner,
    "Hyperband": lambda: HyperbandPruner(min_resource=1, max_resource=REPORTS),
    "median": MedianPruner,
}
"""By name, with Optuna's defaults; the resource is the number of a report."""


@dataclass(frozen=True)
class Peer:
    """A study of Optuna. sampler, pruner: names of SAMPLERS and PRUNERS."""

    sampler: str
    pruner: str = ""
    needs_budget: bool = False

    @property
    def dear(self) -> int:
        """By what the repetitions are divided: pruned trials are many more, and each is asked for."""
        return (DEARER if self.pruner else DEAR) if self.sampler == "GP" else 1

    def replay(self, table: Table, budget: float, workers: int, seed: int) -> list[Finish]:
        """Search over a table."""
        sampler = SAMPLERS[self.sampler](seed, workers)
        study = optuna.create_study(sampler=sampler, pruner=PRUNERS[self.pruner](), study_name=f"replay-{seed}")
        account = Account()

        def next_trial() -> Work | None:
            return None if account.total >= budget - clock.EPSILON else _train(study, table, account)

        clock.run(workers, next_trial)
        return account.finishes()


def _train(study: optuna.Study, table: Table, account: Account) -> Work:
    """Train one trial, with a report to the pruner after each tenth."""
    unit, trial = account.begin(), study.ask(_distributions(table))
    exponent, decay = trial.params["lr_exponent"], trial.params.get("decay_point", 1.0)
    for report in range(1, REPORTS + 1):
        yield account.spend(unit, 1 / REPORTS)
        share = report / REPORTS
        loss = table.final(exponent, decay) if report == REPORTS else table.value(share, exponent, decay)
        if not math.isfinite(loss):
            study.tell(trial, state=TrialState.FAIL)
            return
        trial.report(loss, report)
        if report < REPORTS and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    account.finish(unit, loss)
    study.tell(trial, loss)


def _distributions(table: Table) -> dict[str, BaseDistribution]:
    space: dict[str, BaseDistribution] = {
        "lr_exponent": FloatDistribution(float(table.exponents[0]), float(table.exponents[-1]))
    }
    if table.has_decays:
        space["decay_point"] = FloatDistribution(float(table.decays[0]), float(table.decays[-1]))
    return space
