"""What the pages show is so: blocks run as somebody pastes them, links lead somewhere, numbers are measured ones."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "k8s" / "README.md", *sorted(DOCS.glob("*.md"))]
README_LINES = 150
LONG = {"tutorial.md", "service.md", "growing.md"}  # pages whose blocks take minutes
OWN_SWEEPS = {"README.md", "python.md"}  # pages of which each block of Python trains a sweep


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


# --- blocks ----------------------------------------------------------------------------------------------------------


def checkout(folder: Path) -> Path:
    """Copy what belongs to the repository, as a clone has it, into a new folder."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def installed(folder: Path) -> Path:
    """Have `make install` find its work done, by the environment that these tests run in."""
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(folder / name, (0, 0))  # older than what stands for a finished set-up
    return folder


def pasted(page: Path, folder: Path, timeout_s: float, **more: str) -> str:
    """Run the shell blocks of a page in one shell that finds neither `sweep` nor this Python by itself.

    `more` are variables of its environment.
    """
    prepared = Path(sys.executable).parent
    path = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != prepared]
    foreign = ("VIRTUAL_ENV", "PYTHONPATH", "SWEEP_HOME", "SWEEP_SERVER")
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    script = "\n".join(["set -euo pipefail", *blocks(page, "sh")]).replace("8080", str(free_port()))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment | more | {"PATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


WITH_COMMANDS = [page for page in PAGES if blocks(page, "sh") and page.name != "README.md"]


def promised() -> str:
    """Return the last line that the README says a person will see."""
    (line,) = re.findall(r"The last line is `([^`]+)`", (ROOT / "README.md").read_text())
    return line


@pytest.mark.early
def test_the_readme_works_when_it_is_pasted(tmp_path: Path) -> None:
    """All its commands, by the packages of the clone, in which the ready sweep is a small one."""
    folder = installed(checkout(tmp_path))
    spec = folder / "sweeps" / "library" / "names.yaml"
    fields = yaml.safe_load(spec.read_text())
    small = {"trials": 8, "budget": fields["budget"] | {"steps": 500}, "resources": {"cohorts": 1}}
    spec.write_text(yaml.safe_dump(fields | small))
    last = pasted(ROOT / "README.md", folder, 600, PYTHONPATH=str(folder / "src")).strip().splitlines()[-1]
    number = re.compile(r"\d+\.\d+")
    assert number.sub("#", last) == number.sub("#", promised())


@pytest.mark.slow
def test_the_readme_works_when_it_is_pasted_into_a_machine_that_has_nothing(tmp_path: Path) -> None:
    """And its last line is the one that the README shows: the ready sweep repeats itself."""
    output = pasted(ROOT / "README.md", checkout(tmp_path), 1500)
    assert output.strip().splitlines()[-1] == promised()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.name in LONG else []) for page in WITH_COMMANDS],
    ids=name_of,
)
def test_the_commands_of_a_page_run_in_one_shell(page: Path, tmp_path: Path) -> None:
    pasted(page, installed(checkout(tmp_path)), 900)


PYTHON = [
    pytest.param(page, k, marks=[pytest.mark.slow] if page.name in OWN_SWEEPS else [], id=f"{name_of(page)}-{k}")
    for page in PAGES
    for k in range(len(blocks(page, "python")))
]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("page, number", PYTHON)
def test_the_python_of_a_page_runs(page: Path, number: int, tmp_path: Path) -> None:
    """Each block by itself, saved as a file of an empty folder."""
    (tmp_path / "block.py").write_text(blocks(page, "python")[number], encoding="utf-8")
    environment = os.environ | {"SWEEP_HOME": str(tmp_path / "home")}
    command = [sys.executable, "block.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_tested_or_shown(page: Path) -> None:
    """sh and python blocks are run; yaml, text, console and plain ones show something."""
    kinds = re.findall(r"^```(\w*)\n.*?^```", page.read_text(encoding="utf-8"), re.S | re.M)
    assert {*kinds} <= {"sh", "python", "yaml", "text", "console", ""}


# --- what the pages promise ------------------------------------------------------------------------------------------


def test_the_readme_is_one_page_with_one_block_of_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    assert len(blocks(ROOT / "README.md", "sh")) == 1


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links and pictures name files that exist."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name_of(page)}: {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = re.findall(r"\]\((docs/\w[\w-]*\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {name_of(page) for page in PAGES if page.parent == DOCS} <= {*linked}


def test_generated_pages_are_what_the_program_says() -> None:
    """`make docs` writes them anew."""
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    assert spec and spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    for name in build.PAGES:
        assert build.built(name) == (DOCS / name).read_text(encoding="utf-8"), f"docs/{name}: run `make docs`"


def test_every_decision_has_its_date() -> None:
    headings = re.findall(r"^## (.*)$", (DOCS / "decisions.md").read_text(encoding="utf-8"), re.M)
    assert headings and not [heading for heading in headings if not re.search(r" \(\d+ [A-Z][a-z]+ \d{4}\)$", heading)]


def cells(page: Path, head: str) -> list[list[str]]:
    """Return the rows of the table of a page that begins with `head`."""
    lines = page.read_text(encoding="utf-8").split(head, 1)[1].splitlines()[2:]
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_numbers_of_the_ready_sweeps_are_those_of_the_last_report() -> None:
    """`python -m tests.bench ready` runs all of them; nobody types a number into the table."""
    (report,) = sorted((ROOT / "tests" / "bench" / "reports").glob("*-ready.md"))[-1:]
    measured = {name: (size, expected) for name, size, expected, *_ in cells(report, "| sweep | size |")}
    shown = {}
    for link, model, expected in cells(DOCS / "spec.md", "| sweep | model | expected |"):
        name = link[1:].split("]")[0]
        shown[name] = (re.findall(r"[\d,]+ trials of [\d,]+ steps", model)[0], expected)
    assert shown == measured
    assert set(shown) == {path.stem for path in (ROOT / "sweeps" / "library").glob("*.yaml")}
    assert report.name in (DOCS / "spec.md").read_text(encoding="utf-8")


def test_the_readme_shows_the_best_value_of_the_last_report() -> None:
    """A repeatable sweep: the slow test above gets the same value."""
    (report,) = sorted((ROOT / "tests" / "bench" / "reports").glob("*-ready.md"))[-1:]
    measured = {name: expected for name, _, expected, *_ in cells(report, "| sweep | size |")}
    assert promised() == f"reproduced: {measured['names'].partition(' at ')[0]}, bit for bit"
