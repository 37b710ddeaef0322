"""Runs docs/tutorial.ipynb, and writes what its cells print and draw into it. `make notebook`.

Figures become pictures, since who reads the page elsewhere has no Vega. Jupyter edits the notebook itself.
"""

import base64
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parent / "tutorial.ipynb"
PATIENCE_S = 600  # for a cell
PICTURES = "import altair; altair.renderers.enable('png', scale_factor=1.3); None"
COLOURS = 96  # of a picture: there are few, and a notebook in a repository is to be small


def ran(notebook: Any, folder: Path) -> Any:
    """Run a notebook in a folder, and return it with the outputs of its cells. Raises CellExecutionError."""
    place = {"SWEEP_HOME": str(folder / "sweep-data"), "COLUMNS": "100"}
    first = new_code_cell(PICTURES)
    notebook.cells.insert(0, first)
    client = NotebookClient(
        notebook, timeout=PATIENCE_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=os.environ | place)
    notebook.cells.remove(first)
    return notebook


def plain(notebook: Any) -> Any:
    """Return a notebook with small pictures, and its cells numbered."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        cell.execution_count, cell.metadata = number, {}
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            if picture := output.get("data", {}).get("image/png"):
                output.data["image/png"] = _smaller(picture)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def _smaller(picture: str) -> str:
    written = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(COLOURS).save(
        written, "PNG", optimize=True
    )
    return base64.b64encode(written.getvalue()).decode()


def main() -> None:
    """Run it where nothing else is."""
    notebook = nbformat.read(NOTEBOOK, 4)
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(plain(ran(notebook, Path(folder))), NOTEBOOK)
    print(f"{NOTEBOOK.name}: {NOTEBOOK.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
