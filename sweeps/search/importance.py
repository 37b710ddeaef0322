"""How much each searched hyperparameter decided which trials are among the best: PED-ANOVA, as Optuna has it.

Source: S. Watanabe, A. Bansal, F. Hutter, PED-ANOVA, IJCAI 2023, arXiv:2304.10255.
"""

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from espalier.sweeps.results.trial_result import TrialResult, searched
from espalier.sweeps.search.asking import distribution
from espalier.sweeps.search.trial_record import storable
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

TRIALS_LEAST = 10
"""Complete trials; of fewer nothing can be said."""
BEST_SHARE, BEST_LEAST = 0.1, 5
"""The best tenth is compared with all trials, at least five as Optuna's documentation asks for."""


def importance_of(spec: SweepSpec, trials: Sequence[TrialResult]) -> Mapping[str, float]:
    """Return the importance of each searched hyperparameter, the greatest first; together they are 1.

    It is by the names of sampled domains, `lr_exponent` as `lr` if the spec has it so. Empty for fewer than ten
    complete trials.
    """
    complete = [t for t in searched(trials) if t.state == "complete" and t.value is not None]
    if len(complete) < TRIALS_LEAST:
        return {}
    study = _study(spec, complete)
    names = {name for trial in study.get_trials(deepcopy=False) for name in trial.distributions if name != "seed"}
    if not names:
        return {}
    share = min(0.5, max(BEST_SHARE, BEST_LEAST / len(complete)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of conditions under which there are few trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
        shares = get_param_importances(study, evaluator=evaluator, params=sorted(names))
    written = "lr" if spec.space.lr is not None else "lr_exponent"
    return {written if name == "lr_exponent" else name: float(value) for name, value in shares.items()}


def _study(spec: SweepSpec, complete: Sequence[TrialResult]) -> optuna.Study:
    """Return a study in memory that has these trials."""
    distributions = {name: distribution(domain) for name, domain in spec.space.domains()}
    direction = "minimize" if spec.objective.mode == "min" else "maximize"
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction=direction)
    finally:
        optuna.logging.set_verbosity(level)
    frozen = []
    for t in complete:
        params = {name: value for name in distributions if (value := _sampled(name, t.params)) is not None}
        known = {name: distributions[name] for name in params}
        frozen.append(create_trial(state=TrialState.COMPLETE, value=t.value, params=params, distributions=known))
    study.add_trials(frozen)
    return study


def _sampled(name: str, params: Point) -> object:
    """Return the value of a sampled name, as Optuna has it; None where a trial has none."""
    if name.startswith("decay_point") and name != "decay_points":
        number = name.removeprefix("decay_point").removeprefix("_")
        points = params.get("decay_points") or []
        place = int(number) - 1 if number else 0
        return points[place] if place < len(points) else None
    value = params.get(name)
    return None if value is None else storable(value)
