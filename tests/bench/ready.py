"""Every ready sweep as a person would run it, what came out, and the figures that the README shows.

usage: python -m tests.bench.ready [HOME]  (prints one JSON document)
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from espalier.core.measures.verdicts import VERDICTS
from espalier.core.tasks.fashion import DEBIAN
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.pictures import write_png
from espalier.sweeps.spec.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "sweeps" / "library"
FIGURED = "names"  # whose figures lie beside it


def names() -> list[str]:
    """Return the ready sweeps that can run here."""
    there = sorted(path.stem for path in LIBRARY.glob("*.yaml"))
    return [name for name in there if name != "fashion" or Path(DEBIAN).is_dir()]


def sweep(*arguments: str) -> str:
    """Run the command `sweep` in a process of its own, and return what it prints."""
    command = [sys.executable, "-m", "espalier.sweeps.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def shown(name: str, home: str) -> dict[str, Any]:
    """Return the document of a ready sweep, and how long it took; one that the home has whole is not run again."""
    file, seconds, place = f"sweeps/library/{name}.yaml", None, Home.at(home)
    finished = [kept for kept in HomeOrigin(place).read_all() if kept.state == "finished"]
    whole = [kept.id for kept in finished if kept.spec == load_spec(str(ROOT / file), ())]
    if not whole:
        begin = time.monotonic()
        sweep("run", file, "--json", "--home", home)
        seconds = time.monotonic() - begin
    there = HomeOrigin(place).read(whole[-1] if whole else name)
    if name == FIGURED:
        figure = Document.of(there.material()).figure("valley")
        assert isinstance(figure, Figure)
        write_png(figure, LIBRARY / f"{name}.png")
        sweep("lr-range", file, "--home", home, "--json", "--figure", str(LIBRARY / f"{name}-lr-range.png"))
    return dict(there.document()) | {"seconds": seconds}


def row(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the README tells of a sweep, in the words of its table.

    The best value, where it lies, what it chose, and how many diverged.
    """
    spec, trials, best = document["spec"], document["trials"], document["best"]
    metric, params = spec["objective"]["metric"], best["params"]
    chosen = [str(params[name]) for name, domain in spec["space"].items() if isinstance(domain, list) and domain[1:]]
    points = [f"decay at {point:.2f}" for point in params.get("decay_points", [])]
    said = f"{metric} {best[metric]:.5f} at exponent {params['lr_exponent']:.3f}"
    said = ", ".join([said, *(chosen or points)])
    lost = document["states"].get("diverged", 0)
    verdicts = Counter(t["verdict"] for t in trials if t["verdict"])
    return {
        "name": spec["name"],
        "size": f"{sum(t['confirms'] is None for t in trials)} trials of {spec['budget']['steps']:,} steps",
        "expected": said + (f"; {lost} of {len(trials)} diverge" if lost else ""),
        "verdicts": ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if name in verdicts),
        "seconds": document["seconds"],
    }


def _seconds(row: dict[str, Any]) -> str:
    return "run before" if row["seconds"] is None else f"{row['seconds']:.0f}"


def report(rows: list[dict[str, Any]], head: str) -> str:
    """Return the report as Markdown. `head` says where and with what it was measured."""
    table = "\n".join(
        f"| {r['name']} | {r['size']} | {r['expected']} | {r['verdicts']} | {_seconds(r)} |" for r in rows
    )
    return f"""{head}

`sweep run` of every file in sweeps/library, one after the other. The README has the second and the third column.
The search goes on from what has come in by then, so other timing may propose points near these, unless a sweep is
repeatable; a processor with other instructions rounds otherwise. Seconds are those of whole commands.

| sweep | size | expected | verdicts | s |
|---|---|---|---|---|
{table}

## Not reported

Other seeds: what the best of a sweep owes to chance.
"""


def measure(home: str) -> list[dict[str, Any]]:
    """Run every ready sweep, and return their rows."""
    rows = []
    for name in names():
        rows.append(row(shown(name, home)))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(folder)))
