"""Archives: nothing that leads outside, lies about its size, or is more than a file, is taken or written."""

import io
import stat
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps.client.submission import packed
from espalier.sweeps.code import archive


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


def with_bytes(text: bytes, old: bytes, new: bytes) -> bytes:
    changed = text.replace(old, new)
    assert changed != text and len(old) == len(new)
    return changed


def twice(*names: str) -> bytes:
    """An archive whose entries have these names, however often."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name in names:
            made.writestr(zipfile.ZipInfo(name), b"x")
    return buffer.getvalue()


def packed_by(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr("x.py", b"x" * 1000)
    return buffer.getvalue()


def encrypted() -> bytes:
    text = bytearray(zipped({"x.py": b"x"}))
    text[6] |= 1  # the flag, in the file's own header and in the directory
    text[text.index(b"PK\x01\x02") + 8] |= 1
    return bytes(text)


DIRECTORY = b"PK\x01\x02\x14\x03\x14\x00\x00\x00"  # up to the method by which an entry is packed
ODD = {
    "a file that is a folder, too": (twice("a", "a/b"), "'a' is a file and a folder"),
    "the same, the other way round": (twice("a/b", "a"), "'a' is a file and a folder"),
    "a folder that is a file, too": (twice("a/", "a"), "'a' is a file and a folder"),
    "one name twice": (twice("a.py", "a.py"), "one name"),
    "two names that a Mac takes for one": (twice("a.py", "A.py"), "one name"),
    "an empty name": (twice(""), "an empty name"),
    "an empty folder's name": (twice("a//b"), "an empty name"),
    "the folder itself": (twice("./a"), "an empty name"),
    "a dot": (twice("."), "an empty name"),
    "a line break": (twice("a\nb"), "letters that can be printed"),
    "Windows' separator": (twice("a\\b"), "letters that can be printed|leads out|between folders"),
    "a device of Windows": (twice("sub/aux.py"), "the name of a device"),
    "a long name": (twice("x" * 300), "at most"),
    "a long path": (twice("/".join(["x" * 100] * 20)), "at most"),
    "a pipe": (zipped({"x": b""}, {"x": stat.S_IFIFO | 0o666}), "a link or a device"),
    "a socket": (zipped({"x": b""}, {"x": stat.S_IFSOCK | 0o666}), "a link or a device"),
    "bad bits": (with_bytes(twice("x.py"), b"x.pyx", b"x.pyy"), "cannot be unpacked"),
    "a packing nobody knows": (
        with_bytes(twice("x.py"), DIRECTORY + b"\x00\x00", DIRECTORY + b"\x63\x00"),
        "packed by method 99",
    ),
    "bzip2, which unpacks without end": (packed_by(zipfile.ZIP_BZIP2), "packed by method 12"),
    "lzma": (packed_by(zipfile.ZIP_LZMA), "packed by method 14"),
    "encrypted": (encrypted(), "encrypted"),
    "200,000 files": (lambda: twice(*(f"{n}" for n in range(200_000))), "more than 10,000 files"),
    "half of one": (twice("x.py", "y.py")[:-40], "no zip|cannot be read"),
    "nothing at all": (b"", "no zip"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_an_odd_archive_is_refused_when_it_is_handed_in(case: str, tmp_path: Path) -> None:
    made, said = ODD[case]
    text = made() if callable(made) else made  # what takes seconds to make is made when it is needed
    with pytest.raises(BadInput, match=said) as refused:
        archive.check(text, 50, 200)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    with pytest.raises(BadInput):
        archive.unpack(text, tmp_path / "place", 200)
    assert all(path.is_relative_to(tmp_path / "place") for path in tmp_path.rglob("*"))


@given(data=st.data())
def test_whatever_is_taken_can_be_unpacked_and_all_else_is_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Some bytes of a good archive are changed."""
    text = bytearray(twice("a.py", "b/c.py", "b/d/e.py"))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    place = tmp_path_factory.mktemp("place") / "code"
    try:
        archive.check(bytes(text), 1, 1)
    except BadInput as refused:
        assert "\n" not in str(refused)
    else:
        archive.unpack(bytes(text), place, 1)
        assert archive.holds(bytes(text), place, 1)


def test_code_that_was_changed_is_put_back_before_it_runs(tmp_path: Path) -> None:
    text, place = zipped({"mine.py": b"good", "sub/other.py": b"good"}), tmp_path / "code" / "hash"

    def files() -> dict[str, bytes]:
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}

    def put() -> None:
        assert archive.kept(text, place, 1) == place
        assert files() == {"mine.py": b"good", "sub/other.py": b"good"}

    put()
    (place / "mine.py").chmod(0o600)
    (place / "mine.py").write_bytes(b"evil")
    put()
    (place / "torch.py").write_bytes(b"evil")
    put()
    (place / "__pycache__").mkdir()
    (place / "__pycache__" / "mine.cpython-311.pyc").write_bytes(b"evil")
    put()
    (place / "sub" / "other.py").unlink()
    put()
    (place / "mine.py").unlink()
    (place / "mine.py").symlink_to("/etc/hostname")
    put()
    assert {path.stat().st_mode & 0o777 for path in place.rglob("*")} == {0o400, 0o700}
    assert [path.name for path in place.parent.iterdir()] == ["hash"]


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
    with pytest.raises(BadInput, match="'x' cannot be unpacked"):
        archive.check(lying, 1, 2)
    with pytest.raises(BadInput):
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


def test_hidden_files_caches_links_and_a_sweeps_home_stay_at_home(tmp_path: Path) -> None:
    homes = ("sweep-data/service.db", "sweep-data/jobs/x/log", "old/optuna.journal", "old/mlartifacts/1/trial.json")
    for name in ("a.py", ".env", ".git/config", "b/__pycache__/c.pyc", *homes):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    with zipfile.ZipFile(io.BytesIO(packed(tmp_path))) as made:
        assert made.namelist() == ["a.py"]
