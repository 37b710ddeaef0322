"""Guesses at what the author of a spec meant, for error messages. Pure functions.

They recognise names from other libraries, metrics to minimise, and exponents that look like rates.
"""

import re

from espalier.sweeps.spec.space import AUTO, Choice, Domain, Range, extremes

NAME_MOST = 250  # characters of a metric's name
TINY = 0.02  # a smaller positive number is hardly meant as an exponent: that would be 0
EPOCHS = "budget.steps counts the steps of a trial: epochs x examples / batch_size"
RATE = "the rate is searched: space.lr in rates, or space.lr_exponent in powers of ten"
MEANT = {
    **dict.fromkeys(("lr", "lrs", "learning_rate", "learning_rates", "learningrate", "rate"), RATE),
    **dict.fromkeys(("max_lr", "peak_lr", "base_lr", "init_lr", "initial_lr", "eta", "log_lr", "lr_exponents"), RATE),
    **dict.fromkeys(("epochs", "epoch", "n_epochs", "num_epochs", "max_epochs", "num_train_epochs"), EPOCHS),
    **dict.fromkeys(("iterations", "iters", "max_steps", "n_steps", "num_steps", "max_iters"), "it is budget.steps"),
    **dict.fromkeys(("n_trials", "num_trials", "max_trials", "num_samples", "n_iter"), "it is trials, at the top"),
    **dict.fromkeys(("batch", "bs", "train_batch_size"), "it is budget.batch_size"),
    **dict.fromkeys(("direction", "goal", "maximize", "minimize"), "it is objective.mode: min or max"),
    **dict.fromkeys(("warmup_steps", "warmup_ratio"), "it is space.warmup, a share of the budget"),
    **dict.fromkeys(("wd", "l2"), "it is weight_decay, under optimizer or in the space"),
    "betas": "they are optimizer.beta1 and optimizer.beta2",
    "milestones": "they are space.decay_points, shares of the budget",
    "gamma": "it is space.decay_factor",
}
"""Names that other programs have for fields of a spec."""

_LOSSES = {"loss", "losses", "error", "errors", "err", "mse", "mae", "rmse", "msle", "rmsle", "mape", "smape"}
_LOSSES |= {"nll", "perplexity", "ppl", "bce", "xent", "wer", "cer"}
_TURNED = {"neg", "negative", "minus", "inverse", "inv", "reduction", "improvement", "gain", "skill", "score"}
_TURNED |= {"accuracy", "acc", "free", "no", "non"}
_GAINS = {"accuracy", "acc", "f1", "auc", "auroc", "precision", "recall", "r2", "score", "bleu", "rouge", "map"}
_GAINS |= {"iou", "dice", "ndcg", "mrr", "psnr", "ssim", "reward", "return", "likelihood", "top1", "top5"}
LOSS_PATTERN = "|".join("".join(f"[{c.upper()}{c}]" for c in name) for name in sorted(_LOSSES))
"""For the JSON Schema: what every metric that is taken for a loss has in its name."""


def _words(metric: str) -> set[str]:
    parted = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3_\2\4", metric)
    return set(re.findall(r"[a-z]+[0-9]?", parted.lower())) | set(re.findall(r"[a-z]+", parted.lower()))


def is_loss(metric: str) -> bool:
    """Whether a metric's name says that less is better.

    >>> [is_loss(name) for name in ("valid_loss", "validMSELoss", "valid_accuracy", "valid_neg_mse", "valid_glossy")]
    [True, True, False, False, False]
    """
    words = _words(metric[:NAME_MOST])
    return bool(words & _LOSSES) and not words & _TURNED


def missing_mode(metric: str) -> str:
    """Return a message that a metric needs its mode, with the likely one."""
    if _words(metric) & (_GAINS | _TURNED):
        return f"whether more or less of '{metric}' is better does not stand there; write mode: max, or mode: min"
    return f"whether less or more of '{metric}' is better does not stand there; write mode: min, or mode: max"


def misread_exponents(domain: Domain) -> str:
    """Return a message with both possible meanings of exponents that look like rates; "" for others.

    Refused are domains inside (0, 1], from 0 to at most 0.1, starting between 0 and `TINY`, or on a logarithmic scale.

    >>> misread_exponents(Range(low=0, high=0.5)), misread_exponents([-1, 1])
    ('', '')
    >>> misread_exponents([0.1, 0.01])
    'exponents [0.1, 0.01] are rates [1.259, 1.023]; if rates were meant, write lr: [0.1, 0.01]; if exponents, lr: \
[1.259, 1.023]'
    """
    if domain is None or domain == AUTO:  # None: code with a loop of its own need not have a rate
        return ""
    values = [float(value) for value in extremes(domain)]
    inside = all(0 < value <= 1 for value in values) or (any(values) and all(0 <= value <= 0.1 for value in values))
    inside |= 0 < min(values) < TINY
    if not inside and not (isinstance(domain, Range) and domain.log):
        return ""
    rates = [10.0**value for value in values]
    if isinstance(domain, Range):
        read, meant = _written(domain, rates), _written(domain, [values[0] or values[1] / 1000, values[1]])
        return (
            f"exponents from {values[0]:g} to {values[1]:g} are rates from {rates[0]:.4g} to {rates[1]:.4g}; "
            f"if rates were meant, write lr: {meant}; if exponents, lr: {read}"
        )
    read, meant = _written(domain, rates), _written(domain, values)
    return f"exponents {meant} are rates {read}; if rates were meant, write lr: {meant}; if exponents, lr: {read}"


def _written(domain: Domain, values: list[float]) -> str:
    """Return numbers as a domain of that kind is written in a spec."""
    words = [f"{value:.4g}" for value in values]
    if isinstance(domain, Range):
        return f"{{low: {words[0]}, high: {words[1]}, log: true}}"
    if not isinstance(domain, Choice | list):
        return words[0]
    return f"[{', '.join([*words[:4], *(['...'] if len(words) > 4 else [])])}]"
