"""The README's commands run, in order, as a new user would type them; its links lead somewhere."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "docs/under-the-hood.md", "docs/decisions.md", "CHANGELOG.md")]
SMALL = "--set trials=4 --set budget.steps=60 --set task_options.validation=500"


def commands(page: Path) -> list[str]:
    """Return the lines that begin with a prompt in the page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.S)
    return [
        line[2:].split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("$ ")
    ]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command line in a shell that finds `sweep` beside this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "SWEEP_HOME": str(folder / "sweep-data")}
    return subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def served(command: str, folder: Path) -> bool:
    """Start a command that serves a page, and say whether the page came."""
    port = 5997
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "SWEEP_HOME": str(folder / "sweep-data")}
    server = subprocess.Popen(
        f"exec {command} --port {port}",
        shell=True,
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as page:
                    return b"MLflow" in page.read()
            except OSError:
                continue
        return False
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    """In a folder with the sweeps of the checkout; `sweep run` on a small budget."""
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    seen = commands(ROOT / "README.md")
    assert any(command.startswith("sweep run") for command in seen)
    for command in seen:
        if command.startswith("make"):
            target = command.split()[1]
            recipe = re.search(rf"^{target}:.*\n\t\$\(BIN\)/(.*)", (ROOT / "Makefile").read_text(), re.M)
            assert recipe, command
            command = recipe[1]
        if not command.startswith("sweep"):
            continue
        if command.startswith("sweep ui"):
            assert served(command, tmp_path), command
            continue
        done = run(f"{command} {SMALL}" if command.startswith("sweep run") else command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Relative links and pictures name files that exist."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("number", range(len(re.findall(r"```python\n", (ROOT / "README.md").read_text()))))
def test_the_python_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    """Each block by itself, as somebody pastes it."""
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[number]
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def cells(page: Path, head: str) -> list[list[str]]:
    """Return the rows of the table of a page that begins with `head`."""
    lines = page.read_text().split(head, 1)[1].splitlines()[2:]
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_numbers_of_the_ready_sweeps_are_those_of_the_last_report() -> None:
    """`python -m tests.bench ready` runs all of them; nobody types a number into the table."""
    (report,) = sorted((ROOT / "tests" / "bench" / "reports").glob("*-ready.md"))[-1:]
    measured = {name: (size, expected) for name, size, expected, *_ in cells(report, "| sweep | size |")}
    told = {}
    for link, model, expected in cells(ROOT / "README.md", "| sweep | model | expected |"):
        name = link[1:].split("]")[0]
        told[name] = (re.findall(r"[\d,]+ trials of [\d,]+ steps", model)[0], expected)
    assert told == measured
    assert set(told) == {path.stem for path in (ROOT / "sweeps" / "library").glob("*.yaml")}
    assert report.name in (ROOT / "README.md").read_text()
