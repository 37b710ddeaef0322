"""Archives: nothing that leads outside, lies about its size, or is more than a file, is taken or written."""

import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadInput
from services import archive
from sweeps.desk import packed


def zipped(entries: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (modes or {}).get(name, 0) << 16
            made.writestr(entry, text)
    return buffer.getvalue()


BAD = {
    "an absolute path": (zipped({"/etc/passwd": b"x"}), "absolute"),
    "a drive": (zipped({"C:\\x.py": b"x"}), "absolute"),
    "a way out": (zipped({"a/../../x.py": b"x"}), r"leads out"),
    "a way out, as Windows writes it": (zipped({"a\\..\\..\\x.py": b"x"}), "leads out"),
    "a symbolic link": (zipped({"x": b"/etc/passwd"}, {"x": stat.S_IFLNK | 0o777}), "link"),
    "a device": (zipped({"x": b""}, {"x": stat.S_IFCHR | 0o666}), "device"),
    "nothing": (zipped({}), "empty"),
    "no archive": (b"PK\x03\x04 but no more", "no zip"),
    "too much": (zipped({"x": bytes(3 * 2**20)}), "unpacked"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_refused_and_writes_nothing_outside(case: str, tmp_path: Path) -> None:
    text, said = BAD[case]
    with pytest.raises(BadInput, match=said):
        archive.check(text, 1, 2)
    if case != "nothing":
        with pytest.raises(BadInput):
            archive.unpack(text, tmp_path / "deep" / "place", 2)
    assert all(path.is_relative_to(tmp_path / "deep") for path in tmp_path.rglob("*"))


def test_a_packed_archive_above_the_limit_is_refused() -> None:
    with pytest.raises(BadInput, match=r"at most 1e-05 MiB are taken"):
        archive.check(zipped({"x.py": b"x" * 100}), 1e-5, 1)


def test_an_archive_that_lies_about_its_size_writes_no_more_than_the_limit(tmp_path: Path) -> None:
    text = bytearray(zipped({"x": bytes(4 * 2**20)}))
    true, false = (4 * 2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    lying = bytes(text.replace(true, false))
    assert lying != bytes(text)
    archive.check(lying, 1, 2)
    with pytest.raises((BadInput, zipfile.BadZipFile)):
        archive.unpack(lying, tmp_path, 2)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 2 * 2**20


@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.py", fullmatch=True),
        st.binary(max_size=200),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_packed_is_what_is_unpacked(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("place")
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(text)
    archive.unpack(packed(source), place, 1)
    assert {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*.py")} == files
    assert packed(source) == packed(source)


def test_hidden_files_caches_and_links_stay_at_home(tmp_path: Path) -> None:
    for name in ("a.py", ".env", ".git/config", "b/__pycache__/c.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    with zipfile.ZipFile(io.BytesIO(packed(tmp_path))) as made:
        assert made.namelist() == ["a.py"]
