"""`sweep export` and `sweep unpack`: a sweep opens elsewhere, whole or not at all, and without secrets."""

import html
import json
import os
import random
import secrets
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import espalier as es
from espalier.sweeps.home import JOURNAL, Home
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.cli.test_compare import make
from tests.sweeps.conftest import SmallSweep

Sweep = Callable[..., Result]


@pytest.fixture(scope="module")
def exported(small_sweep: SmallSweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep as a zip; its home is a copy whose place no other test knows."""
    folder = tmp_path_factory.mktemp("exported")
    home = folder / "moved" / "home"
    shutil.copytree(small_sweep.home, home)
    es.open(small_sweep.id, home=home).export(folder / "small.zip")
    shutil.rmtree(home)
    return folder / "small.zip"


def test_an_exported_sweep_opens_as_a_home_of_its_own(
    sweep: Sweep, exported: Path, small_sweep: SmallSweep, tmp_path: Path
) -> None:
    done = sweep("unpack", str(exported), "--to", "there")
    assert done.exit_code == 0 and f"unpacked {small_sweep.id}" in done.stdout, done.output
    there, before = es.open("small", home="there"), es.open("small", home=small_sweep.home)
    assert there.id == before.id and there.state == before.state == "finished"
    assert there.table.drop(columns="duration_s").equals(before.table.drop(columns="duration_s"))
    assert there.spec == before.spec
    assert there.best and before.best and there.best.text == before.best.text
    assert (tmp_path / "there" / "best.yaml").read_text() == there.best.text
    assert there.curves("train_curve").equals(before.curves("train_curve"))
    assert sweep("show", "small", "--home", "there").exit_code == 0
    assert [s.id for s in es.sweeps(home="there")] == [small_sweep.id]


def test_its_best_trains_again_to_the_same_bits(exported: Path, sweep: Sweep, small_sweep: SmallSweep) -> None:
    sweep("unpack", str(exported), "--to", "there")
    best = es.open("small", home="there").best
    assert best and es.rerun(best, home="there").reproduced


def test_its_records_are_sent_to_the_mlflow_of_the_folder(
    exported: Path, sweep: Sweep, small_sweep: SmallSweep, empty_store: Path, tmp_path: Path, no_ray: None
) -> None:
    from espalier.sweeps.recording.stories import run_states
    from espalier.sweeps.recording.tracking_uri import default_uri

    sweep("unpack", str(exported), "--to", "there")
    shutil.copy(empty_store, "there/mlflow.db")
    done = sweep("resume", "small", "--home", "there")
    assert done.exit_code == 0, done.output
    states = run_states(default_uri(tmp_path / "there"), small_sweep.id)
    assert sorted(states) == list(range(9)) and {len(runs) for runs in states.values()} == {1}
    figures = {path.name for path in (tmp_path / "there" / "mlartifacts").rglob("*.*")}
    assert {"valley.png", "curves.png", "report.html"} <= figures


def test_a_folder_is_a_home_at_once(sweep: Sweep, tmp_path: Path) -> None:
    make(tmp_path / "home", "warm-1", {0: 2.5, 1: 2.4, 2: 2.6})
    make(tmp_path / "home", "warm-2", {0: 2.5})
    done = sweep("export", "warm-1", "--out", "given", "--json")
    assert json.loads(done.stdout)["sweep"] == "warm-1", done.output
    assert json.loads(sweep("list", "--home", "given", "--json").stdout)[0]["best"] == 2.4
    manifest = json.loads((tmp_path / "given" / "manifest.json").read_text())
    assert {"spec.yaml", "trials.csv", "trials.json", "report.html", JOURNAL} <= set(manifest["files"])
    assert len(json.loads((tmp_path / "given" / "trials.json").read_text())) == 3


def test_a_sweep_keeps_how_it_was_extended(sweep: Sweep, tmp_path: Path) -> None:
    from espalier.sweeps.search.extending import extension_of
    from espalier.sweeps.search.extension import More

    make(tmp_path / "home", "warm-1", {0: 2.5, 1: 2.4})
    record = SweepStore.open(str(tmp_path / "home" / JOURNAL)).load("warm-1")
    record.extended(extension_of(record, More(trials=3))).store_extensions()
    assert sweep("export", "warm-1", "--out", "given").exit_code == 0
    copy = es.open("warm-1", home="given")
    assert (copy.spec.trials, copy.state) == (5, "interrupted")
    assert "extended by 3 trials to 5" in sweep("show", "warm-1", "--home", "given").stdout


def test_no_secret_goes_along(sweep: Sweep, tmp_path: Path) -> None:
    password, token = secrets.token_hex(8), secrets.token_hex(8)
    uri = f"https://me:{password}@127.0.0.1:9/mlflow?access_token={token}"
    webhook = f"https://hooks.example/{password}/x?a={token}&b=1"
    make(tmp_path / "home", "warm-1", {0: 2.5}, tracking_uri=uri, notify={"webhook": webhook})
    folder = tmp_path / "home" / "sweeps" / "warm-1"
    folder.mkdir(parents=True)
    story = json.dumps({"members": [{"reports": [], "curve": [], "note": uri}], "program": "vmap", "device": "cpu"})
    both = f"{uri} {webhook}"
    lines = [
        {"op": "open", "time": 1, "name": "warm-1", "tags": {}, "params": {}, "texts": {"spec.yaml": both}},
        {"op": "end", "time": 2, "trial": 0, "name": "a", "step": 1, "tags": {"x": uri}, "texts": {"trial.json": story},
         "status": "FINISHED"},
    ]  # fmt: skip
    (folder / "spool.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "report.html").write_text(html.escape(webhook))
    assert sweep("export", "warm-1", "--out", "given").exit_code == 0
    assert es.open("warm-1", home="given").spec.tracking_uri is None
    for path in (tmp_path / "given").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert password.encode() not in content and token.encode() not in content, path
    assert len((tmp_path / "given" / "sweeps" / "warm-1" / "spool.jsonl").read_text().splitlines()) == 2


# --- refusals --------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(sweep: Sweep, tmp_path: Path, exported: Path) -> None:
    make(tmp_path / "home", "warm-1", {0: 2.5})
    for name in ("there.zip", "there"):
        assert sweep("export", "warm-1", "--out", name).exit_code == 0
        done = sweep("export", "warm-1", "--out", name)
        assert done.exit_code == 2 and f"{name}: it is there already" in done.stderr
    done = sweep("unpack", "there.zip")
    assert done.exit_code == 2 and "there: it is there already; name another folder by --to" in done.stderr
    assert sweep("export", "warm-1", "--out", "there.zip/folder.zip").exit_code == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_sweep_that_runs_is_not_exported(sweep: Sweep, tmp_path: Path) -> None:
    make(tmp_path / "home", "warm-1", {0: 2.5})
    with DriverLock(Home(tmp_path / "home"), "warm-1"):
        done = sweep("export", "warm-1")
    assert done.exit_code == 2 and "warm-1 runs; export it when it has ended" in done.stderr


WAYS = ["cut", "flipped", "without", "more", "no manifest", "no zip", "another version", "empty"]


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_zip_is_refused_and_nothing_is_written(
    way: str, sweep: Sweep, exported: Path, tmp_path: Path
) -> None:
    damaged, content = tmp_path / "bad.zip", exported.read_bytes()
    if way in ("without", "more", "no manifest", "another version"):
        with zipfile.ZipFile(exported) as source, zipfile.ZipFile(damaged, "w") as target:
            for name in source.namelist():
                if (way, name) not in (("without", "best.yaml"), ("no manifest", "manifest.json")):
                    text = source.read(name)
                    if way == "another version" and name == "manifest.json":
                        text = text.replace(b'"schema": 1', b'"schema": 9')
                    target.writestr(name, text)
            if way == "more":
                target.writestr("sweeps/evil.py", "1")
    else:
        seed = secrets.randbelow(2**32)
        print(f"seed: {seed}")
        at = random.Random(seed).randrange(100, len(content) // 2)
        flipped = content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
        damaged.write_bytes({"cut": content[:-at], "flipped": flipped, "no zip": b"hello", "empty": b""}[way])
    done = sweep("unpack", "bad.zip")
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("sweep: bad.zip: "), done.stderr
    assert not (tmp_path / "bad").exists() and os.listdir(tmp_path) == ["bad.zip"]


def test_a_missing_file_is_said(sweep: Sweep) -> None:
    done = sweep("unpack", "nowhere.zip")
    assert done.exit_code == 2 and "nowhere.zip: cannot be read" in done.stderr


def test_a_name_that_leads_out_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as target:
        target.writestr("../evil.py", "1")
    assert sweep("unpack", "bad.zip").exit_code == 2
    assert os.listdir(tmp_path) == ["bad.zip"]
