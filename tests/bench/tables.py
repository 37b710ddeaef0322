"""Make a truth table: whole trainings by exponent and decay point, by the engine, with their scores on the way.

All cells are trials of one cohort, so that those of an exponent share their trunk. See tests.bench.search.table for the
arrays of the file, which holds besides: score_KIND of every score, acc (E, D) the accuracy at the end if the task
reports one, spec, the whole spec of the cells as JSON, and words, those of the command that made it.

usage: python -m tests.bench.tables --task names --optimizer adamw --schedule wsd --exponents -4 -1 25
       --decay 0.4 0.9 9 --steps 3000 --seed 0 --out FILE.npz [FIELD=VALUE ...]
       python -m tests.bench.tables --all FOLDER [--jobs N]  (those of the report, by tests.bench.truths)
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from espalier.core.loading.ready import READY
from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import choose
from espalier.core.scores.registry import SCORES
from espalier.core.task import load_data, load_task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Reported, Scored, TrialId
from espalier.core.training.scores import Scoring
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Trial
from espalier.sweeps import cohorts as plan
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.bench.truths import make_all

RUNGS = (0.05, 0.1, 0.15, 0.25, 0.5)
POINTS = 20  # of the validation curve
LANES = 24
LOSS, ACCURACY = "valid_loss", "valid_accuracy"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Axes:
    """The cells of a table. decays: (1.0,) for a schedule without decay points."""

    exponents: Sequence[float]
    decays: Sequence[float]

    def point(self, cell: int) -> dict[str, object]:
        """Return the sampled values of a cell, counted exponent by exponent."""
        row, column = divmod(cell, len(self.decays))
        decays = {"decay_points": [self.decays[column]]} if tuple(self.decays) != (1.0,) else {}
        return {"lr_exponent": self.exponents[row], **decays}

    @property
    def shape(self) -> tuple[int, int]:
        """E, D."""
        return len(self.exponents), len(self.decays)


def cell_trials(spec: SweepSpec, axes: Axes, cells: Sequence[int]) -> list[Trial]:
    """Return the engine's trials of some cells, scored at RUNGS."""
    return [
        replace(trial, reports=POINTS)
        for cell in cells
        for trial in plan.replicates(spec, cell, spec.space.resolve(axes.point(cell)))
    ]


def cohort_of(spec: SweepSpec, axes: Axes, cells: Sequence[int]) -> Cohort:
    """Return a cohort of some cells of a table, each a whole training."""
    task = load_task(spec.task, dict(spec.task_options))
    data, trials = load_data(task), cell_trials(spec, axes, cells)
    structure = plan.structure(spec, spec.space.resolve(axes.point(0)))
    batch = tuple(tensor[: structure.batch_size] for tensor in data.train)
    native = PROGRAMS["native"](task, structure.optimizer)
    work, reason = np.prod(axes.shape).item() * spec.budget.steps, partial(native.why_not, data.train, len(batch[0]))
    program, why = choose(task, batch, LANES, spec.resources.program, work, why_not_native=reason)
    print(f"program {program}: {why}", file=sys.stderr)
    scoring = Scoring(tuple(SCORES.names))
    return Cohort(CohortSetup(task, data, structure, trials, LANES, program, ratio_samples=0, scoring=scoring))


