"""A simulated table on which most configurations fail, as those of TaskSet do (Metz et al. 2020, arXiv:2002.11887).

TaskSet trains Adam with eight hyperparameters drawn independently, rates from 1e-8 to 10, on more than a thousand small
tasks. Most of its configurations end hardly below the loss at their beginning: the rate is too small, or too large, or
another hyperparameter spoils it. Its curves are not here; this imitates what matters to early stopping:

- SGD on a noisy quadratic (Zhang et al. 2019, arXiv:1907.04164), for which the loss after each step is known:
  E[theta_h^2] <- (1 - lr a_h)^2 E[theta_h^2] + lr^2 c a_h, loss = sum_h a_h E[theta_h^2] / 2, a_h = a / h^p.
- Rates from 1e-8 to 10; a, p and c are drawn by the seed. At a decay point the rate falls by ten.
- What is not seen: at each exponent the rate is multiplied by 10 ** N(0, 1/2), for betas and epsilon, and three of ten
  exponents do not learn at all, for the other hyperparameters.
- Losses are shares of the one at the beginning, at most 1, as TaskSet clips them. There are no averaged weights: the
  score `average` is the value.
"""

import numpy as np

from tests.bench.search.table import Array, Table

EXPONENTS, DECAYS, RUNGS, STEPS = np.linspace(-8, 1, 181), np.linspace(0.4, 0.9, 6), np.array([0.1, 0.25, 0.5]), 10_000
POINTS, MODES = 20, 64
NAME = "failing:"


def failing_table(seed: int) -> Table:
    """Return the table of a seed."""
    draw = np.random.default_rng(seed)
    curvature_H = 10 ** draw.uniform(-1, 2) / np.arange(1, MODES + 1) ** draw.uniform(0.5, 2)
    noise = 10 ** draw.uniform(-3, -0.5)
    lr_E = 10 ** (EXPONENTS + draw.normal(0, 0.5, len(EXPONENTS)))
    learns_E = draw.random(len(EXPONENTS)) > 0.3
    shares = np.arange(1, POINTS + 1) / POINTS
    losses = [
        _losses(share, lr_E, np.asarray(curvature_H, float), noise) for share in [*shares.tolist(), *RUNGS.tolist()]
    ]
    all_ED = np.where(learns_E[:, None], np.minimum(np.stack(losses), 1.0), 1.0)
    scores_RED = all_ED[POINTS:]
    scores: dict[str, Array] = {"value": scores_RED, "average": scores_RED}
    curve_CED = all_ED[:POINTS]
    return Table(f"{NAME}{seed}", EXPONENTS, DECAYS, RUNGS, STEPS, curve_CED[-1], curve_CED, scores)


def _losses(share: float, lr_E: Array, curvature_H: Array, noise: float) -> Array:
    """Return the losses after a share of the budget, E by D, as shares of the loss at the beginning."""
    before_D = np.minimum(share, DECAYS)
    square_EDH = np.ones((len(lr_E), len(DECAYS), MODES))
    for steps_D, lr in ((before_D * STEPS, lr_E), ((share - before_D) * STEPS, lr_E / 10)):
        square_EDH = squares_after(square_EDH, steps_D, lr, curvature_H, noise)
    losses_ED = (curvature_H * square_EDH).sum(2) / curvature_H.sum()
    return np.where(np.isfinite(losses_ED), losses_ED, np.inf)


def squares_after(square_EDH: Array, steps_D: Array, lr_E: Array, curvature_H: Array, noise: float) -> Array:
    """Return E[theta^2] of each mode after some steps at a rate, in closed form."""
    with np.errstate(over="ignore", invalid="ignore"):
        kept_EH = (1 - lr_E[:, None] * curvature_H) ** 2
        gone_EDH = kept_EH[:, None] ** steps_D[:, None]
        still_EH = lr_E[:, None] ** 2 * noise * curvature_H / (1 - kept_EH)
        return gone_EDH * square_EDH + (1 - gone_EDH) * still_EH[:, None]
