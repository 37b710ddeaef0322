"""The command that refuses its input: its one message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result

from tests.sweeps.made import THERMOMETER

Sweep = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[3]


def complaint(result: Result) -> str:
    """Return the one message of a command that refused its input."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("sweep: ")]
    assert result.stderr.endswith(said + "\n")
    return said


def refused_run(sweep: Sweep, *arguments: str, **changed: Any) -> str:
    """Return why a spec is refused; nothing may have been begun."""
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | changed))
    said = complaint(sweep("run", "s.yaml", *arguments))
    assert json.loads(sweep("list", "--json").stdout) == []
    return said