def make_table(spec: SweepSpec, axes: Axes) -> dict[str, npt.NDArray[np.generic]]:
    """Train all cells, and return the arrays of the file."""
    shape, steps = axes.shape, spec.budget.steps
    cohort = cohort_of(spec, axes, range(shape[0] * shape[1]))
    rungs = {step: k for k, step in enumerate(plan.rungs(spec))}
    points = {step: k for k, step in enumerate(cell_trials(spec, axes, [0])[0].report_steps())}
    final_ED, accuracy_ED = np.full(shape, np.nan), np.full(shape, np.nan)
    curve_CED = np.full((len(points), *shape), np.nan)
    scores = {kind: np.full((len(rungs), *shape), np.nan) for kind in SCORES}
    for event in cohort.train():
        cell = np.unravel_index(TrialId.parse(event.trial).number, shape)
        loss = event.values.get(LOSS, np.nan) if isinstance(event, Scored | Reported | Ended) else np.nan
        if isinstance(event, Reported):
            curve_CED[points[event.step], *cell] = loss
        elif isinstance(event, Scored):
            scores[event.score][rungs[event.step], *cell] = loss
        elif isinstance(event, Ended) and event.status == "complete":
            final_ED[cell], accuracy_ED[cell] = loss, event.values.get(ACCURACY, np.nan)
    return {
        "E": np.array(axes.exponents),
        "D": np.array(axes.decays),
        "H": np.array([1.0]),
        "T": np.array(steps),
        "rungs": np.array([step / steps for step in rungs]),
        "fin": final_ED[None],
        "curve": curve_CED,
        "acc": accuracy_ED,
        **{f"score_{kind}": array for kind, array in scores.items()},
        "spec": np.array(json.dumps(spec.model_dump(mode="json"))),
    }


def write_table(file: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write the arrays of a table: a file that is there is whole."""
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.savez_compressed(out, allow_pickle=False, **arrays)
    part.replace(file)


def spec_of(wanted: argparse.Namespace) -> SweepSpec:
    """Return the spec of all cells. Each cell replaces the exponent and the decay point by its own."""
    space: dict[str, object] = {"lr_exponent": wanted.exponents[0], "seed": wanted.seed}
    if wanted.decay:
        space["decay_points"] = {"choices": [[point] for point in axis(wanted.decay)]}  # a constant would stay as it is
    fields: dict[str, object] = {
        "name": "table",
        "task": wanted.task,
        "optimizer": wanted.optimizer,
        "schedule": wanted.schedule,
        "budget": {"steps": wanted.steps},
        "space": space,
        "stopping": {"rungs": list(RUNGS)},
    }
    return make_spec(override(fields, wanted.assignments), stored=True)


def axis(ends: Sequence[float]) -> list[float]:
    """Return evenly spaced numbers: from the first to the second, as many as the third says.

    >>> axis([-2, -1, 3])
    [-2.0, -1.5, -1.0]
    """
    low, high, count = ends
    return [round(float(value), 9) for value in np.linspace(low, high, int(count))]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="names", help=f"{', '.join(READY)}, or package.module:Class")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--schedule", default="step")
    parser.add_argument("--exponents", nargs=3, type=float, metavar=("LOW", "HIGH", "N"))
    parser.add_argument("--decay", nargs=3, type=float, metavar=("LOW", "HIGH", "N"), help="decay points")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the file")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="make all of the report that it has not")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many of these at once")
    parser.add_argument("assignments", nargs="*", metavar="FIELD=VALUE", help="of the spec: space.momentum=0.9")
    wanted = parser.parse_args(words)
    if not wanted.all and not (wanted.exponents and wanted.out):
        parser.error("--exponents and --out are needed, or --all")
    return wanted


def words_without_file(words: Sequence[str]) -> list[str]:
    """Return the words of a command but for the file that it writes.

    >>> words_without_file(["--steps", "9", "--out", "a.npz", "space.momentum=0.9"])
    ['--steps', '9', 'space.momentum=0.9']
    """
    place = words.index("--out")
    return [*words[:place], *words[place + 2 :]]


def main() -> None:
    """Make a table, or all, and write it."""
    torch.set_num_threads(1)
    wanted = arguments()
    if wanted.all:
        return make_all(wanted.all, wanted.jobs)
    axes = Axes(axis(wanted.exponents), axis(wanted.decay) if wanted.decay else [1.0])
    words = np.array(" ".join(words_without_file(sys.argv[1:])))
    write_table(wanted.out, make_table(spec_of(wanted), axes) | {"words": words})
    print(f"{wanted.out}: {wanted.out.stat().st_size / 1e3:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
