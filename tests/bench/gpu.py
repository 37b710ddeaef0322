"""The engine on a GPU: the laws that hold there, and lane-steps a second beside one trial's step, eager and captured.

Needs torch and this project's `core` alone. Prints one JSON document; with --report also writes the report as Markdown.

usage: python -m tests.bench.gpu [--words FILE] [--report FILE] [--note TEXT]
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.programs.captured import CapturedProgram
from espalier.core.programs.program import Program
from espalier.core.task import Data
from espalier.core.tasks.names import Names
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Reported
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

BATCH, SAMPLED = 32, 200  # examples; steps between two samples of the ratios, as in a sweep
HIDDEN = (64, 200, 800, 3200)
LANES = (1, 8, 64, 256, 1024, 4096)
PLAIN_SGD = SGD(momentum=False, decay=False)
STRUCTURE = Structure(PLAIN_SGD, "step", BATCH)


def words_file(folder: Path, number: int = 30_000) -> str:
    """Write words of random letters, which cost what names cost, where the names themselves are not at hand."""
    draw = random.Random(0)
    path = folder / "words.txt"
    letters = "abcdefghijklmnopqrstuvwxyz"
    path.write_text("\n".join("".join(draw.choices(letters, k=draw.randint(3, 10))) for _ in range(number)))
    return str(path)


def trials(number: int, steps: int = 10**9) -> list[Trial]:
    """Return trials that share nothing; by default they never end."""
    return [Trial(str(k), 0, steps, Hyperparameters(10 ** (-3 + 2 * k / number)), reports=1) for k in range(number)]


def synchronised(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


# --- laws ------------------------------------------------------------------------------------------------------------


def laws(task: Names, data: Data, device: str, steps: int = 120) -> dict[str, Any]:
    """Check what must hold on this device; raises AssertionError where it does not. Returns what was measured."""
    each = [Trial(str(k), k % 2, steps, Hyperparameters(0.02 * (k + 1), (0.5,)), reports=3) for k in range(7)]
    poison = Trial("poison", 0, steps, Hyperparameters(1e38), reports=3)

    def losses(some: Sequence[Trial], program: str, lanes: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for event in Cohort(CohortSetup(task, data, STRUCTURE, some, lanes, program, device)).train():
            if isinstance(event, Reported):
                found.setdefault(event.trial, []).append(event.values["train_loss"])
        return found

    crowd = losses([*each, poison], "captured", 16)
    for trial in each[:3]:
        alone = losses([trial], "captured", 16)
        assert alone[trial.id] == crowd[trial.id], f"trial {trial.id} depends on its neighbours at one width"
    again = losses([*each[::-1], poison], "captured", 16)
    assert all(again[t.id] == crowd[t.id] for t in each), "a lane's numbers depend on its place"
    widths = {lanes: losses(each[:3], "captured", lanes) for lanes in (4, 64)}
    apart = [abs(a - b) for t in each[:3] for a, b in zip(widths[4][t.id], widths[64][t.id], strict=True)]
    plain = losses(each[:3], "plain", 1)
    away = [abs(a - b) for t in each[:3] for a, b in zip(plain[t.id], crowd[t.id], strict=True)]
    assert max(away) < 1e-3, f"the captured program is {max(away)} away from the plain one"
    branched = [
        replace(each[0], id=f"b{k}", hyper=replace(each[0].hyper, decay_points=(0.3 + k / 10,))) for k in range(4)
    ]
    together = losses(branched, "captured", 16)
    for trial in branched:
        assert losses([trial], "captured", 16)[trial.id] == together[trial.id], "a branch is not the run never forked"
    return {"apart_across_widths": max(apart), "away_from_plain": max(away)}


# --- one trial's step, as one would write it -------------------------------------------------------------------------


def solo(task: Names, data: Data, device: str, capture: bool, steps: int) -> float:
    """Return us a step of a plain loop with torch.optim.SGD: eager, or its whole step as one CUDA graph.

    The data lies on the device and the batches of all steps are drawn beforehand, on both.
    """
    torch.manual_seed(0)
    model = task.model().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    moved = data.to(device, torch.float32)
    index_SB = torch.randint(0, len(data.train[0]), (steps, BATCH), device=device)
    index_B = index_SB[0].clone()

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=not capture)
        loss = task.loss(model, tuple(t[index_B] for t in moved.train))
        loss.backward()
        optimizer.step()
        return loss

    run: Callable[[], Any] = step
    if capture:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    times = []
    for _ in range(5):
        synchronised(device)
        begin = time.perf_counter()
        for s in range(steps):
            index_B.copy_(index_SB[s])
            run()
        synchronised(device)
        times.append((time.perf_counter() - begin) / steps * 1e6)
    return statistics.median(times)


# --- lanes -----------------------------------------------------------------------------------------------------------


def us_per_lane_step(
    task: Names, data: Data, program: Program, lanes: int, device: str, turns: int = 8, samples: int = 10**9 // SAMPLED
) -> float:
    """Return the median time of a lane's step in us, of whole turns of the training loop."""
    cohort = Cohort(CohortSetup(task, data, STRUCTURE, trials(lanes), lanes, program, device, ratio_samples=samples))
    for _ in range(2):
        cohort.turn()
    times = []
    for _ in range(5):
        synchronised(device)
        before, begin = cohort.lane_steps, time.perf_counter()
        for _ in range(turns):
            cohort.turn()
        synchronised(device)
        times.append((time.perf_counter() - begin) / (cohort.lane_steps - before) * 1e6)
    return statistics.median(times)


