"""Benchmarks in processes of one thread each, and the machine that they run on."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def machine() -> str:
    """Return the machine in words."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}"


def one_thread(module: str, *arguments: str) -> Any:
    """Run a benchmark of this folder in a process with one thread and return what it found."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
