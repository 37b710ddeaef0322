"""Sweeps by freeze and thaw, and by halving, over tables of whole trainings: trials as the product would leave them.

A trunk is a trial with scores at its rungs. The first branch that goes on from where it was parked completes it, any
other is a trial of its own without scores; a trunk that never goes on is stopped.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.valley import Valley
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.halving import Halving
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.stopping import Stopping
from tests.bench.search import clock
from tests.bench.search.clock import Work
from tests.bench.search.pieces import Piece, Problem
from tests.bench.search.table import Array, Table
from tests.bench.search.thawing import Thawing

SCORE = "average"


def spec_over(table: Table) -> SweepSpec:
    """Return the spec of a sweep over a table."""
    low, high = float(table.exponents[0]), float(table.exponents[-1])
    space: dict[str, Any] = {"lr_exponent": {"low": low, "high": high}}
    if table.has_decays:
        space["decay_points"] = {"low": float(table.decays[0]), "high": float(table.decays[-1])}
    schedule = "step" if table.has_decays else "cosine"
    fields = {"name": "thawed", "task": "names", "schedule": schedule, "space": space}
    return make_spec(fields | {"budget": {"steps": table.steps}})


@dataclass
class Sweep:
    """One replay. trials: by number."""

    table: Table
    budget: float
    seed: int
    workers: int = 2
    trials: list[TrialResult] = field(default_factory=list[TrialResult])
    trunks: dict[int, int] = field(default_factory=dict[int, int])
    parked: dict[int, float] = field(default_factory=dict[int, float])
    continued: set[int] = field(default_factory=set[int])

    def run(self) -> list[TrialResult]:
        """Return the trials at the end of the budget."""
        exponents, decays = ((float(axis[0]), float(axis[-1])) for axis in (self.table.exponents, self.table.decays))
        search = Thawing(Problem(exponents, decays, self.budget, self.workers, self.seed))

        def next_piece() -> Work | None:
            piece = search.ask()
            return None if piece is None else self._train(search, piece, *self._trial_of(piece))

        clock.run(self.workers, next_piece)
        return [replace(t, state="stopped") if t.state == "running" else t for t in self.trials]

    def _trial_of(self, piece: Piece) -> tuple[int, float]:
        """Return the trial that a piece is a part of, and what it costs."""
        trunk, parked = piece.trunk, self.parked.get(piece.trunk, 0.0)
        branch = piece.kind == "branch"
        goes_on = trunk in self.trunks and not (branch and (trunk in self.continued or piece.begin < parked - 1e-9))
        number = self.trunks[trunk] if goes_on else len(self.trials)
        self.trunks.setdefault(trunk, number)
        if not goes_on:
            self.trials.append(TrialResult(number, "running", None, {"lr_exponent": piece.exponent, "seed": 0}))
        if not branch:
            self.parked[trunk] = piece.until
            return number, piece.until - parked
        if goes_on:
            self.continued.add(trunk)
        if self.table.has_decays:
            params = {**self.trials[number].params, "decay_points": [piece.until]}
            self.trials[number] = replace(self.trials[number], params=params)
        return number, 1.0 - min(piece.begin, piece.until)

    def _train(self, search: Thawing, piece: Piece, number: int, cost: float) -> Work:
        table, whole = self.table, piece.kind == "branch"
        yield cost
        value = table.final(piece.exponent, piece.until) if whole else table.score(SCORE, piece.until, piece.exponent)
        trial = self.trials[number]
        if not math.isfinite(value):
            trial = replace(trial, state="diverged", verdict="diverged", evidence="NaN")
        elif whole:
            trial = replace(trial, state="complete", value=value, verdict="healthy")
        else:
            trial = replace(trial, scores={**trial.scores, round(piece.until * table.steps): value})
        self.trials[number] = trial
        search.tell(piece, value)


def halved(table: Table, trials: int, seed: int) -> list[TrialResult]:
    """Return the trials of a random search over a table that successive halving stops by its default rungs."""
    rng, rule, stopping = np.random.default_rng([seed, trials]), Halving(Stopping()), Stopping()
    seen: list[TrialResult] = []
    for number in range(trials):
        exponent, decay = (float(rng.uniform(axis[0], axis[-1])) for axis in (table.exponents, table.decays))
        params = {"lr_exponent": exponent, "seed": 0, **({"decay_points": [decay]} if table.has_decays else {})}
        trial = TrialResult(number, "running", None, params)
        for share in stopping.rungs:
            rung, score = round(share * table.steps), table.score(SCORE, share, exponent)
            if not math.isfinite(score):
                trial = replace(trial, state="diverged", verdict="diverged")
                break
            trial = replace(trial, scores={**trial.scores, rung: score})
            if rule.judge([(rung, number, score, number)], [(rung, number)])[rung, number]:
                trial = replace(trial, state="stopped")
                break
        else:
            value = table.final(exponent, decay)
            lost = not math.isfinite(value)
            ended = ("diverged", None, "diverged") if lost else ("complete", value, "healthy")
            trial = replace(trial, state=ended[0], value=ended[1], verdict=ended[2])
        seen.append(trial)
    return seen


FINE = 4
"""Places between two cells of a table whose truth is known."""


def known(table: Table, rng: np.random.Generator, noise: float | None = None) -> tuple[Table, Table, float]:
    """Return the truth of a table, what a sweep sees of it, and the noise in between, a standard deviation of losses.

    The truth is the table made smooth along the exponents and finer. The noise is that of a trunk, the same for all
    decay points of an exponent; None: as much as the table has near its best.
    """
    exponents = np.linspace(table.exponents[0], table.exponents[-1], FINE * (len(table.exponents) - 1) + 1)
    smooth_ED = _smooth(table.final_ED)
    best = int(np.unravel_index(smooth_ED.argmin(), smooth_ED.shape)[0])
    near = slice(max(0, best - 4), best + 5)
    off = (table.final_ED - smooth_ED)[near]
    sd = float(np.sqrt(1.6) * np.nanmedian(np.abs(off)) / 0.6745) if noise is None else noise  # sqrt 5/8 remains
    finer = {name: _finer(table.exponents, exponents, scores) for name, scores in table.scores.items()}
    final_ED = _finer(table.exponents, exponents, smooth_ED[None])[0]
    curve_CED = np.zeros((0, *final_ED.shape))
    truth = replace(table, exponents=exponents, final_ED=final_ED, scores=finer, curve_CED=curve_CED)
    trunks = sd * rng.standard_normal((len(exponents), 1))
    own = np.sqrt(0.05) * sd * rng.standard_normal(final_ED.shape)
    return truth, replace(truth, final_ED=final_ED + np.sqrt(0.95) * trunks + own), sd


def _smooth(final_ED: Array) -> Array:
    """Return losses (E, D), each a mean of three along the exponents, on a logarithm of the distance from the best."""
    low, high = np.nanmin(final_ED), np.nanmax(final_ED[np.isfinite(final_ED)])
    tau = 0.2 * float(np.nanmedian(final_ED - low))
    z = np.log1p((np.where(np.isfinite(final_ED), final_ED, high) - low) / tau)
    padded = np.pad(z, ((1, 1), (0, 0)), mode="edge")
    return low + tau * np.expm1(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])


def _finer(exponents: Array, finer: Array, losses_RED: Array) -> Array:
    """Return losses (R, E, D) at more exponents, by modified Akima curves through them; infinite where they were."""
    lost = ~np.isfinite(losses_RED)
    losses = np.where(lost, np.nanmax(losses_RED[~lost]), losses_RED)
    values = Akima1DInterpolator(exponents, losses, axis=1, method="makima")(finer)
    nearest = np.abs(finer[:, None] - exponents[None]).argmin(1)
    return np.where(lost[:, nearest], np.inf, values)


def made_table(rng: np.random.Generator) -> Table:
    """Return a table in closed form: SGD with a rate that falls to a tenth, on a quadratic whose gradients are noisy.

    After n steps of rate e, the squared distance along an eigenvalue h is (1 - e h)^2n times what it was, plus noise
    e c / (2 - e h) times what is missing to 1. Averaged weights have less of that noise.
    """
    h = np.arange(1, 65) ** -rng.uniform(0.6, 1.8)
    c, begin, steps = 10 ** rng.uniform(-2.2, -0.5), np.arange(1, 65) ** -rng.uniform(0.0, 0.6), 3000
    top = np.log10(2.0) + 0.25
    exponents, decays = np.linspace(top - 3, top, 25), np.linspace(0.4, 0.9, 6)
    rungs = np.array([0.05, 0.15, 0.25, 0.5])
    whole = 0.5 * float((h * begin**2).sum())

    def loss(share: float, decay: float, averaged: float) -> Array:
        signal, noise = np.tile(begin**2, (len(exponents), 1)), np.zeros((len(exponents), 64))
        for count, rate in ((min(share, decay), 1.0), (max(share - decay, 0.0), 0.1)):
            e_h = np.minimum(rate * 10.0 ** exponents[:, None] * h, 1.99)
            kept = np.abs(1 - e_h) ** (2 * count * steps)
            settled = rate * 10.0 ** exponents[:, None] * c / (2 - e_h)
            signal, noise = signal * kept, noise * kept + settled * (1 - kept)
        losses = 0.5 * (h * (signal + averaged * noise)).sum(1) / whole
        return np.where(10.0**exponents * h.max() < 2, losses, np.inf)

    final_ED = np.stack([loss(1.0, decay, 1.0) for decay in decays.tolist()], 1)
    score = np.stack([loss(share, 1.0, 0.3) for share in rungs.tolist()])
    scores = {SCORE: np.repeat(score[:, :, None], len(decays), 2)}
    return Table("made", exponents, decays, rungs, steps, final_ED, np.zeros((0, *final_ED.shape)), scores)


# --- what is said against what is true ----------------------------------------------------------------------------

FACTORS = (10.0, 2.0, 0.5, 0.1)
LOST = 100.0  # what a diverged training is taken for


@dataclass(frozen=True)
class Outcome:
    """Whether the truth lay where it was said to: the best place, the objective there, costs that were foreseen or not.

    asked, unknown: of how many factors that lie in the range was asked, and of how many no cost is known. width: that
    of the interval, in decades.
    """

    two_se: bool
    interval: bool
    level: bool
    measured: tuple[bool, ...]
    foreseen: tuple[bool, ...]
    asked: int
    unknown: int
    se: float
    width: float


def outcome_of(valley: Valley, places: Array, losses: Array) -> Outcome:
    best, there = float(places[losses.argmin()]), float(np.interp(valley.best_x, places, losses))
    band = valley.at(valley.best_x)
    assert band
    held: dict[bool, list[bool]] = {True: [], False: []}
    chosen = valley.chosen_x
    asked = [factor for factor in FACTORS if places[0] <= chosen + math.log10(factor) <= places[-1]]
    trained = float(np.interp(chosen, places, losses))
    told = {round(off.factor, 3): off for off in valley.off if off.factor and (off.diverges or off.cost is not None)}
    for off in (told[round(factor, 3)] for factor in asked if round(factor, 3) in told):
        if off.cost is not None:
            truth = max(0.0, float(np.interp(off.x, places, losses)) - trained)
            held[bool(off.foreseen)].append((off.low or 0.0) - 1e-12 <= truth <= (off.high or 0.0))
    return Outcome(
        abs(valley.best_x - best) <= 2 * valley.se + 1e-9,
        valley.interval[0] - 1e-9 <= best <= valley.interval[1] + 1e-9,
        band[1] <= there <= band[2],
        tuple(held[False]),
        tuple(held[True]),
        len(asked),
        sum(round(factor, 3) not in told for factor in asked),
        valley.se,
        valley.interval[1] - valley.interval[0],
    )


def replayed(truth: Table, table: Table, trials: list[TrialResult]) -> Outcome | None:
    """Return what the answer says of the trials of a sweep over a table, against the truth; None without a valley."""
    answer = answer_of(spec_over(table), trials)
    if not answer.best or not answer.valley:
        return None
    decay = answer.best.params["decay_points"][0] if table.has_decays else 1.0
    losses = np.array([truth.final(exponent, decay) for exponent in truth.exponents.tolist()])
    fine = np.linspace(truth.exponents[0], truth.exponents[-1], 2001)
    known = np.interp(fine, truth.exponents, np.where(np.isfinite(losses), losses, LOST))
    return outcome_of(answer.valley, fine, known)