def measure(
    path: str, device: str, hidden: Sequence[int] = HIDDEN, lanes: Sequence[int] = LANES, steps: int = 2000
) -> dict[str, Any]:
    """Return the laws' figures and the table of times by model and number of lanes."""
    small = Names(path)
    found: dict[str, Any] = {"laws": laws(small, small.data(), device), "models": {}}
    for size in hidden:
        task = Names(path, hidden=size)
        data = task.data()
        program = PROGRAMS["captured"](task, PLAIN_SGD)
        assert isinstance(program, CapturedProgram)
        row: dict[str, Any] = {
            "parameters": program.parameters.count,
            "eager_us": solo(task, data, device, capture=False, steps=steps),
            "captured_us": solo(task, data, device, capture=True, steps=steps) if device != "cpu" else None,
            "lanes_us": {},
        }
        for width in lanes:
            if width * program.parameters.count * 4 * 8 > 60e9:
                break
            row["lanes_us"][width] = us_per_lane_step(task, data, program, width, device)
            program.forget()
        found["models"][size] = row
    program = PROGRAMS["captured"](small, PLAIN_SGD)
    width = min(512, max(lanes))
    pairs = [
        [us_per_lane_step(small, small.data(), program, width, device, samples=s) for s in (10**9 // SAMPLED, 0)]
        for _ in range(3)
    ]
    found["ratios"] = {"lanes": width, "share": statistics.median(on / off - 1 for on, off in pairs)}
    return found


def report(found: dict[str, Any], where: str, note: str) -> str:
    """Return the report as Markdown."""
    widths = sorted({int(k) for model in found["models"].values() for k in model["lanes_us"]})
    rows = ""
    for size, model in found["models"].items():
        times = {int(k): us for k, us in model["lanes_us"].items()}
        best = min(times.values())
        captured = model["captured_us"]
        cells = " | ".join(f"{times[k]:.3g}" if k in times else "" for k in widths)
        against = (
            f"{captured:.1f} | {model['eager_us'] / best:,.0f} | {captured / best:,.0f}" if captured else "- | - | -"
        )
        rows += f"| {size} | {model['parameters']:,} | {model['eager_us']:.0f} | {against} | {cells} |\n"
    return f"""# {date.today()}: lanes on a GPU

{where}. Command: `python -m tests.bench.gpu`. {note}

The names network at several hidden sizes, batch {BATCH}, SGD, float32. *eager* and *graph*: a plain loop with
torch.optim.SGD, one trial, us a step; the second captured whole as one CUDA graph. Then this engine's captured program,
whole turns of its training loop, ratios every {SAMPLED} steps: us a lane-step, by the number of lanes. Data lies on the
GPU on all sides.

| hidden | parameters | eager | graph | x eager | x graph | {" | ".join(map(str, widths))} |
|{"---|" * (6 + len(widths))}
{rows}
Laws: at one width a lane has the same bits in any company, at any place, and as a branch. Across widths its losses were
at most {found["laws"]["apart_across_widths"]:.1e} apart after 120 steps, and {found["laws"]["away_from_plain"]:.1e}
from those of the plain program. Ratios on cost {found["ratios"]["share"]:+.1%} at {found["ratios"]["lanes"]} lanes.

## Not reported

Other models and optimizers; several processes on one GPU; validation.
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", help="one word a line; default: random letters")
    parser.add_argument("--report")
    parser.add_argument("--note", default="")
    wanted = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        path = wanted.words or words_file(Path(folder))
        small = {"hidden": (16,), "lanes": (1, 4), "steps": 50} if device == "cpu" else {}  # there: to see that it runs
        found = measure(path, device, **small)
    where = torch.cuda.get_device_name() if device == "cuda" else "a CPU, only to see that it runs"
    print(json.dumps(found))
    if wanted.report:
        Path(wanted.report).write_text(report(found, f"{where}, torch {torch.__version__}", wanted.note))


if __name__ == "__main__":
    main()
