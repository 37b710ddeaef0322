"""Compiling: once, for this processor and compiler; what is kept, what is broken, what is missing."""

import math
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espalier.core.native import NotNative, compile
from tests.core.native.beside_torch import compiled, numbers, same


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "espalier" / "native"


def test_what_was_compiled_once_is_found_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(torch.sin, numbers(3))
    (kept,) = cache.glob("*.so")
    monkeypatch.setattr(compile, "_compile", lambda *_: pytest.fail("compiled again"))
    compiled(torch.sin, numbers(3))
    assert list(cache.glob("*.so")) == [kept]


@pytest.mark.parametrize("what", ("_machine", "_version"))
def test_another_processor_or_another_compiler_finds_nothing_that_was_compiled(
    cache: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(torch.sin, numbers(3))
    monkeypatch.setattr(compile, what, lambda *_: "another")
    for _ in range(2):
        compiled(torch.sin, numbers(3))
        assert len(list(cache.glob("*.so"))) == 2


def test_a_file_that_was_cut_off_is_made_again(cache: Path) -> None:
    """In processes of their own: one that has loaded a library never looks at its file again."""
    code = (
        "import torch; from espalier.core.native.stacked import Stacked\n"
        "from espalier.core.native import native_of; x = torch.ones(3)\n"
        "print(native_of(lambda x: [x.cos()], [Stacked(x, None)])(1, [x])[0][0].item())"
    )

    def run() -> float:
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert run() == pytest.approx(math.cos(1), rel=1e-6)
    (kept,) = cache.glob("*.so")
    whole = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[:100])
    assert run() == pytest.approx(math.cos(1), rel=1e-6)
    assert kept.stat().st_size == whole


def test_processes_that_need_the_same_compile_it_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, log = compile.compiler(), tmp_path / "log"
    counting = script(tmp_path / "cc", f'case "$1" in --version) ;; *) echo once >> {log};; esac\nexec {real} "$@"')
    monkeypatch.setenv("CC", counting)
    code = (
        "import torch; from espalier.core.native.stacked import Stacked; from espalier.core.native import native_of\n"
        "native_of(lambda x: [x.sin().cos()], [Stacked(torch.ones(3), None)])"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert log.read_text() == "once\n" and len(list(cache.glob("*.so"))) == 1


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    same(compiled(torch.exp, numbers(3))[0], numbers(3).exp(), 1e-6, "the exponential")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_a_compiler_or_with_a_broken_one_there_is_no_machine_code(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = script(
        tmp_path / "broken", 'case "$1" in --version) echo broken 1;; *) echo "x: error: no" >&2; exit 1;; esac'
    )
    empty = script(tmp_path / "empty", 'case "$1" in --version) echo empty 1;; *) exit 0;; esac')
    for command, why in ((broken, "broken failed: x: error: no"), (empty, "cannot be loaded")):
        monkeypatch.setenv("CC", command)
        with pytest.raises(NotNative, match=why):
            compiled(torch.exp, numbers(4))
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotNative, match="no C compiler here: install gcc"):
        compiled(torch.exp, numbers(4))
    assert not [*cache.glob("*.so"), *cache.glob("*.part")], "nothing broken is kept"


def test_without_functions_of_whole_vectors_the_scalar_ones_serve(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a C library that has none: the first try fails, the second gives the same numbers but for rounding."""
    real = compile.compiler()
    plain = script(
        tmp_path / "cc", f'case "$*" in *VECTOR_MATH*) echo "error: no" >&2; exit 1;; esac\nexec {real} "$@"'
    )
    monkeypatch.setenv("CC", plain)
    x = numbers(100)
    for ours, theirs in zip(compiled(lambda x: (x.tanh(), x.exp()), x), (x.tanh(), x.exp()), strict=True):
        same(ours, theirs, 1e-6, "a function")
