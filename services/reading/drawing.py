"""Draws the report of a sweep, or lists its traces, in a process of its own.

`python -m espalier.services.reading.drawing HOME page|traces SWEEP STATE OPTION` prints HTML or JSON. A process of its
own gives its memory back, and what V8 may do to it harms no service. Where jobs run as separate users, it is run by the
owner's.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.material import Material
from espalier.sweeps.report.page import page_of
from espalier.sweeps.results.formatting import finite


def material_in(home: Path, sweep: str, state: str, option: str) -> Material:
    """Return what the report of a sweep is made of. Raises BadInput.

    state: as the service has it. option: what a command needs to find the sweep, after a space.
    """
    stored = HomeOrigin(Home.at(home, reading=True)).read(sweep)
    return replace(stored.material(), state=state, option=option)


def traces_text(material: Material) -> str:
    """Return what was recorded of the training of each trial, as JSON."""
    traces = [
        {"trial": trial, "curve": trace.curve, "tensors": trace.ratios.tensors, "ratios": trace.ratios.rows}
        for trial, trace in sorted(material.traces.items())
    ]
    work = material.work and {"trained": material.work.trained, "shared": material.work.shared}
    document = {"traces": traces, "work": work, "begun": material.begun, "facts": dict(material.facts)}
    return json.dumps(finite(document))


def main(home: str, kind: str, sweep: str, state: str, option: str) -> None:
    """Print a page or traces. Exits with code 2 and a line for what cannot be read."""
    try:
        material = material_in(Path(home), sweep, state, option)
        text = page_of(Document.of(material)) if kind == "page" else traces_text(material)
    except BadInput as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
    sys.stdout.buffer.write(text.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
